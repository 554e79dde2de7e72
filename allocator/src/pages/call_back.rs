//! Blocks that go back to the tree when they are freed, past all caches.
//!
//! What is in a cache does not merge; and as a cache hands out what it got last, a block that stands in the way of a large one is
//! allocated again where it was. While much is free, that is of no consequence. Where little of a section is free, and in many
//! blocks, its tree calls two kinds of allocated blocks back:
//!
//! - the buddy of what has just become free in the tree, so that the two will merge;
//! - a block from the end of the section, where free memory would else be all in one piece (the tree hands out the lowest block
//!   that will do), if the CPU got others with it that it is to take first from now on.
//!
//! Such a block has another state than the usual way to free a block expects, so that way has nothing more to do for all others.
//! To free it takes what an allocation from the tree and a free to it take, and the tree will split again what merges. So
//! single pages, which are wanted most, are not called back. What is in a cache at that moment, a slab, or several blocks allocated
//! as one, is not called back, either, and a slab forgets that it was.

use super::byte;
use super::frame::{Order, Pfn};
use super::place::Place;
use super::region::Piece;
use super::section::Section;
use super::state::PageState;

/// Little of a section is free where it is less than one of so many parts. What is in caches is not counted as free.
const PARTS: usize = 8;

/// While fewer pages of a section are free, blocks are called back. None are where there are no caches.
pub(super) const fn scarce_below(piece: &Piece, has_caches: bool) -> usize {
    if has_caches {
        piece.limit.since(piece.first) / PARTS
    } else {
        0
    }
}

impl Section {
    /// Are blocks of `order` called back now?
    #[inline]
    pub(super) fn calls_back(&self, order: Order) -> bool {
        self.free.get() < self.scarce_below && order != Order::ZERO && self.is_scattered()
    }

    /// Is more than a sixteenth of what is free in further blocks of orders that have one already? Where all that is free is in one
    /// place, there is one block of each order at most, and what is above the frontier, which is in one place anyway: then nothing
    /// is called back, and loads that do not scatter it have their caches.
    #[inline]
    fn is_scattered(&self) -> bool {
        let free = self.free.get();
        let one_of_each = self.tree().orders() as usize;
        let untouched = self.limit().since(self.frontier());
        one_of_each + untouched < free - free / 16
    }

    /// Calls the buddy of a free block back, if it is an allocated block.
    #[inline]
    pub(super) fn call_back_buddy(&self, place: Place, order: Order) {
        let buddy = place.buddy().pfn(order);
        // Else it is not one, or no page of the section.
        if self.first() <= buddy && buddy < self.frontier() {
            byte::call_back(self.state_byte(buddy), order);
        }
    }

    /// Calls a block that the tree has handed out back, if it lies in as many pages at the end as are free.
    #[inline]
    pub(super) fn call_back_from_end(&self, pfn: Pfn, order: Order) {
        if self.calls_back(order) && self.limit().since(pfn) <= self.free.get() {
            byte::call_back(self.state_byte(pfn), order);
        }
    }

    /// Has the block at a frame of the section been called back?
    pub(super) fn is_called_back(&self, pfn: Pfn) -> bool {
        let state = self.state(pfn);
        state == PageState::called_back(state.order())
    }
}
