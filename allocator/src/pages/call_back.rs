//! Blocks that go back to the tree when they are freed, past all caches.
//!
//! What is in a cache does not merge; and as a cache hands out what it got last, a block that stands in the way of a large one is
//! allocated again where it was. While much is free, that is of no consequence. Where little of a section is free, its tree
//! calls two kinds of allocated blocks back:
//!
//! - one whose buddy has just become free in the tree, so that the two would merge;
//! - one that it hands out from the end of the section, where free memory would else be all in one piece: the tree hands out
//!   the lowest block that will do.
//!
//! A block that is called back has another state than the usual way to free it expects, so that way costs nothing more. Once
//! it has been through the tree, it is a block like others.

use super::byte;
use super::frame::{Order, Pfn};
use super::place::Place;
use super::section::Section;
use super::state::PageState;

/// Little of a section is free where it is less than this share of its pages. What is in caches is not counted as free.
const SHARE: usize = 8;

impl Section {
    /// Calls blocks back from now on where little is free: the section has caches above it.
    pub(super) fn serve_caches(&self) {
        self.scarce.set(self.pages() / SHARE);
    }

    /// Are blocks called back now?
    #[inline]
    pub(super) fn is_scarce(&self) -> bool {
        self.free.get() < self.scarce.get()
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
    pub(super) fn call_back_last(&self, pfn: Pfn, order: Order) {
        if self.is_scarce() && self.limit().since(pfn) <= self.free.get() {
            byte::call_back(self.state_byte(pfn), order);
        }
    }

    /// Has the block at a frame of the section been called back?
    pub(super) fn is_called_back(&self, pfn: Pfn) -> bool {
        let state = self.state(pfn);
        state == PageState::called_back(state.order())
    }
}
