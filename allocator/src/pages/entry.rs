//! A block in a CPU's cache, and the states that it goes through.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU8, Ordering};

use super::byte;
use super::frame::{Order, Pfn};
use super::section::SectionRef;
use super::state::{Kind, PageState};

/// A cached block: its address, and where its state is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) addr: usize,
    pub(super) state: NonNull<AtomicU8>,
}

impl Entry {
    pub(super) const NONE: Self = Self {
        addr: 0,
        state: NonNull::dangling(),
    };

    #[inline]
    pub(super) fn new(addr: usize, state: &AtomicU8) -> Self {
        Self {
            addr,
            state: NonNull::from(state),
        }
    }

    #[inline]
    fn state(&self) -> &AtomicU8 {
        // SAFETY: the state lies in a section's metadata, and a section with a page in a cache
        // is not removed.
        unsafe { self.state.as_ref() }
    }

    /// Is the block in the state that a cached one has?
    pub(super) fn is_cached(&self, order: Order) -> bool {
        self.state().load(Ordering::Relaxed) == cached(order).to_byte()
    }

    /// Gives a block that is nobody's yet a state.
    #[inline]
    pub(super) fn set(&self, state: PageState) {
        self.state().store(state.to_byte(), Ordering::Relaxed);
    }

    /// The entry of the `n`-th block of `order` behind this one.
    ///
    /// # Safety
    ///
    /// That block lies in the same section, below its frontier.
    #[inline]
    pub(super) unsafe fn behind<const PAGE_SIZE: usize>(&self, order: Order, n: usize) -> Self {
        Self {
            addr: self.addr + ((n * PAGE_SIZE) << order.log2()),
            // SAFETY: a section has a byte for each of its pages, in order.
            state: unsafe { self.state.add(n << order.log2()) },
        }
    }

    /// Gives a block in one state another one; says whether it was in that one.
    #[inline]
    pub(super) fn exchange(&self, from: PageState, to: PageState) -> bool {
        self.exchange_if(|state| state == from, to)
    }

    /// Gives an allocated block of that order the state that it has in a cache; says whether it was one.
    #[inline]
    pub(super) fn put_in_cache(&self, cached: PageState) -> bool {
        // The other way round, what is expected would need a register of its own.
        self.exchange_if(|state| state.into_cache() == cached, cached)
    }

    /// Gives a block whose state is right another one; says whether it was.
    #[inline]
    fn exchange_if(&self, is_right: impl FnOnce(PageState) -> bool, to: PageState) -> bool {
        byte::exchange_if(self.state(), is_right, to)
    }
}

/// The state that a block of `order` has in a cache.
#[inline]
pub(super) const fn cached(order: Order) -> PageState {
    PageState::new(Kind::Cached, order)
}

/// The state that it has outside, unless it is [called back](super::call_back).
#[inline]
pub(super) const fn allocated(order: Order) -> PageState {
    PageState::new(Kind::Block, order)
}

/// An entry for a block of a section.
#[inline]
pub(super) fn entry<const PAGE_SIZE: usize>(section: SectionRef, pfn: Pfn) -> Entry {
    Entry::new(section.addr::<PAGE_SIZE>(pfn), section.state_byte(pfn))
}
