//! The allocator for all CPUs, which take turns.

use std::ops::Range;
use std::ptr::NonNull;

use twinframe::{AllocResult, FrameAllocator, ManagedSection, PageRequest, RegionReport};

use crate::model::{Op, Pages, play};
use crate::platform::Host;

struct Shared(FrameAllocator<Host>);

impl Pages for Shared {
    fn add(&mut self, region: NonNull<[u8]>, phys: u64) -> AllocResult<RegionReport> {
        // SAFETY: the memory is used through this allocator only, and stays.
        unsafe { self.0.add_region_at(region, phys) }
    }

    fn remove(&mut self, addr: usize) -> AllocResult<Range<usize>> {
        self.0.remove_section(addr)
    }

    fn allocate(&mut self, request: &PageRequest) -> AllocResult<usize> {
        self.0.allocate(request)
    }

    fn allocate_at(&mut self, addr: usize, count: usize) -> AllocResult<usize> {
        self.0.alloc_pages_at(addr, count, 0)
    }

    fn allocate_bulk(&mut self, count: usize, out: &mut [usize]) -> AllocResult<usize> {
        self.0.alloc_bulk(count, out)
    }

    fn free(&mut self, addr: usize, count: usize) -> AllocResult {
        // SAFETY: the sequence owns what it frees; what else it tries is refused.
        unsafe { self.0.dealloc_pages(addr, count) }
    }

    fn resize(&mut self, addr: usize, count: usize, new_count: usize) -> Option<AllocResult> {
        Some(if new_count > count {
            // SAFETY: the sequence owns the block.
            unsafe { self.0.grow_pages(addr, count, new_count) }
        } else {
            // SAFETY: as above, and it does not use the pages that go.
            unsafe { self.0.shrink_pages(addr, count, new_count) }
        })
    }

    fn set_slab(&mut self, addr: usize, descriptor: *mut ()) -> AllocResult {
        // SAFETY: the sequence owns the block.
        unsafe { self.0.set_slab(addr, descriptor) }
    }

    fn slab_of(&self, addr: usize) -> Option<NonNull<()>> {
        self.0.slab_of(addr)
    }

    fn drain(&mut self, cpu: usize) {
        self.0.drain_cpu(cpu);
    }

    fn drain_all(&mut self) {
        self.0.drain_all();
    }

    fn section(&self, i: usize) -> Option<ManagedSection> {
        self.0.section(i)
    }

    fn total_pages(&self) -> usize {
        self.0.total_pages()
    }

    fn free_pages(&self) -> usize {
        self.0.free_pages()
    }

    fn validate(&self) {
        self.0.validate().expect("consistent");
        assert_eq!(self.0.corrupted_blocks(), 0);
    }
}

/// Plays a sequence.
pub fn play_shared(ops: Vec<Op>) {
    play(&mut Shared(FrameAllocator::new()), ops);
}
