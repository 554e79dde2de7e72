//! The levels of the tree of free blocks, as they lie in memory.

use core::cell::Cell;
use core::ptr::NonNull;

use super::place::FANOUT_LOG2;

/// Levels of nodes below the top. Four cover sections of 2 TiB.
pub(super) const LEVELS: usize = 4;

/// Where summaries begin in a node, behind the two words of the heap.
pub(super) const SUMMARIES: usize = 2;

/// The binary logarithm of the pages under a node of `level`.
pub(super) const fn node_log2(level: usize) -> usize {
    FANOUT_LOG2 as usize * (level + 1)
}

/// The binary logarithm of the words in a node of `level`: what there is, rounded up.
const NODE_WORDS_LOG2: [u32; LEVELS] = {
    let mut log2 = [0; LEVELS];
    let mut level = 0;
    while level < LEVELS {
        let words = FANOUT_LOG2 as usize * level + SUMMARIES;
        log2[level] = words.next_power_of_two().trailing_zeros();
        level += 1;
    }
    log2
};

/// Words in a node of `level`.
pub(super) const fn node_words(level: usize) -> usize {
    1 << NODE_WORDS_LOG2[level]
}

/// The nodes of one level, an array in the section's metadata.
#[derive(Clone, Copy)]
pub(super) struct Level {
    /// Where node 0 would be, if the array began with that.
    origin: *mut Cell<u64>,
    /// The number of the first node: frame number divided by the pages under a node.
    pub(super) first: usize,
}

impl Level {
    pub(super) const fn new(level: usize, nodes: NonNull<Cell<u64>>, first: usize) -> Self {
        Self {
            origin: nodes.as_ptr().wrapping_sub(first << NODE_WORDS_LOG2[level]),
            first,
        }
    }

    /// A word of a node. Not to be used unless the node is there.
    #[inline]
    pub(super) const fn word(self, level: usize, node: usize, word: usize) -> *mut Cell<u64> {
        self.origin
            .wrapping_add((node << NODE_WORDS_LOG2[level]) + word)
    }
}
