//! The one-bit buddy tree behind [`ByteAllocator`].

use core::alloc::Layout;
use core::ptr::NonNull;

use super::{BaseAllocator, ByteAllocator, plain, range};
use crate::AllocResult;
use crate::bittree::BitTree;

impl BaseAllocator for BitTree {
    unsafe fn add_memory(&mut self, start: usize, size: usize) -> AllocResult {
        let memory = range(start, size)?;
        // SAFETY: passed on to the caller.
        unsafe { self.add_chunks(memory) }
    }
}

// SAFETY: blocks cover the layout's size and alignment, and lie in chunks, not in the tree's value. It
// panics only when memory was written to after its free, which the caller must not do.
unsafe impl ByteAllocator for BitTree {
    fn alloc(&mut self, layout: Layout) -> AllocResult<NonNull<u8>> {
        self.alloc(layout)
    }

    unsafe fn dealloc(&mut self, ptr: NonNull<u8>, layout: Layout) -> AllocResult {
        // SAFETY: passed on to the caller.
        unsafe { self.dealloc(ptr, layout) }.map_err(plain)
    }

    fn total_bytes(&self) -> usize {
        self.total_bytes()
    }

    fn used_bytes(&self) -> usize {
        self.used_bytes()
    }

    fn available_bytes(&self) -> usize {
        self.available_bytes()
    }
}
