//! The heap of the crate `buddy_system_allocator`.

use core::alloc::Layout;
use core::ptr::NonNull;

use buddy_system_allocator::Heap;

use super::{AllocError, AllocResult, BaseAllocator, ByteAllocator};

/// Blocks of a power of two bytes, from one machine word up to 2 GiB, by
/// [`buddy_system_allocator::Heap`].
///
/// Any range of memory may be added at any time; the heap keeps nothing in it but its lists of free
/// blocks, and does not remember it, so an overlap is not noticed. Frees are not checked, and
/// search a list of free blocks for the buddy.
///
/// The algorithm is Knuth's: *The Art of Computer Programming*, volume 1, section 2.5.
///
/// ```
/// use core::alloc::Layout;
/// use twinframe::traits::{BaseAllocator, BuddyByteAllocator, ByteAllocator};
///
/// # let mut memory = vec![0u64; 1 << 14];
/// # let (start, size) = (memory.as_mut_ptr().expose_provenance(), memory.len() * 8);
/// let mut heap = BuddyByteAllocator::new();
/// // SAFETY: the memory outlives the allocator and is used through it only.
/// unsafe { heap.init(start, size) };
/// assert_eq!(heap.total_bytes(), size);
///
/// let layout = Layout::new::<[u8; 100]>();
/// let memory = heap.alloc(layout)?;
/// assert_eq!(heap.used_bytes(), 128);
/// // SAFETY: allocated above, and not used any more.
/// unsafe { heap.dealloc(memory, layout) }?;
/// assert_eq!(heap.available_bytes(), size);
/// # Ok::<(), twinframe::AllocError>(())
/// ```
pub struct BuddyByteAllocator {
    heap: Heap<32>,
}

impl BuddyByteAllocator {
    /// An allocator without memory.
    #[must_use]
    pub const fn new() -> Self {
        Self { heap: Heap::new() }
    }
}

impl Default for BuddyByteAllocator {
    fn default() -> Self {
        Self::new()
    }
}

impl BaseAllocator for BuddyByteAllocator {
    unsafe fn add_memory(&mut self, start: usize, size: usize) -> AllocResult {
        const WORD: usize = size_of::<usize>();
        let end = start.checked_add(size).ok_or(AllocError::InvalidParam)?;
        // The heap asserts that a word is left when both ends are aligned.
        let first = start
            .checked_next_multiple_of(WORD)
            .ok_or(AllocError::InvalidParam)?;
        if first == 0 || end.checked_sub(first).is_none_or(|left| left < WORD) {
            return Err(AllocError::InvalidParam);
        }
        // SAFETY: passed on to the caller.
        unsafe { self.heap.add_to_heap(first, end) };
        Ok(())
    }
}

// SAFETY: blocks are aligned to their size, which covers the layout's size and alignment; they lie in
// memory that was added, not in the heap's own value.
unsafe impl ByteAllocator for BuddyByteAllocator {
    /// Every failure is `NoMemory`.
    fn alloc(&mut self, layout: Layout) -> AllocResult<NonNull<u8>> {
        self.heap.alloc(layout).map_err(|()| AllocError::NoMemory)
    }

    unsafe fn dealloc(&mut self, ptr: NonNull<u8>, layout: Layout) -> AllocResult {
        // SAFETY: passed on to the caller.
        unsafe { self.heap.dealloc(ptr, layout) };
        Ok(())
    }

    fn total_bytes(&self) -> usize {
        self.heap.stats_total_bytes()
    }

    fn used_bytes(&self) -> usize {
        self.heap.stats_alloc_actual()
    }

    fn available_bytes(&self) -> usize {
        self.total_bytes() - self.used_bytes()
    }
}
