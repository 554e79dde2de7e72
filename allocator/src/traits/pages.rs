//! The page allocators of this crate behind [`PageAllocator`].

use super::{BaseAllocator, PageAllocator, plain, plain_at, range};
use crate::{AllocResult, BuddyAllocator, FrameAllocator, Platform};

/// Physical addresses are taken to be the virtual ones.
impl<const PAGE_SIZE: usize> BaseAllocator for BuddyAllocator<PAGE_SIZE> {
    unsafe fn add_memory(&mut self, start: usize, size: usize) -> AllocResult {
        let region = range(start, size)?;
        // SAFETY: passed on to the caller.
        unsafe { self.add_region_at(region, start as u64) }.map(|_| ())
    }
}

impl<const PAGE_SIZE: usize> PageAllocator for BuddyAllocator<PAGE_SIZE> {
    const PAGE_SIZE: usize = PAGE_SIZE;

    fn alloc_pages(&mut self, count: usize, align: usize) -> AllocResult<usize> {
        self.alloc_pages_exact(count, align).map_err(plain)
    }

    unsafe fn dealloc_pages(&mut self, addr: usize, count: usize) -> AllocResult {
        self.dealloc_pages(addr, count).map_err(plain)
    }

    fn alloc_pages_at(&mut self, base: usize, count: usize, align: usize) -> AllocResult<usize> {
        self.alloc_pages_at(base, count, align).map_err(plain_at)
    }

    fn total_pages(&self) -> usize {
        self.total_pages()
    }

    fn used_pages(&self) -> usize {
        self.total_pages() - self.free_pages()
    }

    fn available_pages(&self) -> usize {
        self.free_pages()
    }
}

macro_rules! implement {
    ($($allocator:ty),+) => {$(
        impl<P: Platform, const PAGE_SIZE: usize> BaseAllocator for $allocator {
            unsafe fn add_memory(&mut self, start: usize, size: usize) -> AllocResult {
                let region = range(start, size)?;
                // SAFETY: passed on to the caller.
                unsafe { self.add_region_at(region, P::virt_to_phys(start)) }.map(|_| ())
            }
        }

        /// Pages in a CPU's cache count as available.
        impl<P: Platform, const PAGE_SIZE: usize> PageAllocator for $allocator {
            const PAGE_SIZE: usize = PAGE_SIZE;

            fn alloc_pages(&mut self, count: usize, align: usize) -> AllocResult<usize> {
                self.alloc_pages_exact(count, align).map_err(plain)
            }

            unsafe fn dealloc_pages(&mut self, addr: usize, count: usize) -> AllocResult {
                // SAFETY: passed on to the caller.
                unsafe { FrameAllocator::dealloc_pages(self, addr, count) }.map_err(plain)
            }

            fn alloc_pages_at(
                &mut self,
                base: usize,
                count: usize,
                align: usize,
            ) -> AllocResult<usize> {
                FrameAllocator::alloc_pages_at(self, base, count, align).map_err(plain_at)
            }

            fn total_pages(&self) -> usize {
                self.managed_bytes() / PAGE_SIZE
            }

            fn used_pages(&self) -> usize {
                self.allocated_bytes() / PAGE_SIZE
            }

            fn available_pages(&self) -> usize {
                self.free_pages()
            }
        }
    )+};
}

implement!(FrameAllocator<P, PAGE_SIZE>, &FrameAllocator<P, PAGE_SIZE>);
