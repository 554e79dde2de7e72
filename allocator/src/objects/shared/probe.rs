//! Asking about an object without changing anything.

use super::super::size_class::SizeClass;
use super::allocator::ObjectAllocator;
use super::entry::Entry;
use crate::pages::FrameAllocator;
use crate::{AllocError, AllocResult, Platform};

impl<P: Platform, const PAGE_SIZE: usize> ObjectAllocator<P, PAGE_SIZE> {
    /// Whether `addr` is a live object of `class`.
    ///
    /// # Errors
    ///
    /// As [`free`](Self::free).
    pub(crate) fn check(
        &self,
        frames: &FrameAllocator<P, PAGE_SIZE>,
        addr: usize,
        class: SizeClass,
    ) -> AllocResult {
        // The mark, too, is read while the section cannot go: nothing says that the object is in use.
        let is_live = frames.with_slab(addr, |entry| {
            Entry(entry).check::<PAGE_SIZE>(addr, class)?;
            if self.is_marked(addr) {
                return Err(AllocError::NotAllocated);
            }
            Ok(())
        });
        is_live.unwrap_or(Err(AllocError::NotFound))
    }
}
