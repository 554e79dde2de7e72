//! The allocator of all CPUs behind the traits for bytes and for pages.

use core::alloc::Layout;
use core::ptr::NonNull;

use super::{BaseAllocator, ByteAllocator, PageAllocator, plain, plain_at};
use crate::{AllocResult, GlobalAllocator, PageRequest, Platform};

macro_rules! implement {
    ($($allocator:ty),+) => {$(
        impl<P: Platform, const PAGE_SIZE: usize> BaseAllocator for $allocator {
            unsafe fn add_memory(&mut self, start: usize, size: usize) -> AllocResult {
                // SAFETY: passed on to the caller.
                unsafe { self.frames().add_memory(start, size) }
            }
        }

        /// Statistics count whole pages: those that hold objects, or are kept for more, are in use.
        // SAFETY: `GlobalAllocator` keeps the contract of `GlobalAlloc`, which asks for the same; all
        // that leads to its memory is kept by address, so it may be moved while nobody borrows it.
        unsafe impl<P: Platform, const PAGE_SIZE: usize> ByteAllocator for $allocator {
            fn alloc(&mut self, layout: Layout) -> AllocResult<NonNull<u8>> {
                GlobalAllocator::alloc(self, layout).map_err(plain)
            }

            unsafe fn dealloc(&mut self, ptr: NonNull<u8>, layout: Layout) -> AllocResult {
                // SAFETY: passed on to the caller.
                unsafe { GlobalAllocator::dealloc(self, ptr, layout) }.map_err(plain)
            }

            fn total_bytes(&self) -> usize {
                self.managed_bytes()
            }

            fn used_bytes(&self) -> usize {
                self.allocated_bytes()
            }

            fn available_bytes(&self) -> usize {
                self.frames().free_pages() * PAGE_SIZE
            }
        }

        impl<P: Platform, const PAGE_SIZE: usize> PageAllocator for $allocator {
            const PAGE_SIZE: usize = PAGE_SIZE;

            fn alloc_pages(&mut self, count: usize, align: usize) -> AllocResult<usize> {
                self.allocate(&PageRequest::new(count).align(align).exact())
                    .map_err(plain)
            }

            unsafe fn dealloc_pages(&mut self, addr: usize, count: usize) -> AllocResult {
                // SAFETY: passed on to the caller.
                unsafe { GlobalAllocator::dealloc_pages(self, addr, count) }.map_err(plain)
            }

            fn alloc_pages_at(
                &mut self,
                base: usize,
                count: usize,
                align: usize,
            ) -> AllocResult<usize> {
                self.take_at(base, count, align).map_err(plain_at)
            }

            fn total_pages(&self) -> usize {
                self.frames().total_pages()
            }

            fn used_pages(&self) -> usize {
                self.frames().used_pages()
            }

            fn available_pages(&self) -> usize {
                self.frames().available_pages()
            }
        }
    )+};
}

implement!(GlobalAllocator<P, PAGE_SIZE>, &GlobalAllocator<P, PAGE_SIZE>);
