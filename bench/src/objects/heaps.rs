//! Allocators for one owner.

use std::alloc::Layout;
use std::cell::UnsafeCell;
use std::ptr::{NonNull, null_mut};

use spin::mutex::SpinMutex;

use super::subjects::Objects;
use crate::memory::Memory;

/// An allocator that has to be borrowed exclusively.
pub(super) trait Heap: 'static {
    const NAME: &'static str;
    /// The name of the same behind a lock, as CPUs share it.
    const LOCKED: &'static str;

    fn new(memory: Memory) -> Self;
    fn alloc(&mut self, layout: Layout) -> *mut u8;

    /// # Safety
    ///
    /// As for [`Objects::free`].
    unsafe fn free(&mut self, object: NonNull<u8>, layout: Layout);
}

/// A heap without a lock.
pub(super) struct Alone<H>(UnsafeCell<H>);

impl<H: Heap> Alone<H> {
    pub(super) fn new(memory: Memory) -> Self {
        Self(UnsafeCell::new(H::new(memory)))
    }
}

impl<H: Heap> Objects for Alone<H> {
    const NAME: &'static str = H::NAME;

    #[inline(never)]
    fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: this type is not `Sync`, and the reference does not leave the call.
        unsafe { &mut *self.0.get() }.alloc(layout)
    }

    #[inline(never)]
    unsafe fn free(&self, object: *mut u8, layout: Layout) {
        if let Some(object) = NonNull::new(object) {
            // SAFETY: as in `alloc`.
            let heap = unsafe { &mut *self.0.get() };
            // SAFETY: passed on to the caller.
            unsafe { heap.free(object, layout) };
        }
    }
}

/// A heap behind a spin lock.
pub(super) struct Locked<H>(SpinMutex<H>);

impl<H: Heap> Locked<H> {
    pub(super) fn new(memory: Memory) -> Self {
        Self(SpinMutex::new(H::new(memory)))
    }
}

impl<H: Heap> Objects for Locked<H> {
    const NAME: &'static str = H::LOCKED;

    #[inline(never)]
    fn alloc(&self, layout: Layout) -> *mut u8 {
        self.0.lock().alloc(layout)
    }

    #[inline(never)]
    unsafe fn free(&self, object: *mut u8, layout: Layout) {
        if let Some(object) = NonNull::new(object) {
            // SAFETY: passed on to the caller.
            unsafe { self.0.lock().free(object, layout) };
        }
    }
}

pub(super) struct LinkedList(linked_list_allocator::Heap);

impl Heap for LinkedList {
    const NAME: &'static str = "linked_list";
    const LOCKED: &'static str = "linked_list+lock";

    fn new(memory: Memory) -> Self {
        let start = memory.region().cast::<u8>().as_ptr();
        // SAFETY: the memory is this heap's for good.
        Self(unsafe { linked_list_allocator::Heap::new(start, memory.len()) })
    }

    fn alloc(&mut self, layout: Layout) -> *mut u8 {
        let object = self.0.allocate_first_fit(layout);
        object.map_or(null_mut(), NonNull::as_ptr)
    }

    unsafe fn free(&mut self, object: NonNull<u8>, layout: Layout) {
        // SAFETY: passed on to the caller.
        unsafe { self.0.deallocate(object, layout) };
    }
}

pub(super) struct Talc(talc::base::Talc<talc::source::Manual, talc::DefaultBinning>);

impl Heap for Talc {
    const NAME: &'static str = "talc";
    const LOCKED: &'static str = "talc+lock";

    fn new(memory: Memory) -> Self {
        let mut heap = talc::base::Talc::new(talc::source::Manual);
        let start = memory.region().cast::<u8>().as_ptr();
        // SAFETY: the memory is this heap's for good.
        unsafe { heap.claim(start, memory.len()) }.expect("a good region");
        Self(heap)
    }

    fn alloc(&mut self, layout: Layout) -> *mut u8 {
        // SAFETY: no layout here has a size of 0.
        let object = unsafe { self.0.allocate(layout) };
        object.map_or(null_mut(), NonNull::as_ptr)
    }

    unsafe fn free(&mut self, object: NonNull<u8>, layout: Layout) {
        // SAFETY: passed on to the caller.
        unsafe { self.0.deallocate(object.as_ptr(), layout) };
    }
}

pub(super) struct Rlsf(rlsf::Tlsf<'static, u32, u32, 28, 32>);

impl Heap for Rlsf {
    const NAME: &'static str = "rlsf";
    const LOCKED: &'static str = "rlsf+lock";

    fn new(memory: Memory) -> Self {
        let mut heap = rlsf::Tlsf::new();
        // SAFETY: the memory is this heap's for good.
        unsafe { heap.insert_free_block_ptr(memory.region()) }.expect("a good region");
        Self(heap)
    }

    fn alloc(&mut self, layout: Layout) -> *mut u8 {
        self.0.allocate(layout).map_or(null_mut(), NonNull::as_ptr)
    }

    unsafe fn free(&mut self, object: NonNull<u8>, layout: Layout) {
        // SAFETY: passed on to the caller.
        unsafe { self.0.deallocate(object, layout.align()) };
    }
}

pub(super) struct BuddySystem(buddy_system_allocator::Heap<33>);

impl Heap for BuddySystem {
    const NAME: &'static str = "buddy_system";
    const LOCKED: &'static str = "buddy_system+lock";

    fn new(memory: Memory) -> Self {
        let mut heap = buddy_system_allocator::Heap::new();
        // SAFETY: the memory is this heap's for good.
        unsafe { heap.add_to_heap(memory.addr(), memory.addr() + memory.len()) };
        Self(heap)
    }

    fn alloc(&mut self, layout: Layout) -> *mut u8 {
        self.0.alloc(layout).map_or(null_mut(), NonNull::as_ptr)
    }

    unsafe fn free(&mut self, object: NonNull<u8>, layout: Layout) {
        // SAFETY: passed on to the caller.
        unsafe { self.0.dealloc(object, layout) };
    }
}
