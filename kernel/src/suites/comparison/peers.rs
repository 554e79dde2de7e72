//! The other allocators, and Twinframe's own for small memories.

use alloc::boxed::Box;
use core::alloc::Layout;
use core::ptr::{NonNull, null_mut};

use twinframe::bittree;

use super::subjects::{Heap, resized};

/// `twinframe::bittree`: chunks of 2 MiB at most, with a bit for each pair of buddies.
pub(super) struct BitTree(bittree::BitTree);

impl Heap for BitTree {
    const NAME: &'static str = "twinframe::bittree";

    fn new(region: &mut [u8]) -> Option<Self> {
        let mut tree = bittree::BitTree::new();
        // SAFETY: the memory is this heap's as long as it exists.
        unsafe { tree.add_chunks(NonNull::from(region)) }.ok()?;
        Some(Self(tree))
    }

    fn alloc(&mut self, layout: Layout) -> *mut u8 {
        self.0.alloc(layout).map_or(null_mut(), NonNull::as_ptr)
    }

    unsafe fn free(&mut self, memory: NonNull<u8>, layout: Layout) {
        // SAFETY: passed on to the caller.
        let freed = unsafe { self.0.dealloc(memory, layout) };
        debug_assert_eq!(freed, Ok(()));
    }
}

/// `linked_list_allocator`: one list of holes in address order.
pub(super) struct LinkedList(linked_list_allocator::Heap);

impl Heap for LinkedList {
    const NAME: &'static str = "linked_list_allocator";

    fn new(region: &mut [u8]) -> Option<Self> {
        // SAFETY: the memory is this heap's as long as it exists.
        Some(Self(unsafe {
            linked_list_allocator::Heap::new(region.as_mut_ptr(), region.len())
        }))
    }

    fn alloc(&mut self, layout: Layout) -> *mut u8 {
        let memory = self.0.allocate_first_fit(layout);
        memory.map_or(null_mut(), NonNull::as_ptr)
    }

    unsafe fn free(&mut self, memory: NonNull<u8>, layout: Layout) {
        // SAFETY: passed on to the caller.
        unsafe { self.0.deallocate(memory, layout) };
    }
}

/// `buddy_system_allocator`: powers of two, a list for each.
pub(super) struct BuddySystem(buddy_system_allocator::Heap<33>);

impl Heap for BuddySystem {
    const NAME: &'static str = "buddy_system_allocator";

    fn new(region: &mut [u8]) -> Option<Self> {
        let mut heap = buddy_system_allocator::Heap::new();
        let start = region.as_mut_ptr().expose_provenance();
        // SAFETY: the memory is this heap's as long as it exists.
        unsafe { heap.add_to_heap(start, start + region.len()) };
        Some(Self(heap))
    }

    fn alloc(&mut self, layout: Layout) -> *mut u8 {
        self.0.alloc(layout).map_or(null_mut(), NonNull::as_ptr)
    }

    unsafe fn free(&mut self, memory: NonNull<u8>, layout: Layout) {
        // SAFETY: passed on to the caller.
        unsafe { self.0.dealloc(memory, layout) };
    }
}

/// `rlsf`: two levels of segregated fits. Its tables are too large to be moved about on a kernel's stack.
pub(super) struct Rlsf(Box<rlsf::Tlsf<'static, u32, u32, 28, 32>>);

impl Heap for Rlsf {
    const NAME: &'static str = "rlsf";

    fn new(region: &mut [u8]) -> Option<Self> {
        let mut heap = Box::new(rlsf::Tlsf::new());
        // SAFETY: the memory is this heap's as long as it exists.
        unsafe { heap.insert_free_block_ptr(NonNull::from(region)) }?;
        Some(Self(heap))
    }

    fn alloc(&mut self, layout: Layout) -> *mut u8 {
        self.0.allocate(layout).map_or(null_mut(), NonNull::as_ptr)
    }

    unsafe fn free(&mut self, memory: NonNull<u8>, layout: Layout) {
        // SAFETY: passed on to the caller.
        unsafe { self.0.deallocate(memory, layout.align()) };
    }

    unsafe fn grow(&mut self, memory: NonNull<u8>, layout: Layout, size: usize) -> *mut u8 {
        let Some(new) = resized(layout, size) else {
            return null_mut();
        };
        // SAFETY: passed on to the caller.
        let grown = unsafe { self.0.reallocate(memory, new) };
        grown.map_or(null_mut(), NonNull::as_ptr)
    }
}

/// `talc`: bins by size, with tags between blocks.
pub(super) struct Talc(talc::base::Talc<talc::source::Manual, talc::DefaultBinning>);

// SAFETY: its pointers lead into memory that is its own.
unsafe impl Send for Talc {}

impl Heap for Talc {
    const NAME: &'static str = "talc";

    fn new(region: &mut [u8]) -> Option<Self> {
        let mut heap = talc::base::Talc::new(talc::source::Manual);
        // SAFETY: the memory is this heap's as long as it exists.
        unsafe { heap.claim(region.as_mut_ptr(), region.len()) }?;
        Some(Self(heap))
    }

    fn alloc(&mut self, layout: Layout) -> *mut u8 {
        // SAFETY: no layout here has a size of 0.
        let memory = unsafe { self.0.allocate(layout) };
        memory.map_or(null_mut(), NonNull::as_ptr)
    }

    unsafe fn free(&mut self, memory: NonNull<u8>, layout: Layout) {
        // SAFETY: passed on to the caller.
        unsafe { self.0.deallocate(memory.as_ptr(), layout) };
    }

    unsafe fn grow(&mut self, memory: NonNull<u8>, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: passed on to the caller.
        if unsafe { self.0.try_grow_in_place(memory.as_ptr(), layout, size) } {
            return memory.as_ptr();
        }
        // SAFETY: passed on to the caller.
        unsafe { self.grow_elsewhere(memory, layout, size) }
    }
}
