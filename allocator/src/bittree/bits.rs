//! The bits of all pairs of a chunk.

use super::block::{Block, SMALLEST_BLOCK};

/// How many words the bits of a chunk of that many bytes take: 64 pairs of 32 bytes make 2 KiB, and
/// as many are above them.
pub(super) const fn words(bytes: usize) -> usize {
    bytes / SMALLEST_BLOCK / 64
}

/// One bit for each pair, the pair of the largest blocks first. Bit 0 is none.
pub(super) struct Bits<'a> {
    pub(super) words: &'a mut [u64],
    /// The order of the chunk.
    pub(super) top: u32,
}

impl Bits<'_> {
    /// Flips the bit of the pair that `block` belongs to, and returns what it was: whether exactly
    /// one of the two was free. `None` for the whole chunk, which has no buddy.
    pub(super) fn flip(&mut self, block: Block) -> Option<bool> {
        let bit = block.pair(self.top)?;
        let word = &mut self.words[bit / 64];
        *word ^= 1 << (bit % 64);
        Some(*word >> (bit % 64) & 1 == 0)
    }

    /// Whether exactly one of `block` and its buddy is free.
    pub(super) fn get(&self, block: Block) -> bool {
        block
            .pair(self.top)
            .is_some_and(|bit| self.words[bit / 64] >> (bit % 64) & 1 != 0)
    }

    /// Whether all pairs inside of `block` have clear bits, as they must if it is allocated or free as
    /// a whole.
    pub(super) fn is_plain(&self, block: Block) -> bool {
        let pair = block.pair_below(self.top);
        (0..block.order).all(|level| self.are_clear(pair << level, (pair + 1) << level))
    }

    /// How many bits of the pairs of blocks of this order are set.
    pub(super) fn count(&self, order: u32) -> usize {
        let first = 1_usize << (self.top - 1 - order);
        (first..2 * first)
            .filter(|bit| self.words[bit / 64] >> (bit % 64) & 1 != 0)
            .count()
    }

    /// The length is a power of two and divides `first`, so a short range lies in one word.
    fn are_clear(&self, first: usize, end: usize) -> bool {
        let bits = end - first;
        if bits < 64 {
            let mask = (1 << bits) - 1;
            return self.words[first / 64] >> (first % 64) & mask == 0;
        }
        let words = &self.words[first / 64..end / 64];
        words.iter().all(|word| *word == 0)
    }
}
