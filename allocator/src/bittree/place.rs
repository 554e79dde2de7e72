//! Where chunks lie in memory that is handed over.

use super::bits::words;
use super::block::{LARGEST_ORDER, SMALLEST_BLOCK};
use super::chunk::Chunk;

/// The smallest chunk: as many pairs as a word has bits.
const SMALLEST_ORDER: u32 = 6;

/// The places of a chunk: blocks first, then bits, then what describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) order: u32,
    pub(super) memory: usize,
    pub(super) bits: usize,
    pub(super) chunk: usize,
    pub(super) end: usize,
}

impl Place {
    /// The largest chunk that fits from `start` to `end`, as near to `start` as is aligned well: to
    /// 4 KiB, or where that would waste more than a 64th, to as much as wastes no more.
    pub(super) fn find(start: usize, end: usize) -> Option<Self> {
        (SMALLEST_ORDER..=LARGEST_ORDER)
            .rev()
            .find_map(|order| Self::at(start, order).filter(|place| place.end <= end))
    }

    fn at(start: usize, order: u32) -> Option<Self> {
        let bytes = SMALLEST_BLOCK << order;
        let align = (bytes / 64).clamp(SMALLEST_BLOCK, 4096);
        let memory = start.checked_next_multiple_of(align)?;
        let bits = memory.checked_add(bytes)?;
        let chunk = bits.checked_add(words(bytes) * size_of::<u64>())?;
        let end = chunk.checked_add(size_of::<Chunk>())?;
        Some(Self {
            order,
            memory,
            bits,
            chunk,
            end,
        })
    }
}

const _: () = {
    assert!(align_of::<Chunk>() <= align_of::<u64>());
    assert!(SMALLEST_BLOCK.is_multiple_of(align_of::<u64>()));
};
