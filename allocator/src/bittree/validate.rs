//! Does everything agree?

use core::fmt;

use super::block::Block;
use super::chunk::Chunk;
use super::free_list::FreeList;

/// What does not agree in a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Flaw {
    /// The links of a free block and of its neighbours.
    Link,
    /// A free block and its mark.
    Mark,
    /// A block on a list and the list's order, or the bits of the blocks in it.
    Block,
    /// The bit of a pair, and which of the two is on the list.
    Bit,
    /// The free blocks, and what is counted as used.
    Sum,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Link => "the links of a free block lead elsewhere",
            Self::Mark => "a free block has lost its mark",
            Self::Block => "a block is on a list where it does not belong",
            Self::Bit => "the bit of a pair disagrees with the lists",
            Self::Sum => "free and used blocks do not add up",
        })
    }
}

impl core::error::Error for Flaw {}

impl Chunk {
    /// Checks every list against the bits and the count of used bytes.
    pub(super) fn validate(&mut self) -> Result<(), Flaw> {
        let (arena, top) = (self.arena, self.top);
        let mut free = 0;
        for order in 0..=top {
            let most = 1_usize << (top - order);
            let mut blocks = 0;
            for unit in self.lists[order as usize].walk(arena, most + 1) {
                if !FreeList::is_linked(arena, unit) {
                    return Err(Flaw::Link);
                }
                if arena.marked_order(unit) != Some(order) {
                    return Err(Flaw::Mark);
                }
                let block = Block { order, unit };
                if Block::around(order, unit) != block || !self.bits().is_plain(block) {
                    return Err(Flaw::Block);
                }
                if order < top && !self.bits().get(block) {
                    return Err(Flaw::Bit);
                }
                blocks += 1;
                free += block.bytes();
            }
            // Each block has a set bit; if there are as many bits, no two blocks share one.
            let set = if order < top {
                self.bits().count(order)
            } else {
                blocks.min(1)
            };
            if blocks != set {
                return Err(Flaw::Bit);
            }
        }
        if free + self.used == self.bytes() {
            Ok(())
        } else {
            Err(Flaw::Sum)
        }
    }
}
