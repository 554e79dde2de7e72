//! The allocator for one owner.

use std::ops::Range;
use std::ptr::NonNull;

use twinframe::{AllocResult, BuddyAllocator, ManagedSection, PageRequest, RegionReport};

use crate::model::{Op, Pages, play};

struct Single(BuddyAllocator);

impl Pages for Single {
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
        let mut taken = 0;
        for slot in out {
            match self.0.alloc_pages(count, 0) {
                Ok(addr) => *slot = addr,
                Err(error) if taken == 0 => return Err(error),
                Err(_) => break,
            }
            taken += 1;
        }
        Ok(taken)
    }

    fn free(&mut self, addr: usize, count: usize) -> AllocResult {
        self.0.dealloc_pages(addr, count)
    }

    fn set_slab(&mut self, addr: usize, descriptor: *mut ()) -> AllocResult {
        // SAFETY: the sequence owns the block.
        unsafe { self.0.set_slab(addr, descriptor) }
    }

    fn slab_of(&self, addr: usize) -> Option<NonNull<()>> {
        self.0.slab_of(addr)
    }

    fn drain(&mut self, _: usize) {}

    fn drain_all(&mut self) {}

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
    }
}

/// Plays a sequence.
pub fn play_single(ops: Vec<Op>) {
    play(&mut Single(BuddyAllocator::new()), ops);
}
