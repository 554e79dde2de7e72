//! The allocator of all CPUs behind the traits for bytes and for pages.

use core::alloc::Layout;
use core::ptr::NonNull;

use super::{BaseAllocator, ByteAllocator, PageAllocator, plain};
use crate::{AllocResult, GlobalAllocator, Platform};

/// A shared reference is the allocator, as every CPU has one.
impl<P: Platform, const PAGE_SIZE: usize> BaseAllocator for &GlobalAllocator<P, PAGE_SIZE> {
    unsafe fn add_memory(&mut self, start: usize, size: usize) -> AllocResult {
        // SAFETY: passed on to the caller.
        unsafe { self.frames().add_memory(start, size) }
    }
}

/// Statistics count whole pages: those that hold objects, or are kept for more, are in use.
// SAFETY: `GlobalAllocator` keeps the contract of `GlobalAlloc`, which asks for the same; the memory
// belongs to what is referred to, so moving the reference changes nothing.
unsafe impl<P: Platform, const PAGE_SIZE: usize> ByteAllocator for &GlobalAllocator<P, PAGE_SIZE> {
    fn alloc(&mut self, layout: Layout) -> AllocResult<NonNull<u8>> {
        (**self).alloc(layout).map_err(plain)
    }

    unsafe fn dealloc(&mut self, ptr: NonNull<u8>, layout: Layout) -> AllocResult {
        // SAFETY: passed on to the caller.
        unsafe { (**self).dealloc(ptr, layout) }.map_err(plain)
    }

    fn total_bytes(&self) -> usize {
        self.managed_bytes()
    }

    fn used_bytes(&self) -> usize {
        self.allocated_bytes()
    }

    fn available_bytes(&self) -> usize {
        self.managed_bytes() - self.allocated_bytes()
    }
}

impl<P: Platform, const PAGE_SIZE: usize> PageAllocator for &GlobalAllocator<P, PAGE_SIZE> {
    const PAGE_SIZE: usize = PAGE_SIZE;

    fn alloc_pages(&mut self, count: usize, align: usize) -> AllocResult<usize> {
        let request = crate::PageRequest::new(count).align(align).exact();
        self.allocate(&request).map_err(plain)
    }

    unsafe fn dealloc_pages(&mut self, addr: usize, count: usize) -> AllocResult {
        // SAFETY: passed on to the caller.
        unsafe { (**self).dealloc_pages(addr, count) }.map_err(plain)
    }

    fn alloc_pages_at(&mut self, base: usize, count: usize, align: usize) -> AllocResult<usize> {
        self.frames()
            .alloc_pages_at(base, count, align)
            .map_err(plain)
    }

    fn total_pages(&self) -> usize {
        self.managed_bytes() / PAGE_SIZE
    }

    fn used_pages(&self) -> usize {
        self.allocated_bytes() / PAGE_SIZE
    }

    fn available_pages(&self) -> usize {
        (self.managed_bytes() - self.allocated_bytes()) / PAGE_SIZE
    }
}
