//! Pages, a bit each.

use super::runs::Runs;
use super::{AllocError, AllocResult, BaseAllocator, PageAllocator};

/// The pages of one range, the lowest free ones first, a bit each.
///
/// Holds up to `WORDS` machine words of bits inside the value, by default 128 KiB for 4 GiB of
/// 4 KiB pages on a 64-bit machine: put it into a `static`. Nothing of the managed memory is read
/// or written, so it need not be mapped.
///
/// An allocation costs time in proportion to the words before the run it finds; a free in
/// proportion to the count. Alignments are those of the address, in bytes.
///
/// Every free is checked: pages that are not allocated are `NotAllocated`. Where a run ends is not
/// recorded, so a part of it may be freed alone, and freeing two neighbours at once is no mistake.
///
/// ```
/// use twinframe::AllocError;
/// use twinframe::traits::{BaseAllocator, BitmapPageAllocator, PageAllocator};
///
/// let mut pages = BitmapPageAllocator::<0x1000, 64>::new();
/// // SAFETY: the addresses are used as numbers only.
/// unsafe { pages.init(0x10_1000, 8 << 20) };
/// assert_eq!(pages.alloc_pages(1, 0x1000), Ok(0x10_1000));
/// assert_eq!(pages.alloc_pages(1, 2 << 20), Ok(0x20_0000));
/// // SAFETY: as above.
/// unsafe {
///     pages.dealloc_pages(0x20_0000, 1)?;
///     assert_eq!(pages.dealloc_pages(0x20_0000, 1), Err(AllocError::NotAllocated));
/// }
/// # Ok::<(), AllocError>(())
/// ```
pub struct BitmapPageAllocator<const PAGE_SIZE: usize = 0x1000, const WORDS: usize = 16384> {
    /// The number of the first page, counted from address 0.
    first: usize,
    taken: Runs<WORDS>,
}

impl<const PAGE_SIZE: usize, const WORDS: usize> BitmapPageAllocator<PAGE_SIZE, WORDS> {
    /// An allocator without memory.
    #[must_use]
    pub const fn new() -> Self {
        const {
            assert!(
                PAGE_SIZE.is_power_of_two(),
                "the page size is a power of two"
            );
        }
        Self {
            first: 0,
            taken: Runs::new(),
        }
    }

    /// An alignment in pages.
    fn align(align: usize) -> AllocResult<usize> {
        if align == 0 {
            return Ok(1);
        }
        if !align.is_power_of_two() || align < PAGE_SIZE {
            return Err(AllocError::InvalidParam);
        }
        Ok(align / PAGE_SIZE)
    }

    /// Where the page at `addr` is in the row; `None` if it is not under management.
    fn position(&self, addr: usize) -> AllocResult<Option<usize>> {
        if !addr.is_multiple_of(PAGE_SIZE) {
            return Err(AllocError::InvalidParam);
        }
        let position = (addr / PAGE_SIZE).checked_sub(self.first);
        Ok(position.filter(|position| *position < self.taken.len()))
    }
}

impl<const PAGE_SIZE: usize, const WORDS: usize> Default for BitmapPageAllocator<PAGE_SIZE, WORDS> {
    fn default() -> Self {
        Self::new()
    }
}

/// Only whole pages of a range count. A further range begins where the latest ended.
impl<const PAGE_SIZE: usize, const WORDS: usize> BaseAllocator
    for BitmapPageAllocator<PAGE_SIZE, WORDS>
{
    unsafe fn add_memory(&mut self, start: usize, size: usize) -> AllocResult {
        let end = start.checked_add(size).ok_or(AllocError::InvalidParam)?;
        let (start, end) = (start.div_ceil(PAGE_SIZE), end / PAGE_SIZE);
        if start >= end {
            return Err(AllocError::InvalidParam);
        }
        let is_new = self.taken.len() == 0;
        let first = if is_new { start } else { self.first };
        let known = first + self.taken.len();
        if start < known && end > first {
            return Err(AllocError::MemoryOverlap);
        }
        if start != known {
            return Err(AllocError::InvalidParam);
        }
        if !self.taken.extend(end - start) {
            return Err(AllocError::NoMemory);
        }
        self.first = first;
        Ok(())
    }
}

impl<const PAGE_SIZE: usize, const WORDS: usize> PageAllocator
    for BitmapPageAllocator<PAGE_SIZE, WORDS>
{
    const PAGE_SIZE: usize = PAGE_SIZE;

    fn alloc_pages(&mut self, count: usize, align: usize) -> AllocResult<usize> {
        let align = Self::align(align)?;
        if count == 0 || count > Runs::<WORDS>::CAPACITY {
            return Err(AllocError::InvalidParam);
        }
        let start = self
            .taken
            .find(count, align, self.first)
            .ok_or(AllocError::NoMemory)?;
        self.taken.take(start..start + count);
        Ok((self.first + start) * PAGE_SIZE)
    }

    unsafe fn dealloc_pages(&mut self, addr: usize, count: usize) -> AllocResult {
        let start = self.position(addr)?.ok_or(AllocError::NotAllocated)?;
        if count == 0 {
            return Err(AllocError::InvalidParam);
        }
        let end = start.checked_add(count).ok_or(AllocError::NotAllocated)?;
        if !self.taken.all_taken(start..end) {
            return Err(AllocError::NotAllocated);
        }
        self.taken.give(start..end);
        Ok(())
    }

    fn alloc_pages_at(&mut self, base: usize, count: usize, align: usize) -> AllocResult<usize> {
        if count == 0 || !(base / PAGE_SIZE).is_multiple_of(Self::align(align)?) {
            return Err(AllocError::InvalidParam);
        }
        let start = self.position(base)?.ok_or(AllocError::InvalidParam)?;
        let end = start.checked_add(count).ok_or(AllocError::InvalidParam)?;
        if !self.taken.all_free(start..end) {
            return Err(AllocError::NoMemory);
        }
        self.taken.take(start..end);
        Ok(base)
    }

    fn total_pages(&self) -> usize {
        self.taken.len()
    }

    fn used_pages(&self) -> usize {
        self.taken.used()
    }

    fn available_pages(&self) -> usize {
        self.taken.len() - self.taken.used()
    }
}
