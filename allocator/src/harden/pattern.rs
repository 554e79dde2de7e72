//! Memory that should hold a known pattern.

/// Fills free objects.
pub(crate) const POISON: u8 = 0x6b;

/// Fills red zones.
pub(crate) const RED: u8 = 0xcc;

/// A byte that is not what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Difference {
    /// Where, counted from the beginning of what was compared.
    pub(crate) offset: usize,
    pub(crate) expected: u8,
    pub(crate) found: u8,
}

const WORD: usize = size_of::<usize>();

/// The first of `bytes` that is not `expected`.
pub(crate) fn unlike(bytes: &[u8], expected: u8) -> Option<Difference> {
    // By words, as far as all is well: this is most of what hardening costs for large objects.
    let (words, _) = bytes.as_chunks::<WORD>();
    let is_right = |word: &&[u8; WORD]| **word == [expected; WORD];
    let right = words.iter().take_while(is_right).count() * WORD;
    let rest = &bytes[right..];
    let offset = right + rest.iter().position(|byte| *byte != expected)?;
    Some(Difference {
        offset,
        expected,
        found: bytes[offset],
    })
}

/// The first byte, in memory order, in which two words differ.
pub(crate) fn unlike_word(found: usize, expected: usize) -> Option<Difference> {
    let (found, expected) = (found.to_ne_bytes(), expected.to_ne_bytes());
    let offset = (0..found.len()).find(|at| found[*at] != expected[*at])?;
    Some(Difference {
        offset,
        expected: expected[offset],
        found: found[offset],
    })
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_found() {
        assert_eq!(unlike(&[7; 100], 7), None);
        assert_eq!(unlike(&[], 7), None);
        let mut bytes = [7; 100];
        bytes[99] = 6;
        let last = Difference {
            offset: 99,
            expected: 7,
            found: 6,
        };
        assert_eq!(unlike(&bytes, 7), Some(last));
        for offset in (0..100).rev() {
            bytes[offset] = 1;
            let found = unlike(&bytes, 7).map(|difference| difference.offset);
            assert_eq!(found, Some(offset));
        }
    }

    #[test]
    fn words_are_compared_in_memory_order() {
        assert_eq!(unlike_word(5, 5), None);
        let mut bytes = 0x0123_4567_usize.to_ne_bytes();
        bytes[2] ^= 0x10;
        let difference = unlike_word(usize::from_ne_bytes(bytes), 0x0123_4567);
        assert_eq!(difference.map(|difference| difference.offset), Some(2));
        assert_eq!(
            difference.map(|difference| difference.expected ^ difference.found),
            Some(0x10)
        );
    }
}
