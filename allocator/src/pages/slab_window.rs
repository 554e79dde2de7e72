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
        let offset = addr.wrapping_sub(self.start);
        if offset >= self.len.load(Ordering::Acquire) {
            return core::ptr::null_mut();
        }
        self.entry(offset).load(Ordering::Acquire)
    }

    #[inline]
    pub(super) fn entry(&self, offset: usize) -> &AtomicPtr<()> {
        // SAFETY: there is an entry for every grain below `len`.
        let entry = unsafe { self.entries.add(offset / SLAB_GRAIN) };
        // SAFETY: it is initialised, and nothing but atomics refers to it.
        unsafe { entry.as_ref() }
    }
}
