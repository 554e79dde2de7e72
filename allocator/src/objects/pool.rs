//! Slab allocators by CPU, for callers that bring their own CPU numbers and pages.
//!
//! [`GlobalAllocator`](crate::GlobalAllocator) does not need this: it keeps its own state per CPU.

use core::alloc::Layout;
use core::ptr::NonNull;

use spin::mutex::SpinMutex;

use super::allocator::{SlabAllocResult, SlabAllocator, SlabDeallocResult};
use super::size_class::SizeClass;
use crate::AllocResult;

/// What a free through a pool did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum SlabPoolDeallocResult {
    /// The object is free, on the CPU that asked.
    Done,
    /// The object is free, on the CPU that owns it.
    RemoteQueued,
    /// The object is free, and this memory is the caller's again.
    FreeSlab {
        /// Its first byte.
        base: usize,
        /// Its length in pages.
        pages: usize,
    },
}

/// The slabs of one CPU as an object.
pub trait SlabTrait: Sync {
    /// The CPU they belong to.
    fn cpu_id(&self) -> usize;

    /// The page size they count in.
    fn page_size(&self) -> usize;

    /// As [`SlabAllocator::alloc`].
    ///
    /// # Errors
    ///
    /// As there.
    fn alloc(&self, layout: Layout) -> AllocResult<SlabAllocResult>;

    /// As [`SlabAllocator::add_slab`], with this CPU as the owner.
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Safety
    ///
    /// As there.
    unsafe fn add_slab(&self, size_class: SizeClass, base: usize, bytes: usize) -> AllocResult;

    /// Frees an object that came from these slabs, whatever CPU calls.
    ///
    /// # Errors
    ///
    /// As [`SlabAllocator::dealloc`].
    ///
    /// # Safety
    ///
    /// As there.
    unsafe fn dealloc_local(
        &self,
        ptr: NonNull<u8>,
        layout: Layout,
    ) -> AllocResult<SlabDeallocResult>;
}

/// Slabs of several CPUs, and the knowledge which CPU this is.
pub trait SlabPoolTrait: Sync {
    /// The slabs of the CPU that calls.
    fn current_slab(&self) -> &dyn SlabTrait;

    /// The slabs of CPU `cpu_idx`.
    fn owner_slab(&self, cpu_idx: usize) -> &dyn SlabTrait;

    /// The number of the CPU that calls.
    fn current_cpu_id(&self) -> usize {
        self.current_slab().cpu_id()
    }

    /// Allocates on the CPU that calls.
    ///
    /// # Errors
    ///
    /// As [`SlabAllocator::alloc`].
    fn alloc(&self, layout: Layout) -> AllocResult<SlabAllocResult> {
        self.current_slab().alloc(layout)
    }

    /// Adds a slab to the CPU that calls.
    ///
    /// # Errors
    ///
    /// As [`SlabAllocator::add_slab`].
    ///
    /// # Safety
    ///
    /// As there.
    unsafe fn add_slab(&self, size_class: SizeClass, base: usize, bytes: usize) -> AllocResult {
        // SAFETY: the caller's duties are the same.
        unsafe { self.current_slab().add_slab(size_class, base, bytes) }
    }

    /// Frees an object that CPU `owner_cpu` allocated, which takes the lock of that CPU's slabs. The number is
    /// one that [`owner_slab`](Self::owner_slab) takes.
    ///
    /// # Errors
    ///
    /// As [`SlabAllocator::dealloc`]; `NotFound` also if another CPU allocated the object.
    ///
    /// # Safety
    ///
    /// As there.
    unsafe fn dealloc(
        &self,
        ptr: NonNull<u8>,
        layout: Layout,
        owner_cpu: usize,
    ) -> AllocResult<SlabPoolDeallocResult> {
        let local = owner_cpu == self.current_cpu_id();
        // SAFETY: the caller's duties are the same.
        let result = unsafe { self.owner_slab(owner_cpu).dealloc_local(ptr, layout) }?;
        Ok(match result {
            SlabDeallocResult::FreeSlab { base, pages } => {
                SlabPoolDeallocResult::FreeSlab { base, pages }
            }
            SlabDeallocResult::Done if local => SlabPoolDeallocResult::Done,
            SlabDeallocResult::Done => SlabPoolDeallocResult::RemoteQueued,
        })
    }
}

/// Access to a pool's slabs through a closure.
pub trait SlabPoolExt: SlabPoolTrait {
    /// Calls `f` with the slabs of the CPU that calls.
    fn with_current_slab<R>(&self, f: impl FnOnce(&dyn SlabTrait) -> R) -> R {
        f(self.current_slab())
    }

    /// Calls `f` with the slabs of CPU `cpu_idx`.
    fn with_owner_slab<R>(&self, cpu_idx: usize, f: impl FnOnce(&dyn SlabTrait) -> R) -> R {
        f(self.owner_slab(cpu_idx))
    }
}

impl<T: SlabPoolTrait + ?Sized> SlabPoolExt for T {}

/// A [`SlabAllocator`] behind a lock, with the number of its CPU.
///
/// The lock does not mask interrupts; a caller whose interrupt handlers allocate does that.
pub struct PerCpuSlab<const PAGE_SIZE: usize = 0x1000> {
    cpu: u16,
    slabs: SpinMutex<SlabAllocator<PAGE_SIZE>>,
}

impl<const PAGE_SIZE: usize> PerCpuSlab<PAGE_SIZE> {
    /// The slabs of CPU `cpu_id`, none so far.
    #[must_use]
    pub const fn new(cpu_id: u16) -> Self {
        Self {
            cpu: cpu_id,
            slabs: SpinMutex::new(SlabAllocator::new()),
        }
    }

    /// Gives back memory that no live object needs, as [`SlabAllocator::reclaim`].
    pub fn reclaim(&self) -> Option<SlabDeallocResult> {
        self.slabs.lock().reclaim()
    }
}

impl<const PAGE_SIZE: usize> SlabTrait for PerCpuSlab<PAGE_SIZE> {
    fn cpu_id(&self) -> usize {
        usize::from(self.cpu)
    }

    fn page_size(&self) -> usize {
        PAGE_SIZE
    }

    fn alloc(&self, layout: Layout) -> AllocResult<SlabAllocResult> {
        self.slabs.lock().alloc(layout)
    }

    unsafe fn add_slab(&self, size_class: SizeClass, base: usize, bytes: usize) -> AllocResult {
        // SAFETY: the caller's duties are the same.
        unsafe {
            self.slabs
                .lock()
                .add_slab(size_class, base, bytes, self.cpu)
        }
    }

    unsafe fn dealloc_local(
        &self,
        ptr: NonNull<u8>,
        layout: Layout,
    ) -> AllocResult<SlabDeallocResult> {
        // SAFETY: the caller's duties are the same.
        unsafe { self.slabs.lock().dealloc(ptr, layout) }
    }
}

/// A pool of `N` CPUs whose number a function tells.
pub struct StaticSlabPool<const PAGE_SIZE: usize = 0x1000, const N: usize = 1> {
    slabs: [PerCpuSlab<PAGE_SIZE>; N],
    current_cpu_id: fn() -> usize,
}

impl<const PAGE_SIZE: usize, const N: usize> StaticSlabPool<PAGE_SIZE, N> {
    /// A pool over `slabs`, those of CPU number `i` at index `i`; `current_cpu_id` answers below `N`, else calls
    /// panic.
    #[must_use]
    pub const fn new(slabs: [PerCpuSlab<PAGE_SIZE>; N], current_cpu_id: fn() -> usize) -> Self {
        Self {
            slabs,
            current_cpu_id,
        }
    }
}

impl<const PAGE_SIZE: usize, const N: usize> SlabPoolTrait for StaticSlabPool<PAGE_SIZE, N> {
    fn current_slab(&self) -> &dyn SlabTrait {
        &self.slabs[(self.current_cpu_id)()]
    }

    /// # Panics
    ///
    /// If `cpu_idx` is not below `N`.
    fn owner_slab(&self, cpu_idx: usize) -> &dyn SlabTrait {
        &self.slabs[cpu_idx]
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use core::cell::Cell;
    use std::alloc::{alloc, dealloc};
    use std::vec::Vec;

    use super::*;

    std::thread_local! {
        static CPU: Cell<usize> = const { Cell::new(0) };
    }

    fn give_back(base: usize, pages: usize) {
        let layout = Layout::from_size_align(pages * 0x1000, 0x1000).expect("whole pages");
        // SAFETY: every slab of this test comes from `alloc` with such a layout.
        unsafe { dealloc(core::ptr::with_exposed_provenance_mut(base), layout) };
    }

    #[test]
    fn an_object_goes_back_to_the_cpu_that_owns_it() {
        static POOL: StaticSlabPool<0x1000, 2> =
            StaticSlabPool::new([PerCpuSlab::new(0), PerCpuSlab::new(1)], || CPU.get());
        let layout = Layout::from_size_align(2048, 8).expect("a valid layout");
        let mut objects = Vec::new();
        while objects.len() < 20 {
            match POOL.alloc(layout).expect("a small layout") {
                SlabAllocResult::Allocated(object) => objects.push(object),
                SlabAllocResult::NeedsSlab { size_class, pages } => {
                    let bytes = pages * 0x1000;
                    let pages = Layout::from_size_align(bytes, 0x1000).expect("whole pages");
                    // SAFETY: the layout is not empty.
                    let base = unsafe { alloc(pages) }.expose_provenance();
                    // SAFETY: fresh memory that is only freed after it came back.
                    unsafe { POOL.add_slab(size_class, base, bytes) }.expect("a good slab");
                }
            }
        }
        CPU.set(1);
        assert_eq!(POOL.current_cpu_id(), 1);
        let mut queued = 0;
        for object in objects {
            // SAFETY: each object is freed once.
            match unsafe { POOL.dealloc(object, layout, 0) }.expect("a good free") {
                SlabPoolDeallocResult::RemoteQueued => queued += 1,
                SlabPoolDeallocResult::FreeSlab { base, pages } => give_back(base, pages),
                SlabPoolDeallocResult::Done => panic!("CPU 1 owns nothing"),
            }
        }
        assert!(queued >= 18);
        assert!(
            POOL.with_current_slab(|slab| slab.alloc(layout))
                .is_ok_and(|result| matches!(result, SlabAllocResult::NeedsSlab { .. }))
        );
        assert_eq!(POOL.with_owner_slab(0, |slab| slab.cpu_id()), 0);
        while let Some(result) = POOL.slabs[0].reclaim() {
            if let SlabDeallocResult::FreeSlab { base, pages } = result {
                give_back(base, pages);
            }
        }
    }
}
