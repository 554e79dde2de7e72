//! Rust's allocation interfaces.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{NonNull, null_mut};

use super::allocator::GlobalAllocator;
use crate::report::Misuse;
use crate::{AllocError, Platform};

// SAFETY: what `alloc` returns is at least as large and as aligned as the layout, belongs to nobody
// else, and stays so until it is freed; no method unwinds.
unsafe impl<P: Platform, const PAGE_SIZE: usize> GlobalAlloc for GlobalAllocator<P, PAGE_SIZE> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let (memory, _) = self.obtain(layout);
        memory.map_or(null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        let Some(ptr) = NonNull::new(ptr) else { return };
        // SAFETY: the caller's duties are the same.
        if !unsafe { self.dealloc_at_once(ptr, layout) } {
            // SAFETY: as above, and nothing has changed.
            unsafe { self.dealloc_or_report(ptr, layout) };
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        self.alloc_zeroed(layout)
            .map_or(null_mut(), NonNull::as_ptr)
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let Some(ptr) = NonNull::new(ptr) else {
            return null_mut();
        };
        // SAFETY: the caller promises that the new size makes a valid layout.
        let new_layout = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        // SAFETY: the caller's duties are the same.
        match unsafe { self.realloc(ptr, layout, new_layout) } {
            Ok(moved) => moved.as_ptr(),
            Err(error) => {
                // Where it grows, there is no such memory to be had, and nothing was to be freed.
                if new_size < layout.size() && error != AllocError::NoMemory {
                    report_refused::<P>(ptr, layout, error);
                }
                null_mut()
            }
        }
    }
}

impl<P: Platform, const PAGE_SIZE: usize> GlobalAllocator<P, PAGE_SIZE> {
    /// Frees what the usual way does not, or tells the platform why that was refused.
    ///
    /// # Safety
    ///
    /// As [`dealloc`](Self::dealloc).
    #[inline(never)]
    unsafe fn dealloc_or_report(&self, ptr: NonNull<u8>, layout: Layout) {
        // SAFETY: the caller's duties are the same.
        if let Err(error) = unsafe { self.dealloc(ptr, layout) } {
            report_refused::<P>(ptr, layout, error);
        }
    }
}

/// Tells the platform of a free that was refused, where the call has no result.
#[cold]
pub(super) fn report_refused<P: Platform>(ptr: NonNull<u8>, layout: Layout, error: AllocError) {
    P::misuse(&Misuse::Free {
        addr: ptr.addr().get(),
        size: layout.size(),
        align: layout.align(),
        error,
    });
}
