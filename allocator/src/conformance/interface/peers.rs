//! Another allocator behind the traits, to be examined as ours are.

use core::alloc::Layout;
use core::ptr::NonNull;

use linked_list_allocator::Heap;

use crate::traits::{BaseAllocator, ByteAllocator};
use crate::{AllocError, AllocResult};

/// The heap of the crate `linked_list_allocator`: first fit in a list of holes, sorted by address.
pub struct LinkedList(Heap);

impl LinkedList {
    /// An allocator without memory.
    #[must_use]
    pub const fn new() -> Self {
        Self(Heap::empty())
    }
}

impl Default for LinkedList {
    fn default() -> Self {
        Self::new()
    }
}

/// The heap says itself from where to where it reaches.
impl BaseAllocator for LinkedList {
    unsafe fn add_memory(&mut self, start: usize, size: usize) -> AllocResult {
        // What the heap documents as the least that it does not panic for.
        const LEAST: usize = 3 * size_of::<usize>();
        let end = start.checked_add(size).ok_or(AllocError::InvalidParam)?;
        let (bottom, top) = (self.0.bottom().addr(), self.0.top().addr());
        if bottom == 0 {
            if size < LEAST {
                return Err(AllocError::InvalidParam);
            }
            let start = core::ptr::with_exposed_provenance_mut(start);
            // SAFETY: the heap is empty; the rest is passed on to the caller.
            unsafe { self.0.init(start, size) };
            return Ok(());
        }
        if start < top && bottom < end {
            return Err(AllocError::MemoryOverlap);
        }
        if start != top {
            return Err(AllocError::InvalidParam);
        }
        // SAFETY: the memory lies right behind what the heap has; the rest is passed on.
        unsafe { self.0.extend(size) };
        Ok(())
    }
}

// SAFETY: the heap promises it; blocks lie in memory that was added, not in its value.
unsafe impl ByteAllocator for LinkedList {
    fn alloc(&mut self, layout: Layout) -> AllocResult<NonNull<u8>> {
        self.0
            .allocate_first_fit(layout)
            .map_err(|()| AllocError::NoMemory)
    }

    unsafe fn dealloc(&mut self, ptr: NonNull<u8>, layout: Layout) -> AllocResult {
        // SAFETY: passed on to the caller.
        unsafe { self.0.deallocate(ptr, layout) };
        Ok(())
    }

    fn total_bytes(&self) -> usize {
        self.0.size()
    }

    fn used_bytes(&self) -> usize {
        self.0.used()
    }

    fn available_bytes(&self) -> usize {
        self.0.free()
    }
}
