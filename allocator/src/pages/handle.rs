//! Pages with an owner.

use core::fmt;
use core::mem::MaybeUninit;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

use super::request::PageRequest;
use super::shared::FrameAllocator;
use crate::{AllocResult, Platform};

/// Contiguous frames that are freed when this is dropped.
///
/// ```
/// use twinframe::{AllocResult, FrameAllocator, PageRequest, Platform};
///
/// /// Four pages for a device, for as long as `with` runs.
/// fn with_buffer<P: Platform>(
///     frames: &FrameAllocator<P>,
///     with: impl FnOnce(u64, usize),
/// ) -> AllocResult {
///     let buffer = frames.allocate_frames(&PageRequest::new(4).lowmem().zeroed())?;
///     with(buffer.phys(), buffer.len());
///     Ok(())
/// }
/// ```
pub struct Frames<'a, P: Platform, const PAGE_SIZE: usize = 0x1000> {
    owner: &'a FrameAllocator<P, PAGE_SIZE>,
    start: NonNull<u8>,
    count: usize,
}

// SAFETY: these are plain memory that this value alone refers to.
unsafe impl<P: Platform, const PAGE_SIZE: usize> Send for Frames<'_, P, PAGE_SIZE> {}

// SAFETY: a shared reference only reads.
unsafe impl<P: Platform, const PAGE_SIZE: usize> Sync for Frames<'_, P, PAGE_SIZE> {}

impl<P: Platform, const PAGE_SIZE: usize> FrameAllocator<P, PAGE_SIZE> {
    /// [`allocate`](Self::allocate) with an owner.
    ///
    /// # Errors
    ///
    /// As `allocate`.
    pub fn allocate_frames(&self, request: &PageRequest) -> AllocResult<Frames<'_, P, PAGE_SIZE>> {
        let count = request.check::<PAGE_SIZE>()?.count;
        let addr = self.allocate(request)?;
        // SAFETY: just allocated with that count.
        Ok(unsafe { Frames::from_raw(self, addr, count) })
    }
}

impl<'a, P: Platform, const PAGE_SIZE: usize> Frames<'a, P, PAGE_SIZE> {
    /// Takes over what was allocated at `addr`.
    ///
    /// # Safety
    ///
    /// `count` pages were allocated at `addr` from `owner`, and nobody else uses or frees them.
    #[must_use]
    pub unsafe fn from_raw(
        owner: &'a FrameAllocator<P, PAGE_SIZE>,
        addr: usize,
        count: usize,
    ) -> Self {
        let start = core::ptr::with_exposed_provenance_mut(addr);
        // SAFETY: no region begins at address 0.
        let start = unsafe { NonNull::new_unchecked(start) };
        Self {
            owner,
            start,
            count,
        }
    }

    /// Gives up ownership; the pages are to be freed with
    /// [`dealloc_pages`](FrameAllocator::dealloc_pages).
    #[must_use]
    pub fn into_raw(self) -> (usize, usize) {
        let raw = (self.addr(), self.count);
        core::mem::forget(self);
        raw
    }

    /// The virtual address.
    #[must_use]
    pub fn addr(&self) -> usize {
        self.start.addr().get()
    }

    /// The physical address. All frames follow each other.
    #[must_use]
    pub fn phys(&self) -> u64 {
        P::virt_to_phys(self.addr())
    }

    /// How many pages there are.
    #[must_use]
    pub const fn page_count(&self) -> usize {
        self.count
    }

    /// A pointer to all of the memory.
    #[must_use]
    pub const fn as_ptr(&self) -> NonNull<[u8]> {
        NonNull::slice_from_raw_parts(self.start, self.count * PAGE_SIZE)
    }
}

/// The bytes are whatever they were, unless zeroed pages were asked for.
impl<P: Platform, const PAGE_SIZE: usize> Deref for Frames<'_, P, PAGE_SIZE> {
    type Target = [MaybeUninit<u8>];

    fn deref(&self) -> &Self::Target {
        let start = self.start.cast::<MaybeUninit<u8>>().as_ptr();
        // SAFETY: the pages are this value's, and any byte is a `MaybeUninit`.
        unsafe { core::slice::from_raw_parts(start, self.count * PAGE_SIZE) }
    }
}

impl<P: Platform, const PAGE_SIZE: usize> DerefMut for Frames<'_, P, PAGE_SIZE> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        let start = self.start.cast::<MaybeUninit<u8>>().as_ptr();
        // SAFETY: as for `deref`, and borrowed exclusively.
        unsafe { core::slice::from_raw_parts_mut(start, self.count * PAGE_SIZE) }
    }
}

impl<P: Platform, const PAGE_SIZE: usize> Drop for Frames<'_, P, PAGE_SIZE> {
    fn drop(&mut self) {
        // SAFETY: the pages are this value's, and it is gone.
        let freed = unsafe { self.owner.dealloc_pages(self.addr(), self.count) };
        debug_assert_eq!(freed, Ok(()), "owned frames were freed by somebody else");
    }
}

impl<P: Platform, const PAGE_SIZE: usize> fmt::Debug for Frames<'_, P, PAGE_SIZE> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frames")
            .field("addr", &format_args!("{:#x}", self.addr()))
            .field("phys", &format_args!("{:#x}", self.phys()))
            .field("page_count", &self.count)
            .finish()
    }
}
