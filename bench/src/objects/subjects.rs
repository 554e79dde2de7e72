//! The allocators, all with the same face.

use std::alloc::Layout;
use std::ptr::{NonNull, null_mut};

use twinframe::GlobalAllocator;

use super::floor::Floor;
use super::heaps::{Alone, BuddySystem, LinkedList, Locked, Rlsf, Talc};
#[cfg(feature = "mallocs")]
use super::mallocs::{Jemalloc, Mimalloc, Snmalloc};
use crate::memory::Memory;
use crate::platform::Host;

/// An allocator of objects. A null pointer is no object.
///
/// No call is inlined: a program calls its allocator from many places.
pub(super) trait Objects: 'static {
    const NAME: &'static str;

    fn alloc(&self, layout: Layout) -> *mut u8;

    /// # Safety
    ///
    /// `object` came from `alloc` with that layout, and nobody uses it any more.
    unsafe fn free(&self, object: *mut u8, layout: Layout);

    /// Bytes in pages that cannot be used for anything else now, from what knows that.
    fn held(&self) -> Option<usize> {
        None
    }

    /// Gives back what is cached, where there is a call for that.
    fn give_back(&self) {}
}

/// Twinframe, on so many CPUs at most.
pub(super) struct OursOn<const CPUS: usize>(GlobalAllocator<Host<CPUS>>);

/// On as many as nearly all cases need.
pub(super) type Ours = OursOn<64>;

impl<const CPUS: usize> OursOn<CPUS> {
    pub(super) fn new(memory: Memory) -> Self {
        let ours = Self(GlobalAllocator::new());
        // SAFETY: the memory is this allocator's for good.
        let region = unsafe { memory.region().as_mut() };
        // SAFETY: as above.
        unsafe { ours.0.init(region) }.expect("a good region");
        ours
    }
}

impl<const CPUS: usize> Objects for OursOn<CPUS> {
    const NAME: &'static str = "twinframe";

    #[inline(never)]
    fn alloc(&self, layout: Layout) -> *mut u8 {
        self.0.alloc(layout).map_or(null_mut(), NonNull::as_ptr)
    }

    #[inline(never)]
    unsafe fn free(&self, object: *mut u8, layout: Layout) {
        if let Some(object) = NonNull::new(object) {
            // SAFETY: passed on to the caller.
            let freed = unsafe { self.0.dealloc(object, layout) };
            debug_assert!(freed.is_ok());
        }
    }

    fn held(&self) -> Option<usize> {
        Some(self.0.allocated_bytes())
    }

    fn give_back(&self) {
        self.0.drain();
    }
}

/// buddy-slab-allocator. Its slabs exist once in a program, so there is one of it.
pub(super) struct BuddySlab;

static BUDDY_SLAB: buddy_slab_allocator::GlobalAllocator<4096> =
    buddy_slab_allocator::GlobalAllocator::new();

impl BuddySlab {
    /// Gives it its memory, the first time.
    pub(super) fn new(memory: impl FnOnce() -> Memory) -> Self {
        if BUDDY_SLAB.managed_section_count() == 0 {
            // SAFETY: the memory is this allocator's for good.
            let region = unsafe { memory().region().as_mut() };
            // SAFETY: as above.
            unsafe { BUDDY_SLAB.init(region) }.expect("a good region");
        }
        Self
    }
}

impl Objects for BuddySlab {
    const NAME: &'static str = "buddy-slab";

    #[inline(never)]
    fn alloc(&self, layout: Layout) -> *mut u8 {
        BUDDY_SLAB.alloc(layout).map_or(null_mut(), NonNull::as_ptr)
    }

    #[inline(never)]
    unsafe fn free(&self, object: *mut u8, layout: Layout) {
        if let Some(object) = NonNull::new(object) {
            // SAFETY: passed on to the caller.
            unsafe { BUDDY_SLAB.dealloc(object, layout) };
        }
    }

    fn held(&self) -> Option<usize> {
        Some(BUDDY_SLAB.allocated_bytes())
    }
}

/// The C library's malloc.
pub(super) struct Libc;

impl Objects for Libc {
    const NAME: &'static str = "libc";

    #[inline(never)]
    fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: any size will do; the alignment of 8 is what malloc gives anyway.
        unsafe { libc::malloc(layout.size()) }.cast()
    }

    #[inline(never)]
    unsafe fn free(&self, object: *mut u8, _: Layout) {
        // SAFETY: passed on to the caller.
        unsafe { libc::free(object.cast()) };
    }

    fn give_back(&self) {
        // SAFETY: may be called at any time.
        unsafe { libc::malloc_trim(0) };
    }
}

/// One of each, for all cases that take time.
pub(super) struct Subjects {
    pub(super) floor: &'static Floor,
    pub(super) ours: &'static Ours,
    pub(super) buddy_slab: &'static BuddySlab,
    pub(super) linked_list: &'static Alone<LinkedList>,
    pub(super) talc: &'static Alone<Talc>,
    pub(super) rlsf: &'static Alone<Rlsf>,
    pub(super) buddy_system: &'static Alone<BuddySystem>,
    pub(super) talc_locked: &'static Locked<Talc>,
    pub(super) rlsf_locked: &'static Locked<Rlsf>,
    pub(super) libc: &'static Libc,
    #[cfg(feature = "mallocs")]
    pub(super) mimalloc: &'static Mimalloc,
    #[cfg(feature = "mallocs")]
    pub(super) snmalloc: &'static Snmalloc,
    #[cfg(feature = "mallocs")]
    pub(super) jemalloc: &'static Jemalloc,
}

impl Subjects {
    pub(super) fn new() -> Self {
        fn leak<T>(subject: T) -> &'static T {
            Box::leak(Box::new(subject))
        }
        let memory = || Memory::new(128 << 20, 2 << 20);
        Self {
            floor: leak(Floor::new(memory())),
            ours: leak(Ours::new(memory())),
            // It stays the only one, so it has enough for all cases.
            buddy_slab: leak(BuddySlab::new(|| Memory::new(256 << 20, 2 << 20))),
            linked_list: leak(Alone::new(memory())),
            talc: leak(Alone::new(memory())),
            rlsf: leak(Alone::new(memory())),
            buddy_system: leak(Alone::new(memory())),
            talc_locked: leak(Locked::new(memory())),
            rlsf_locked: leak(Locked::new(memory())),
            libc: &Libc,
            #[cfg(feature = "mallocs")]
            mimalloc: &Mimalloc,
            #[cfg(feature = "mallocs")]
            snmalloc: &Snmalloc,
            #[cfg(feature = "mallocs")]
            jemalloc: &Jemalloc,
        }
    }
}

/// `case(subject, arguments..)` for every subject that works on one CPU.
macro_rules! on_one_cpu {
    ($subjects:expr, $case:ident $(, $argument:expr)*) => {
        vec![
            $case($subjects.floor $(, $argument)*),
            $case($subjects.ours $(, $argument)*),
            $case($subjects.buddy_slab $(, $argument)*),
            $case($subjects.linked_list $(, $argument)*),
            $case($subjects.talc $(, $argument)*),
            $case($subjects.rlsf $(, $argument)*),
            $case($subjects.buddy_system $(, $argument)*),
            $case($subjects.libc $(, $argument)*),
            #[cfg(feature = "mallocs")]
            $case($subjects.mimalloc $(, $argument)*),
            #[cfg(feature = "mallocs")]
            $case($subjects.snmalloc $(, $argument)*),
            #[cfg(feature = "mallocs")]
            $case($subjects.jemalloc $(, $argument)*),
        ]
    };
}

/// `case(subject, arguments..)` for every subject that works on several.
macro_rules! on_cpus {
    ($subjects:expr, $case:ident $(, $argument:expr)*) => {
        vec![
            $case($subjects.ours $(, $argument)*),
            $case($subjects.buddy_slab $(, $argument)*),
            $case($subjects.talc_locked $(, $argument)*),
            $case($subjects.rlsf_locked $(, $argument)*),
            $case($subjects.libc $(, $argument)*),
            #[cfg(feature = "mallocs")]
            $case($subjects.mimalloc $(, $argument)*),
            #[cfg(feature = "mallocs")]
            $case($subjects.snmalloc $(, $argument)*),
            #[cfg(feature = "mallocs")]
            $case($subjects.jemalloc $(, $argument)*),
        ]
    };
}

pub(super) use {on_cpus, on_one_cpu};
