//! The allocators, all with the same face.

use std::alloc::Layout;
use std::ptr::NonNull;

use buddy_slab_allocator::BuddyAllocator as BuddySlab;
use buddy_system_allocator::Heap;
use spin::mutex::SpinMutex;
use twinframe::{BuddyAllocator, FrameAllocator};

use super::PAGE;
use crate::memory::Memory;
use crate::platform::Host;

/// An allocator of blocks of `PAGE << order` bytes. Address 0 is no block.
///
/// No call is inlined: a kernel calls its allocator from many places. Each is asked in its own unit, so that no
/// call has to convert.
pub(super) trait Pages {
    /// How it is told the size of a block.
    type Size: Copy;

    const NAME: &'static str;
    /// The name of the same behind a lock, as CPUs share it.
    const LOCKED: &'static str = "";

    fn new(memory: Memory) -> Self;
    fn add(&mut self, memory: Memory);
    fn size(order: usize) -> Self::Size;
    fn alloc(&mut self, size: Self::Size) -> usize;
    fn free(&mut self, addr: usize, size: Self::Size);

    /// A page below 4 GiB; `None` from an allocator that has no such call.
    fn alloc_low(&mut self) -> Option<usize> {
        None
    }
}

/// Twinframe as the CPUs of a kernel share it.
pub(super) struct Shared(pub(super) Box<FrameAllocator<Host>>);

impl Pages for Shared {
    type Size = usize;

    const NAME: &'static str = "twinframe";

    fn new(memory: Memory) -> Self {
        let mut pages = Self(Box::new(FrameAllocator::new()));
        pages.add(memory);
        pages
    }

    fn add(&mut self, memory: Memory) {
        // SAFETY: the memory is this allocator's for good.
        let added = unsafe { self.0.add_region_at(memory.region(), memory.addr() as u64) };
        added.expect("a good region");
    }

    fn size(order: usize) -> usize {
        1 << order
    }

    #[inline(never)]
    fn alloc(&mut self, count: usize) -> usize {
        self.0.alloc_pages(count, 0).unwrap_or(0)
    }

    #[inline(never)]
    fn free(&mut self, addr: usize, count: usize) {
        // SAFETY: the benches free what they allocated.
        let freed = unsafe { self.0.dealloc_pages(addr, count) };
        debug_assert!(freed.is_ok());
    }

    #[inline(never)]
    fn alloc_low(&mut self) -> Option<usize> {
        Some(self.0.alloc_pages_lowmem(1, 0).unwrap_or(0))
    }
}

/// Twinframe for one owner: no lock, and no caches either.
pub(super) struct Single(Box<BuddyAllocator>);

impl Pages for Single {
    type Size = usize;

    const NAME: &'static str = "twinframe-single";

    fn new(memory: Memory) -> Self {
        let mut pages = Self(Box::new(BuddyAllocator::new()));
        pages.add(memory);
        pages
    }

    fn add(&mut self, memory: Memory) {
        // SAFETY: the memory is this allocator's for good.
        let added = unsafe { self.0.add_region_at(memory.region(), memory.addr() as u64) };
        added.expect("a good region");
    }

    fn size(order: usize) -> usize {
        1 << order
    }

    #[inline(never)]
    fn alloc(&mut self, count: usize) -> usize {
        self.0.alloc_pages(count, 0).unwrap_or(0)
    }

    #[inline(never)]
    fn free(&mut self, addr: usize, count: usize) {
        let freed = self.0.dealloc_pages(addr, count);
        debug_assert!(freed.is_ok());
    }

    #[inline(never)]
    fn alloc_low(&mut self) -> Option<usize> {
        Some(self.0.alloc_pages_lowmem(1, 0).unwrap_or(0))
    }
}

/// buddy-slab-allocator's page allocator, for one owner.
pub(super) struct PeerBuddySlab(Box<BuddySlab<PAGE>>);

impl Pages for PeerBuddySlab {
    type Size = usize;

    const NAME: &'static str = "buddy-slab-alone";
    const LOCKED: &'static str = "buddy-slab+lock";

    fn new(memory: Memory) -> Self {
        let mut pages = Self(Box::new(BuddySlab::new()));
        pages.add(memory);
        pages
    }

    fn add(&mut self, memory: Memory) {
        // SAFETY: the memory is this allocator's for good.
        let region = unsafe { memory.region().as_mut() };
        // SAFETY: as above.
        unsafe { self.0.add_region(region) }.expect("a good region");
    }

    fn size(order: usize) -> usize {
        1 << order
    }

    #[inline(never)]
    fn alloc(&mut self, count: usize) -> usize {
        self.0.alloc_pages(count, PAGE).unwrap_or(0)
    }

    #[inline(never)]
    fn free(&mut self, addr: usize, count: usize) {
        self.0.dealloc_pages(addr, count);
    }

    #[inline(never)]
    fn alloc_low(&mut self) -> Option<usize> {
        Some(self.0.alloc_pages_lowmem(1, PAGE).unwrap_or(0))
    }
}

/// buddy_system_allocator's heap, for one owner.
pub(super) struct PeerBuddySystem(Box<Heap<33>>);

impl Pages for PeerBuddySystem {
    type Size = Layout;

    const NAME: &'static str = "buddy_system-alone";
    const LOCKED: &'static str = "buddy_system+lock";

    fn new(memory: Memory) -> Self {
        let mut pages = Self(Box::new(Heap::new()));
        pages.add(memory);
        pages
    }

    fn add(&mut self, memory: Memory) {
        // SAFETY: the memory is this allocator's for good.
        unsafe {
            self.0
                .add_to_heap(memory.addr(), memory.addr() + memory.len());
        }
    }

    fn size(order: usize) -> Layout {
        Layout::from_size_align(PAGE << order, PAGE << order).expect("a power of two")
    }

    #[inline(never)]
    fn alloc(&mut self, layout: Layout) -> usize {
        self.0.alloc(layout).map_or(0, |block| block.addr().get())
    }

    #[inline(never)]
    fn free(&mut self, addr: usize, layout: Layout) {
        let block = NonNull::new(std::ptr::with_exposed_provenance_mut(addr)).expect("a block");
        // SAFETY: the benches free what they allocated.
        unsafe { self.0.dealloc(block, layout) };
    }
}

/// An allocator for one owner behind a spin lock.
pub(super) struct Locked<S>(SpinMutex<S>);

impl<S: Pages> Pages for Locked<S> {
    type Size = S::Size;

    const NAME: &'static str = S::LOCKED;

    fn new(memory: Memory) -> Self {
        Self(SpinMutex::new(S::new(memory)))
    }

    fn add(&mut self, memory: Memory) {
        self.0.get_mut().add(memory);
    }

    fn size(order: usize) -> S::Size {
        S::size(order)
    }

    fn alloc(&mut self, size: S::Size) -> usize {
        self.0.lock().alloc(size)
    }

    fn free(&mut self, addr: usize, size: S::Size) {
        self.0.lock().free(addr, size);
    }

    fn alloc_low(&mut self) -> Option<usize> {
        self.0.lock().alloc_low()
    }
}

/// The least that can be done: popping and pushing an array of addresses.
pub(super) struct Floor {
    stacks: Vec<Stack>,
}

struct Stack {
    blocks: [usize; 128],
    len: usize,
}

impl Pages for Floor {
    type Size = usize;

    const NAME: &'static str = "floor";

    fn new(memory: Memory) -> Self {
        let stack = || Stack {
            blocks: [memory.addr(); 128],
            len: 64,
        };
        Self {
            stacks: std::iter::repeat_with(stack).take(21).collect(),
        }
    }

    fn add(&mut self, _: Memory) {}

    fn size(order: usize) -> usize {
        order
    }

    #[inline(never)]
    fn alloc(&mut self, order: usize) -> usize {
        let stack = &mut self.stacks[order];
        if stack.len == 0 {
            return 0;
        }
        stack.len -= 1;
        stack.blocks[stack.len]
    }

    #[inline(never)]
    fn free(&mut self, addr: usize, order: usize) {
        let stack = &mut self.stacks[order];
        if stack.len < stack.blocks.len() {
            stack.blocks[stack.len] = addr;
            stack.len += 1;
        }
    }
}

/// Does nothing: what is measured is the bench.
pub(super) struct Harness(usize);

impl Pages for Harness {
    type Size = usize;

    const NAME: &'static str = "harness";

    fn new(memory: Memory) -> Self {
        Self(memory.addr())
    }

    fn add(&mut self, _: Memory) {}

    fn size(order: usize) -> usize {
        order
    }

    #[inline(never)]
    fn alloc(&mut self, _: usize) -> usize {
        self.0
    }

    #[inline(never)]
    fn free(&mut self, addr: usize, _: usize) {
        std::hint::black_box(addr);
    }
}
