//! Numbers.

use super::runs::Runs;
use super::{AllocError, AllocResult, BaseAllocator, IdAllocator};

/// Numbers from a range, the lowest free ones first, a bit each: process and interrupt numbers,
/// ports, file descriptors.
///
/// Holds up to `WORDS` machine words of bits, by default 4096 numbers on a 64-bit machine. An
/// allocation costs time in proportion to the words before the run it finds; a free in proportion
/// to the count.
///
/// Every free is checked: numbers that are not allocated are `NotAllocated`. A part of what was
/// allocated at once may be freed alone.
///
/// ```
/// use twinframe::traits::{BaseAllocator, BitmapIdAllocator, IdAllocator};
/// # use twinframe::AllocError;
///
/// let mut ids = BitmapIdAllocator::<64>::new();
/// // SAFETY: numbers need no promise.
/// unsafe { ids.init(32, 224) };
/// assert_eq!(ids.alloc_id(1, 1), Ok(32));
/// assert_eq!(ids.alloc_id(8, 8), Ok(40));
/// ids.alloc_fixed_id(33)?;
/// ids.dealloc_id(40, 8)?;
/// assert_eq!(ids.dealloc_id(40, 8), Err(AllocError::NotAllocated));
/// assert_eq!(ids.used(), 2);
/// # Ok::<(), AllocError>(())
/// ```
pub struct BitmapIdAllocator<const WORDS: usize = 64> {
    first: usize,
    taken: Runs<WORDS>,
}

impl<const WORDS: usize> BitmapIdAllocator<WORDS> {
    /// An allocator without numbers.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            first: 0,
            taken: Runs::new(),
        }
    }

    /// Where the numbers begin in the row.
    fn position(&self, id: usize) -> Option<usize> {
        id.checked_sub(self.first)
            .filter(|position| *position < self.taken.len())
    }
}

impl<const WORDS: usize> Default for BitmapIdAllocator<WORDS> {
    fn default() -> Self {
        Self::new()
    }
}

/// A further range begins where the latest ended.
impl<const WORDS: usize> BaseAllocator for BitmapIdAllocator<WORDS> {
    unsafe fn add_memory(&mut self, start: usize, size: usize) -> AllocResult {
        let end = start.checked_add(size).ok_or(AllocError::InvalidParam)?;
        if size == 0 {
            return Err(AllocError::InvalidParam);
        }
        let first = if self.taken.len() == 0 {
            start
        } else {
            self.first
        };
        let known = first + self.taken.len();
        if start < known && end > first {
            return Err(AllocError::MemoryOverlap);
        }
        if start != known {
            return Err(AllocError::InvalidParam);
        }
        if !self.taken.extend(size) {
            return Err(AllocError::NoMemory);
        }
        self.first = first;
        Ok(())
    }
}

impl<const WORDS: usize> IdAllocator for BitmapIdAllocator<WORDS> {
    fn alloc_id(&mut self, count: usize, align: usize) -> AllocResult<usize> {
        if count == 0 || !align.is_power_of_two() {
            return Err(AllocError::InvalidParam);
        }
        let start = self
            .taken
            .find(count, align, self.first)
            .ok_or(AllocError::NoMemory)?;
        self.taken.take(start..start + count);
        Ok(self.first + start)
    }

    fn dealloc_id(&mut self, start: usize, count: usize) -> AllocResult {
        if count == 0 {
            return Err(AllocError::InvalidParam);
        }
        let start = self.position(start).ok_or(AllocError::NotAllocated)?;
        let end = start.checked_add(count).ok_or(AllocError::NotAllocated)?;
        if !self.taken.all_taken(start..end) {
            return Err(AllocError::NotAllocated);
        }
        self.taken.give(start..end);
        Ok(())
    }

    fn is_allocated(&self, id: usize) -> bool {
        self.position(id)
            .is_some_and(|position| self.taken.is_taken(position))
    }

    fn alloc_fixed_id(&mut self, id: usize) -> AllocResult {
        let position = self.position(id).ok_or(AllocError::InvalidParam)?;
        if !self.taken.all_free(position..position + 1) {
            return Err(AllocError::NoMemory);
        }
        self.taken.take(position..position + 1);
        Ok(())
    }

    fn size(&self) -> usize {
        self.taken.len()
    }

    fn used(&self) -> usize {
        self.taken.used()
    }

    fn available(&self) -> usize {
        self.taken.len() - self.taken.used()
    }
}
