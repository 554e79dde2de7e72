//! What is compared.

use alloc::boxed::Box;
use core::alloc::Layout;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicUsize, Ordering};

use spin::mutex::SpinMutex;
use twinframe::GlobalAllocator;
use x86_64::instructions::interrupts::without_interrupts;

use crate::platform::Machine;

/// An allocator that all CPUs share.
pub(super) trait Subject: Sync + Sized {
    const NAME: &'static str;

    /// One that has this memory, and no other. `None` if it cannot use it.
    fn new(region: &mut [u8]) -> Option<Self>;

    /// Memory for a layout with a size; null if there is none.
    fn alloc(&self, layout: Layout) -> *mut u8;

    /// Takes memory back.
    ///
    /// # Safety
    ///
    /// It came from this subject for this layout, and nobody uses it any more.
    unsafe fn free(&self, memory: *mut u8, layout: Layout);

    /// Makes memory larger, and returns where it is then; null, and nothing has changed, if it cannot.
    ///
    /// # Safety
    ///
    /// As for [`free`](Self::free).
    unsafe fn grow(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8;
}

/// Twinframe itself, as its users have it.
pub(super) struct Twinframe(Box<GlobalAllocator<Machine>>);

impl Subject for Twinframe {
    const NAME: &'static str = "twinframe";

    fn new(region: &mut [u8]) -> Option<Self> {
        let heap = Box::new(GlobalAllocator::new());
        // SAFETY: the memory is this heap's as long as it exists.
        unsafe { heap.init(region) }.ok()?;
        Some(Self(heap))
    }

    #[inline(never)]
    fn alloc(&self, layout: Layout) -> *mut u8 {
        self.0.alloc(layout).map_or(null_mut(), NonNull::as_ptr)
    }

    #[inline(never)]
    unsafe fn free(&self, memory: *mut u8, layout: Layout) {
        if let Some(memory) = NonNull::new(memory) {
            // SAFETY: passed on to the caller.
            let freed = unsafe { self.0.dealloc(memory, layout) };
            debug_assert_eq!(freed, Ok(()));
        }
    }

    unsafe fn grow(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let (Some(old), Some(new)) = (NonNull::new(memory), resized(layout, size)) else {
            return null_mut();
        };
        // SAFETY: passed on to the caller.
        let grown = unsafe { self.0.realloc(old, layout, new) };
        grown.map_or(null_mut(), NonNull::as_ptr)
    }
}

/// The layout with another size.
pub(super) fn resized(layout: Layout, size: usize) -> Option<Layout> {
    Layout::from_size_align(size, layout.align()).ok()
}

/// An allocator that has to be borrowed exclusively.
pub(super) trait Heap: Send + Sized {
    const NAME: &'static str;

    fn new(region: &mut [u8]) -> Option<Self>;
    fn alloc(&mut self, layout: Layout) -> *mut u8;

    /// # Safety
    ///
    /// As for [`Subject::free`].
    unsafe fn free(&mut self, memory: NonNull<u8>, layout: Layout);

    /// Grows where it lies, if it can: as for [`Subject::grow`].
    ///
    /// # Safety
    ///
    /// As there.
    unsafe fn grow(&mut self, memory: NonNull<u8>, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: passed on to the caller.
        unsafe { self.grow_elsewhere(memory, layout, size) }
    }

    /// Grows by moving to a new block.
    ///
    /// # Safety
    ///
    /// As for [`Subject::grow`].
    unsafe fn grow_elsewhere(
        &mut self,
        memory: NonNull<u8>,
        layout: Layout,
        size: usize,
    ) -> *mut u8 {
        let Some(new) = resized(layout, size) else {
            return null_mut();
        };
        let moved = self.alloc(new);
        if !moved.is_null() {
            // SAFETY: both are that long, and the new one is nobody else's.
            unsafe { moved.copy_from_nonoverlapping(memory.as_ptr(), layout.size()) };
            // SAFETY: passed on to the caller.
            unsafe { self.free(memory, layout) };
        }
        moved
    }
}

/// A heap behind a spin lock that is taken with interrupts masked: a handler that allocates must never find
/// it taken by what it interrupted.
pub(super) struct Locked<H>(SpinMutex<H>);

impl<H: Heap> Subject for Locked<H> {
    const NAME: &'static str = H::NAME;

    fn new(region: &mut [u8]) -> Option<Self> {
        H::new(region).map(|heap| Self(SpinMutex::new(heap)))
    }

    #[inline(never)]
    fn alloc(&self, layout: Layout) -> *mut u8 {
        without_interrupts(|| self.0.lock().alloc(layout))
    }

    #[inline(never)]
    unsafe fn free(&self, memory: *mut u8, layout: Layout) {
        if let Some(memory) = NonNull::new(memory) {
            // SAFETY: passed on to the caller.
            without_interrupts(|| unsafe { self.0.lock().free(memory, layout) });
        }
    }

    unsafe fn grow(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let Some(memory) = NonNull::new(memory) else {
            return null_mut();
        };
        // SAFETY: passed on to the caller.
        without_interrupts(|| unsafe { self.0.lock().grow(memory, layout, size) })
    }
}

/// Takes the next bytes of the region, and begins again at its end: what the work costs without an allocator.
pub(super) struct Floor {
    start: usize,
    bytes: usize,
    next: AtomicUsize,
}

impl Subject for Floor {
    const NAME: &'static str = "(nothing)";

    fn new(region: &mut [u8]) -> Option<Self> {
        Some(Self {
            start: region.as_mut_ptr().expose_provenance(),
            // What begins in the first half ends in the second.
            bytes: region.len() / 2,
            next: AtomicUsize::new(0),
        })
    }

    #[inline(never)]
    fn alloc(&self, layout: Layout) -> *mut u8 {
        let taken = layout.size().next_multiple_of(16);
        if taken > self.bytes {
            return null_mut();
        }
        let offset = self.next.fetch_add(taken, Ordering::Relaxed) % self.bytes;
        core::ptr::with_exposed_provenance_mut(self.start + offset / 16 * 16)
    }

    #[inline(never)]
    unsafe fn free(&self, _: *mut u8, _: Layout) {}

    unsafe fn grow(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let Some(new) = resized(layout, size) else {
            return null_mut();
        };
        let moved = self.alloc(new);
        if !moved.is_null() {
            // SAFETY: both are inside of the region; they may overlap.
            unsafe { moved.copy_from(memory, layout.size()) };
        }
        moved
    }
}
