//! The shared allocator.

use core::alloc::Layout;
use core::ops::Range;
use core::ptr::NonNull;

use super::by_layout::{large_pages, large_request};
use crate::harden::faults::Faults;
use crate::objects::{ObjectAllocator, SizeClass};
use crate::pages::{FrameAllocator, PageRequest};
use crate::{AllocError, AllocResult, Platform};

/// A memory allocator for all CPUs of a machine: objects, pages, and Rust's `GlobalAlloc`.
///
/// Any call may come from any CPU and from an interrupt handler, whatever it interrupted, unless the call says
/// otherwise. Nothing here panics when memory runs out. A test keeps a CPU's first calls within 6 KiB of stack,
/// in an optimised build for x86-64.
///
/// A layout whose size and alignment are at most 2048 bytes is served from slabs of its
/// [`SizeClass`], any other from whole pages: as many as the size needs, no more. A size of 0 is
/// served like a size of 1, whatever the alignment.
pub struct GlobalAllocator<P: Platform, const PAGE_SIZE: usize = 0x1000> {
    pub(super) frames: FrameAllocator<P, PAGE_SIZE>,
    pub(super) objects: ObjectAllocator<P, PAGE_SIZE>,
    faults: Faults,
}

impl<P: Platform, const PAGE_SIZE: usize> GlobalAllocator<P, PAGE_SIZE> {
    /// An allocator without memory.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            frames: FrameAllocator::below_objects(),
            objects: ObjectAllocator::new(),
            faults: Faults::new(),
        }
    }

    /// Takes the first memory. Not for interrupt handlers, nor under a lock that one takes.
    ///
    /// # Errors
    ///
    /// `AlreadyInitialized` if there is memory already; else as [`add_region`](Self::add_region).
    ///
    /// # Safety
    ///
    /// As [`add_region`](Self::add_region).
    pub unsafe fn init(&self, region: &mut [u8]) -> AllocResult {
        // SAFETY: the caller's duties are the same.
        unsafe { self.frames.init(region) }
    }

    /// Takes more memory, while other CPUs go on: any writable range, aligned or not. It lies physically where
    /// [`Platform::virt_to_phys`] says that its first byte does. Its first pages hold its metadata. Not for
    /// interrupt handlers, nor under a lock that one takes: it waits for a removal to end.
    ///
    /// # Errors
    ///
    /// `NotInitialized` before [`init`](Self::init); else as
    /// [`BuddyAllocator::add_region_at`](crate::BuddyAllocator::add_region_at): `InvalidParam` if the range is
    /// too small to manage a page, `MemoryOverlap` if it overlaps memory that is managed already.
    ///
    /// # Safety
    ///
    /// The memory is mapped, writable and physically contiguous. It belongs to the allocator from now on, also when
    /// the borrow has ended: nobody else reads or writes it, except through what the allocator hands out, until
    /// its sections are removed again.
    pub unsafe fn add_region(&self, region: &mut [u8]) -> AllocResult {
        if self.frames.section_count() == 0 {
            return Err(AllocError::NotInitialized);
        }
        // SAFETY: the caller's duties are the same.
        unsafe { self.frames.add_region(region) }
    }

    /// Allocates memory for `layout`.
    ///
    /// # Errors
    ///
    /// `NotInitialized` before [`init`](Self::init); `NoMemory`; `InvalidParam` if the layout is
    /// larger than the largest block.
    #[inline]
    pub fn alloc(&self, layout: Layout) -> AllocResult<NonNull<u8>> {
        let (memory, lack) = self.obtain(layout);
        memory.ok_or(lack.into())
    }

    /// [`alloc`](Self::alloc) with all bytes of the layout zero.
    ///
    /// # Errors
    ///
    /// As `alloc`.
    pub fn alloc_zeroed(&self, layout: Layout) -> AllocResult<NonNull<u8>> {
        self.may_fail()?;
        if P::HARDENING.touches_objects() {
            return self.alloc_fenced(layout, true);
        }
        let Some(class) = SizeClass::from_layout(layout) else {
            return self.alloc_large(&large_request::<PAGE_SIZE>(layout).zeroed());
        };
        let object = self.objects.alloc(&self.frames, class)?;
        // SAFETY: the object was just allocated, and is at least that long.
        unsafe { object.write_bytes(0, layout.size()) };
        Ok(object)
    }

    pub(super) fn alloc_large(&self, request: &PageRequest) -> AllocResult<NonNull<u8>> {
        let addr = self.take(request)?;
        NonNull::new(core::ptr::with_exposed_provenance_mut(addr)).ok_or(AllocError::NoMemory)
    }

    /// Frees memory that [`alloc`](Self::alloc) returned for the same layout.
    ///
    /// # Errors
    ///
    /// Nothing changes if the free is refused: `NotFound` if the address is in no section, or, for
    /// a small layout, in no slab; `InvalidParam` if the object's class or the number of pages is not the one
    /// that `layout` selects, or with red zones the size is another one; `NotAllocated` if nothing
    /// begins at `ptr` or it is free already.
    ///
    /// # Safety
    ///
    /// If `ptr` came from this allocator, nobody uses its memory any more.
    pub unsafe fn dealloc(&self, ptr: NonNull<u8>, layout: Layout) -> AllocResult {
        if P::HARDENING.touches_objects() {
            // SAFETY: the caller's duties are the same.
            return unsafe { self.dealloc_fenced(ptr, layout) };
        }
        let Some(class) = SizeClass::of_usual(layout) else {
            // SAFETY: as above.
            return unsafe { self.dealloc_unusual(ptr, layout) };
        };
        let addr = ptr.addr().get();
        if self.objects.push(addr, class) {
            return Ok(());
        }
        self.dealloc_slowly(addr, class)
    }

    /// Whether `ptr` is something live that [`dealloc`](Self::dealloc) would take with this layout. Red zones
    /// are not looked at.
    ///
    /// # Errors
    ///
    /// As `dealloc`.
    pub fn check(&self, ptr: NonNull<u8>, layout: Layout) -> AllocResult {
        self.check_fenced(ptr, layout)
    }

    /// How many bytes an allocation for `layout` really has: all of them may be used.
    #[must_use]
    pub const fn usable_size(layout: Layout) -> usize {
        if P::HARDENING.red_zones && SizeClass::from_layout(layout).is_some() {
            layout.size()
        } else {
            Self::length(layout)
        }
    }

    /// How many bytes lie where `layout` was allocated.
    pub(super) const fn length(layout: Layout) -> usize {
        match SizeClass::from_layout(layout) {
            Some(class) => class.size(),
            None => large_pages::<PAGE_SIZE>(layout.size()) * PAGE_SIZE,
        }
    }

    /// Allocates memory for `layout` as often as `out` has places, all or nothing.
    ///
    /// # Errors
    ///
    /// As [`alloc`](Self::alloc); then what was allocated so far is free again, and `out` holds
    /// nothing of use.
    pub fn alloc_bulk(&self, layout: Layout, out: &mut [NonNull<u8>]) -> AllocResult {
        for done in 0..out.len() {
            match self.alloc(layout) {
                Ok(memory) => out[done] = memory,
                Err(error) => {
                    for memory in &out[..done] {
                        // SAFETY: allocated above, and not given to anyone.
                        let freed = unsafe { self.dealloc(*memory, layout) };
                        debug_assert_eq!(freed, Ok(()));
                    }
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Frees several allocations for `layout`.
    ///
    /// # Errors
    ///
    /// The position of the first one that was refused, and why; those before it are free, it and
    /// those behind it are as they were.
    ///
    /// # Safety
    ///
    /// As [`dealloc`](Self::dealloc) for each.
    pub unsafe fn free_bulk(
        &self,
        memory: &[NonNull<u8>],
        layout: Layout,
    ) -> Result<(), (usize, AllocError)> {
        for (position, memory) in memory.iter().enumerate() {
            // SAFETY: the caller's duties are the same.
            unsafe { self.dealloc(*memory, layout) }.map_err(|error| (position, error))?;
        }
        Ok(())
    }

    /// Allocates `count` pages, rounded up to a power of two, aligned to `align` bytes (0: a
    /// page), and returns their address.
    ///
    /// # Errors
    ///
    /// `InvalidParam` for a count of 0 or above the largest block, and for an alignment that is no
    /// power of two or below a page; `NoMemory`; `NotInitialized`.
    pub fn alloc_pages(&self, count: usize, align: usize) -> AllocResult<usize> {
        self.may_fail()?;
        match self.frames.pop_any(count, align) {
            Some(addr) => Ok(addr),
            None => self.take(&PageRequest::new(count).align(align)),
        }
    }

    /// As [`alloc_pages`](Self::alloc_pages), with the whole block physically below 4 GiB.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn alloc_pages_lowmem(&self, count: usize, align: usize) -> AllocResult<usize> {
        self.may_fail()?;
        match self.frames.pop_low(count, align) {
            Some(addr) => Ok(addr),
            None => self.take(&PageRequest::new(count).align(align).lowmem()),
        }
    }

    /// Frees pages. What was recorded at their allocation is what is freed; `count` has to agree.
    ///
    /// # Errors
    ///
    /// Nothing changes if the free is refused, as [`BuddyAllocator`](crate::BuddyAllocator) says with which error:
    /// `NotFound`, `NotAllocated`, `InvalidParam`. Slabs are `NotAllocated`.
    ///
    /// # Safety
    ///
    /// If the pages are allocated, the caller owns them, and nobody uses them any more.
    pub unsafe fn dealloc_pages(&self, addr: usize, count: usize) -> AllocResult {
        // SAFETY: the caller's duties are the same.
        unsafe { self.frames.dealloc_pages(addr, count) }
    }

    /// Allocates pages in any way that a [`PageRequest`] can say, and returns their address. Before it
    /// says `NoMemory`, every cache is emptied (with the exceptions that [`FrameAllocator`] has), and then the
    /// reclaim callback asked.
    ///
    /// # Errors
    ///
    /// As [`alloc_pages`](Self::alloc_pages).
    pub fn allocate(&self, request: &PageRequest) -> AllocResult<usize> {
        self.may_fail()?;
        self.take(request)
    }

    fn take(&self, request: &PageRequest) -> AllocResult<usize> {
        match self.try_cleared(request) {
            Err(AllocError::NoMemory) => {}
            result => return result,
        }
        self.drain_objects();
        let addr = self.frames.allocate_below(request, &mut |_| {
            // What the callback has freed may be objects.
            self.drain_objects();
            true
        })?;
        // SAFETY: these pages were just allocated.
        unsafe { self.frames.clear_if_asked(addr, request) };
        Ok(addr)
    }

    /// Allocates exactly the `count` pages at `addr`, also where they are behind free objects. The reclaim callback could
    /// not know which ones are wanted.
    ///
    /// # Errors
    ///
    /// As [`FrameAllocator::alloc_pages_at`].
    pub(crate) fn take_at(&self, addr: usize, count: usize, align: usize) -> AllocResult<usize> {
        self.may_fail()?;
        match self.frames.alloc_pages_at(addr, count, align) {
            Err(AllocError::NoMemory) => {}
            result => return result,
        }
        self.drain_objects();
        self.frames.alloc_pages_at(addr, count, align)
    }

    /// Allocates what is there without asking for it, cleared if the request says so.
    fn try_cleared(&self, request: &PageRequest) -> AllocResult<usize> {
        let addr = self.frames.try_allocate(request)?;
        // SAFETY: these pages were just allocated.
        unsafe { self.frames.clear_if_asked(addr, request) };
        Ok(addr)
    }

    /// Brings every page that no live object needs back to the pages; returns how many.
    fn drain_objects(&self) -> usize {
        let slabs = self.objects.drain(&self.frames);
        slabs + self.objects.trim(&self.frames)
    }

    /// Makes the `nth` allocation of this allocator from now on fail with `NoMemory`: 1 is the next one,
    /// 0 takes back what was said before. Every call counts that allocates objects or pages, each
    /// object of a bulk call, and every `realloc` that moves.
    ///
    /// For tests: without [`fault_injection`](crate::Hardening::fault_injection) it does nothing.
    pub fn fail_allocation(&self, nth: usize) {
        self.faults.arm(nth);
    }

    /// How many allocations were asked for, and how many of them were made to fail; both 0 without
    /// [`fault_injection`](crate::Hardening::fault_injection).
    #[must_use]
    pub fn fault_counts(&self) -> (usize, usize) {
        self.faults.counts()
    }

    #[inline]
    pub(super) fn may_fail(&self) -> AllocResult {
        if P::HARDENING.fault_injection && self.faults.strikes() {
            return Err(AllocError::NoMemory);
        }
        Ok(())
    }

    /// Gives up the section that manages `addr`, as [`FrameAllocator::remove_section`] does.
    /// Sections of this allocator are removed in this way only: the object layer remembers where the
    /// slabs of a section are described. Not for interrupt handlers, and not for a caller that holds a lock which an
    /// interrupt handler takes: it waits for all CPUs, for as long as it takes.
    ///
    /// # Errors
    ///
    /// `NotFound` and `Busy`, as there. Slabs are described in pages of any section: one that has such a page
    /// stays busy as long as a slab that is described there, wherever it lies, has a live object.
    pub fn remove_section(&self, addr: usize) -> AllocResult<Range<usize>> {
        self.objects.drain(&self.frames);
        let range = self.frames.remove(addr)?;
        self.objects.forget_views();
        Ok(range)
    }

    /// Gives every page back that no live object needs, and returns how many those were: the slabs that
    /// are empty, and of a slab whose objects have 256 bytes or more each 8 KiB that none of its live
    /// objects lies in.
    pub fn drain(&self) -> usize {
        let given = self.drain_objects();
        self.frames.drain_all();
        given
    }
}

impl<P: Platform, const PAGE_SIZE: usize> Default for GlobalAllocator<P, PAGE_SIZE> {
    fn default() -> Self {
        Self::new()
    }
}
