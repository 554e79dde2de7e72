//! Rust's allocation interfaces.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{NonNull, null_mut};

use super::allocator::{GlobalAllocator, large_pages};
use crate::Platform;
use crate::objects::SizeClass;
use crate::report::Misuse;

// SAFETY: what `alloc` returns is at least as large and as aligned as the layout, belongs to nobody
// else, and stays so until it is freed; no method unwinds.
unsafe impl<P: Platform, const PAGE_SIZE: usize> GlobalAlloc for GlobalAllocator<P, PAGE_SIZE> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.alloc(layout).map_or(null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        let Some(ptr) = NonNull::new(ptr) else { return };
        // SAFETY: the caller's duties are the same.
        if let Err(error) = unsafe { self.dealloc(ptr, layout) } {
            P::misuse(&Misuse::Free {
                addr: ptr.addr().get(),
                size: layout.size(),
                align: layout.align(),
                error,
            });
        }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller promises that the new size makes a valid layout.
        let new_layout = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        if stays_in_place::<PAGE_SIZE>(layout, new_layout) {
            return ptr;
        }
        let Ok(moved) = self.alloc(new_layout) else {
            return null_mut();
        };
        let kept = layout.size().min(new_size);
        // SAFETY: both are at least `kept` bytes long, and the new one overlaps nothing that is live.
        unsafe { core::ptr::copy_nonoverlapping(ptr, moved.as_ptr(), kept) };
        // SAFETY: the caller gives the old memory up.
        unsafe { GlobalAlloc::dealloc(self, ptr, layout) };
        moved.as_ptr()
    }
}

/// Whether memory allocated for `old` is what an allocation for `new` would be: the same class, or
/// the same number of pages.
fn stays_in_place<const PAGE_SIZE: usize>(old: Layout, new: Layout) -> bool {
    match (SizeClass::from_layout(old), SizeClass::from_layout(new)) {
        (Some(old), Some(new)) => old == new,
        (None, None) => {
            large_pages::<PAGE_SIZE>(old.size()) == large_pages::<PAGE_SIZE>(new.size())
        }
        _ => false,
    }
}
