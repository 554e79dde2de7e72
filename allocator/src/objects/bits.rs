//! The words that hold a bit per object.
//!
//! They are machine words, because that is the widest word that every target has atomics of.

use super::size_class::MAX_OBJECTS;

/// What one load, one store or one atomic operation covers.
pub(super) type Word = usize;

/// Bits in a word.
pub(super) const WORD_BITS: usize = Word::BITS as usize;

/// Words in the longest descriptor.
pub(super) const MOST_WORDS: usize = words(MAX_OBJECTS);

/// How many words `objects` bits take.
pub(super) const fn words(objects: usize) -> usize {
    objects.div_ceil(WORD_BITS)
}

/// In which word the bit of an object is, and the word with that bit alone.
#[inline]
pub(super) const fn split(index: usize) -> (usize, Word) {
    (index / WORD_BITS, 1 << (index % WORD_BITS))
}

/// The word number `word` of `objects` bits that are all set.
pub(super) const fn ones(objects: usize, word: usize) -> Word {
    let left = objects.saturating_sub(word * WORD_BITS);
    if left >= WORD_BITS {
        Word::MAX
    } else {
        (1 << left) - 1
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn as_many_bits_are_set_as_there_are_objects() {
        for objects in 0..=MAX_OBJECTS {
            let all: usize = (0..MOST_WORDS)
                .map(|word| ones(objects, word).count_ones() as usize)
                .sum();
            assert_eq!(all, objects);
            assert!((words(objects)..MOST_WORDS).all(|word| ones(objects, word) == 0));
            if objects != 0 {
                let (word, last) = split(objects - 1);
                assert!(word < words(objects) && ones(objects, word) & last != 0);
                assert_eq!(ones(objects - 1, word), ones(objects, word) & !last);
            }
        }
    }
}
