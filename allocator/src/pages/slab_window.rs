//! From an address to the descriptor of its slab, in two loads.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use super::layout::SLAB_GRAIN;

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
            entries: self.entries,
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
    entries: NonNull<AtomicPtr<()>>,
}

impl SlabView {
    /// The descriptor of the slab that the address lies in; null for an address that is in no slab
    /// or in no part of the section that was in use when the view was taken.
    ///
    /// # Safety
    ///
    /// If `addr` lies in the section, the section still exists.
    #[inline]
    pub(crate) unsafe fn slab(self, addr: usize) -> *mut () {
        let offset = addr.wrapping_sub(self.start);
        if offset >= self.len {
            return core::ptr::null_mut();
        }
        // SAFETY: there is an entry for every grain below `len`.
        let entry = unsafe { self.entries.add(offset / SLAB_GRAIN) };
        // SAFETY: it is initialised, and nothing but atomics refers to it.
        unsafe { entry.as_ref() }.load(Ordering::Acquire)
    }
}
