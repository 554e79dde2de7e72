//! The `Allocator` interface of the `allocator-api2` crate: for collections with an allocator of
//! their own.

use core::alloc::Layout;
use core::ptr::NonNull;

use allocator_api2::alloc::{AllocError, Allocator};

use super::allocator::GlobalAllocator;
use super::rust_alloc::report_refused;
use crate::{AllocResult, Platform};

/// A shared reference is the allocator: it is small, and may be cloned.
///
/// What is returned is as long as [`usable_size`](GlobalAllocator::usable_size) says. A call with
/// nothing to return reports what it refuses to [`Platform::misuse`].
// SAFETY: memory stays valid until it is freed, whatever reference that goes through, and a layout
// up to the returned length selects the same class or number of pages as the one asked for; no
// method unwinds.
unsafe impl<P: Platform, const PAGE_SIZE: usize> Allocator for &GlobalAllocator<P, PAGE_SIZE> {
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        with_length::<P, PAGE_SIZE>((*self).alloc(layout), layout)
    }

    fn allocate_zeroed(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        let memory = (*self).alloc_zeroed(layout).map_err(|_| AllocError)?;
        // What lies beyond the layout is not zero.
        Ok(NonNull::slice_from_raw_parts(memory, layout.size()))
    }

    unsafe fn deallocate(&self, ptr: NonNull<u8>, layout: Layout) {
        // SAFETY: the caller's duties are the same.
        if let Err(error) = unsafe { (*self).dealloc(ptr, layout) } {
            report_refused::<P>(ptr, layout, error);
        }
    }

    unsafe fn grow(
        &self,
        ptr: NonNull<u8>,
        old_layout: Layout,
        new_layout: Layout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        // SAFETY: the caller's duties are the same.
        let memory = unsafe { self.realloc(ptr, old_layout, new_layout) };
        with_length::<P, PAGE_SIZE>(memory, new_layout)
    }

    unsafe fn grow_zeroed(
        &self,
        ptr: NonNull<u8>,
        old_layout: Layout,
        new_layout: Layout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        // SAFETY: the caller's duties are the same.
        let memory =
            unsafe { self.realloc(ptr, old_layout, new_layout) }.map_err(|_| AllocError)?;
        let added = new_layout.size() - old_layout.size();
        // SAFETY: the memory is long enough for the new layout.
        let tail = unsafe { memory.add(old_layout.size()) };
        // SAFETY: as above.
        unsafe { tail.write_bytes(0, added) };
        Ok(NonNull::slice_from_raw_parts(memory, new_layout.size()))
    }

    unsafe fn shrink(
        &self,
        ptr: NonNull<u8>,
        old_layout: Layout,
        new_layout: Layout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        // SAFETY: the caller's duties are the same.
        let memory = unsafe { self.realloc(ptr, old_layout, new_layout) };
        with_length::<P, PAGE_SIZE>(memory, new_layout)
    }
}

fn with_length<P: Platform, const PAGE_SIZE: usize>(
    memory: AllocResult<NonNull<u8>>,
    layout: Layout,
) -> Result<NonNull<[u8]>, AllocError> {
    let length = GlobalAllocator::<P, PAGE_SIZE>::usable_size(layout);
    memory
        .map(|memory| NonNull::slice_from_raw_parts(memory, length))
        .map_err(|_| AllocError)
}
