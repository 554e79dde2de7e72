//! From an address to the descriptor of its slab, in two loads.

use core::cell::UnsafeCell;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use super::frame::{Order, Pfn};
use super::layout::{SLAB_GRAIN, slab_order};
use super::section::Section;
use super::state::{Kind, PageState};
use crate::{AllocError, AllocResult};

/// All that it takes to get from an address to a slab descriptor. Lives as long as its section.
pub(crate) struct SlabWindow {
    /// The section's first managed address, rounded down to a grain.
    pub(super) start: usize,
    /// Bytes from `start` on that have initialised entries; grows with the frontier.
    pub(super) len: AtomicUsize,
    pub(super) entries: NonNull<AtomicPtr<()>>,
}

impl SlabWindow {
    /// The descriptor of the slab that the address lies in; null for an address that is in no slab
    /// or outside of the window.
    #[inline]
    pub(crate) fn slab(&self, addr: usize) -> *mut () {
        // SAFETY: the section exists, because this is a part of it.
        unsafe { self.view().slab(addr) }
    }

    /// What it says now.
    #[inline]
    pub(crate) fn view(&self) -> SlabView {
        SlabView {
            start: self.start,
            len: self.len.load(Ordering::Acquire),
            entries: self.entries.as_ptr(),
        }
    }

    #[inline]
    pub(super) fn entry(&self, offset: usize) -> &AtomicPtr<()> {
        // SAFETY: there is an entry for every grain below `len`.
        let entry = unsafe { self.entries.add(offset / SLAB_GRAIN) };
        // SAFETY: it is initialised, and nothing but atomics refers to it.
        unsafe { entry.as_ref() }
    }
}

/// A copy of a window, for looking up many slabs of one section.
#[derive(Clone, Copy)]
pub(crate) struct SlabView {
    start: usize,
    len: usize,
    entries: *const AtomicPtr<()>,
}

impl SlabView {
    /// The descriptor of the slab that the address lies in; null for an address that is in no slab
    /// or in no part of the section that was in use when the view was taken.
    ///
    /// # Safety
    ///
    /// If `addr` lies in the section, the section still exists.
    #[inline]
    pub(crate) unsafe fn slab(&self, addr: usize) -> *mut () {
        let offset = addr.wrapping_sub(self.start);
        if offset >= self.len {
            return core::ptr::null_mut();
        }
        // SAFETY: there is an entry for every grain below `len`.
        let entry = unsafe { self.entries.add(offset / SLAB_GRAIN) };
        // SAFETY: it is initialised, and nothing but atomics refers to it.
        unsafe { &*entry }.load(Ordering::Acquire)
    }
}

/// A place for a view that one context at a time uses.
pub(crate) struct SharedView(UnsafeCell<SlabView>);

// SAFETY: who reads or writes it says that nobody else does; a view can be used from anywhere.
unsafe impl Sync for SharedView {}

// SAFETY: as above.
unsafe impl Send for SharedView {}

impl SharedView {
    /// A view of nothing.
    pub(crate) const fn new() -> Self {
        Self(UnsafeCell::new(SlabView {
            start: 0,
            len: 0,
            entries: core::ptr::null(),
        }))
    }

    /// # Safety
    ///
    /// Nobody else writes it meanwhile.
    #[inline]
    pub(crate) unsafe fn get(&self) -> &SlabView {
        // SAFETY: the caller says so.
        unsafe { &*self.0.get() }
    }

    /// # Safety
    ///
    /// Nobody else uses it meanwhile.
    pub(crate) unsafe fn set(&self, view: SlabView) {
        // SAFETY: the caller says so.
        unsafe { *self.0.get() = view };
    }

    /// Makes it a view of nothing.
    ///
    /// # Safety
    ///
    /// As for [`set`](Self::set).
    pub(crate) unsafe fn forget(&self) {
        // SAFETY: the caller says so.
        unsafe { (*self.0.get()).len = 0 };
    }
}

impl Section {
    /// The order of the allocated block at `pfn`, if that can be a slab or is one.
    pub(super) fn order_of_slab(&self, pfn: Pfn) -> AllocResult<Order> {
        let state = self.state(pfn);
        if !matches!(state.kind(), Kind::Block | Kind::Slab) {
            return Err(AllocError::NotAllocated);
        }
        if self.page_size << state.order().log2() < SLAB_GRAIN {
            return Err(AllocError::InvalidParam);
        }
        Ok(state.order())
    }

    /// Makes the allocated block at `pfn` a slab with this descriptor, or an ordinary block again
    /// when the descriptor is null.
    pub(super) fn set_slab(&self, pfn: Pfn, descriptor: *mut ()) -> AllocResult {
        let order = self.order_of_slab(pfn)?;
        let bytes = self.page_size << order.log2();
        let first = self.slab_offset(pfn);
        let mut offset = first;
        while offset < first + bytes {
            self.slabs()
                .entry(offset)
                .store(descriptor, Ordering::Release);
            offset += SLAB_GRAIN;
        }
        let kind = if descriptor.is_null() {
            Kind::Block
        } else {
            Kind::Slab
        };
        self.set_state(pfn, PageState::new(kind, order));
        Ok(())
    }

    /// Makes the slab whose block begins at `pfn` several blocks, as small as a slab can be. The
    /// descriptor stays that of each.
    pub(super) fn split_slab<const PAGE_SIZE: usize>(&self, pfn: Pfn) -> AllocResult {
        let state = self.state(pfn);
        if state.kind() != Kind::Slab {
            return Err(AllocError::NotAllocated);
        }
        let order = slab_order(PAGE_SIZE);
        for at in (0..state.order().pages()).step_by(order.pages()) {
            self.set_state(pfn.add(at), PageState::new(Kind::Slab, order));
        }
        Ok(())
    }
}
