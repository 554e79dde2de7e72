//! What an allocator is asked for, by what it hands out.

use core::alloc::Layout;
use core::ptr::NonNull;

use super::AllocResult;

/// How an allocator comes by what it hands out.
pub trait BaseAllocator {
    /// [`add_memory`](Self::add_memory) for the first range.
    ///
    /// # Panics
    ///
    /// The range is refused. `add_memory` takes the first one too, and returns the error.
    ///
    /// # Safety
    ///
    /// As for `add_memory`.
    unsafe fn init(&mut self, start: usize, size: usize) {
        // SAFETY: passed on to the caller.
        if let Err(error) = unsafe { self.add_memory(start, size) } {
            panic!("{size} bytes at {start:#x} to begin with: {error}");
        }
    }

    /// Hands over `size` bytes at `start`, or, to an [`IdAllocator`], `size` numbers from `start` on.
    ///
    /// # Errors
    ///
    /// - `InvalidParam`: the range is too small to manage, wraps, or is not where the allocator
    ///   can manage it;
    /// - `MemoryOverlap`: a part of it was handed over before (not every allocator notices);
    /// - `NoMemory`: the allocator can keep track of no more.
    ///
    /// # Safety
    ///
    /// The bytes are writable memory whose provenance is exposed, and belong to the allocator for
    /// as long as it exists or hands them out. Numbers need no promise.
    unsafe fn add_memory(&mut self, start: usize, size: usize) -> AllocResult;
}

/// An allocator for layouts of any size.
///
/// # Safety
///
/// What [`alloc`](Self::alloc) returns is writable memory of the size and alignment of the layout,
/// apart from everything else that is allocated, until it is freed; moving the allocator does not
/// change that, and no method unwinds.
pub unsafe trait ByteAllocator: BaseAllocator {
    /// Allocates memory for `layout`. A size of 0 is served like a size of 1.
    ///
    /// # Errors
    ///
    /// `NoMemory`; `InvalidParam` for a layout beyond the largest that the allocator can ever have.
    fn alloc(&mut self, layout: Layout) -> AllocResult<NonNull<u8>>;

    /// Frees what [`alloc`](Self::alloc) returned for `layout`.
    ///
    /// # Errors
    ///
    /// `NotAllocated` or `InvalidParam`, from an allocator that can see the mistake; nothing has
    /// changed then.
    ///
    /// # Safety
    ///
    /// `ptr` is allocated with this layout, and not used any more; or the allocator is one that
    /// documents how it refuses what is not.
    unsafe fn dealloc(&mut self, ptr: NonNull<u8>, layout: Layout) -> AllocResult;

    /// Bytes under management: those in use and those available.
    fn total_bytes(&self) -> usize;

    /// Bytes in use, with what rounding costs.
    fn used_bytes(&self) -> usize;

    /// Bytes not in use.
    fn available_bytes(&self) -> usize;
}

/// An allocator for runs of pages.
pub trait PageAllocator: BaseAllocator {
    /// The size of a page in bytes.
    const PAGE_SIZE: usize;

    /// Allocates exactly `count` consecutive pages and returns the address of the first, a multiple
    /// of `align` bytes (0 means one page).
    ///
    /// # Errors
    ///
    /// `InvalidParam`: a count of 0, an alignment that is no power of two or below a page, or more
    /// than the allocator can ever have; `NoMemory`.
    fn alloc_pages(&mut self, count: usize, align: usize) -> AllocResult<usize>;

    /// Frees the `count` pages at `addr`.
    ///
    /// # Errors
    ///
    /// `NotAllocated` or `InvalidParam`; nothing has changed then.
    ///
    /// # Safety
    ///
    /// If the pages are allocated, the caller owns them and nobody uses them any more.
    unsafe fn dealloc_pages(&mut self, addr: usize, count: usize) -> AllocResult;

    /// Allocates exactly the `count` pages at `base`, a multiple of `align` bytes.
    ///
    /// # Errors
    ///
    /// As [`alloc_pages`](Self::alloc_pages); `InvalidParam` also if the first of them is not under
    /// management or is not aligned; `NoMemory` if not all of them are free.
    fn alloc_pages_at(&mut self, base: usize, count: usize, align: usize) -> AllocResult<usize>;

    /// Pages under management.
    fn total_pages(&self) -> usize;

    /// Pages that are allocated.
    fn used_pages(&self) -> usize;

    /// Pages that are free.
    fn available_pages(&self) -> usize;
}

/// An allocator for numbers, each at most once at a time.
pub trait IdAllocator: BaseAllocator {
    /// Allocates `count` consecutive numbers and returns the first, a multiple of `align`.
    ///
    /// # Errors
    ///
    /// `InvalidParam`: a count of 0, or an alignment that is no power of two; `NoMemory`.
    fn alloc_id(&mut self, count: usize, align: usize) -> AllocResult<usize>;

    /// Gives `count` numbers from `start` on back.
    ///
    /// # Errors
    ///
    /// `InvalidParam`: a count of 0; `NotAllocated`: one of them is not allocated. Nothing has
    /// changed then.
    fn dealloc_id(&mut self, start: usize, count: usize) -> AllocResult;

    /// Whether `id` is allocated. A number that the allocator does not have is not.
    fn is_allocated(&self, id: usize) -> bool;

    /// Allocates exactly the number `id`.
    ///
    /// # Errors
    ///
    /// `InvalidParam`: the allocator does not have it; `NoMemory`: it is allocated already.
    fn alloc_fixed_id(&mut self, id: usize) -> AllocResult;

    /// How many numbers there are.
    fn size(&self) -> usize;

    /// How many of them are allocated.
    fn used(&self) -> usize;

    /// How many of them are not.
    fn available(&self) -> usize;
}
