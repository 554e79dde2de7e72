//! The two-level segregated fit of the crate `rlsf`.

use core::alloc::Layout;
use core::ptr::NonNull;

use rlsf::{GRANULARITY, Tlsf};

use super::{AllocError, AllocResult, BaseAllocator, ByteAllocator, range};

/// Lists of free blocks by size, in 28 powers of two with 32 steps each, by [`rlsf::Tlsf`]: every
/// operation takes constant time, which is why real-time systems use it.
///
/// Every block has a header inside the memory, so what is available is never one block. Any range
/// may be added at any time, but is not remembered: an overlap is not noticed. Frees are not checked.
///
/// M. Masmano, I. Ripoll, A. Crespo, J. Real: *TLSF: a new dynamic memory allocator for real-time
/// systems*, Euromicro Conference on Real-Time Systems 2004.
pub struct TlsfByteAllocator {
    tlsf: Tlsf<'static, u32, u32, 28, 32>,
    total: usize,
    used: usize,
}

impl TlsfByteAllocator {
    /// An allocator without memory.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            tlsf: Tlsf::new(),
            total: 0,
            used: 0,
        }
    }

    /// What a layout costs at least: with its header, and without what its alignment may need.
    fn cost(layout: Layout) -> usize {
        (layout.size() + GRANULARITY / 2).next_multiple_of(GRANULARITY)
    }
}

impl Default for TlsfByteAllocator {
    fn default() -> Self {
        Self::new()
    }
}

impl BaseAllocator for TlsfByteAllocator {
    unsafe fn add_memory(&mut self, start: usize, size: usize) -> AllocResult {
        let pool = range(start, size)?;
        // SAFETY: passed on to the caller.
        let taken = unsafe { self.tlsf.insert_free_block_ptr(pool) };
        self.total += taken.ok_or(AllocError::InvalidParam)?.get();
        Ok(())
    }
}

// SAFETY: `rlsf` promises it; blocks lie in memory that was added, not in the value.
unsafe impl ByteAllocator for TlsfByteAllocator {
    fn alloc(&mut self, layout: Layout) -> AllocResult<NonNull<u8>> {
        let memory = self.tlsf.allocate(layout).ok_or(AllocError::NoMemory)?;
        self.used += Self::cost(layout);
        Ok(memory)
    }

    unsafe fn dealloc(&mut self, ptr: NonNull<u8>, layout: Layout) -> AllocResult {
        // SAFETY: passed on to the caller.
        unsafe { self.tlsf.deallocate(ptr, layout.align()) };
        self.used -= Self::cost(layout);
        Ok(())
    }

    fn total_bytes(&self) -> usize {
        self.total
    }

    /// With block headers; without what alignments above half of the granularity need.
    fn used_bytes(&self) -> usize {
        self.used
    }

    fn available_bytes(&self) -> usize {
        self.total - self.used
    }
}
