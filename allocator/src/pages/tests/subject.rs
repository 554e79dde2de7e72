//! The allocators as the model calls them.

use core::ops::Range;
use core::ptr::NonNull;

use super::{Cpu, Host, assert_recovered};
use crate::{
    AllocResult, BuddyAllocator, FrameAllocator, ManagedSection, PageFlags, PageRequest, Reclaim,
    RegionReport,
};

/// What the model is compared with.
pub(super) trait Subject {
    fn on_cpu(&mut self, _: usize) {}
    fn drain(&mut self, _: usize) {}
    fn drain_all(&mut self) {}
    fn set_reclaim(&mut self, _: Option<Reclaim>) {}

    /// Shrinks or grows an allocation where it is; `None` if this allocator does not.
    fn resize(&mut self, _addr: usize, _count: usize, _new_count: usize) -> Option<AllocResult> {
        None
    }

    /// Does it refuse all that the model refuses?
    fn is_exact(&self) -> bool;

    unsafe fn add(&mut self, region: NonNull<[u8]>, phys: u64) -> AllocResult<RegionReport>;
    fn remove(&mut self, addr: usize) -> AllocResult<Range<usize>>;
    fn alloc(&mut self, request: &PageRequest) -> AllocResult<usize>;
    fn alloc_at(&mut self, addr: usize, count: usize) -> AllocResult<usize>;
    fn free(&mut self, addr: usize, count: usize) -> AllocResult;
    unsafe fn set_slab(&mut self, addr: usize, descriptor: *mut ()) -> AllocResult;
    fn slab_of(&self, addr: usize) -> Option<NonNull<()>>;
    fn page_flags(&self, addr: usize) -> AllocResult<PageFlags>;
    fn section_count(&self) -> usize;
    fn section(&self, i: usize) -> Option<ManagedSection>;
    fn free_pages(&self) -> usize;
    fn validate(&self);
    fn assert_recovered(&self);
}

/// The calls that both allocators have.
macro_rules! subject {
    ($allocator:ty, $($own:item)*) => {
        impl Subject for $allocator {
            $($own)*

            unsafe fn add(&mut self, region: NonNull<[u8]>, phys: u64) -> AllocResult<RegionReport> {
                // SAFETY: passed on to the caller.
                unsafe { self.add_region_at(region, phys) }
            }

            fn remove(&mut self, addr: usize) -> AllocResult<Range<usize>> {
                self.remove_section(addr)
            }

            fn alloc(&mut self, request: &PageRequest) -> AllocResult<usize> {
                self.allocate(request)
            }

            fn alloc_at(&mut self, addr: usize, count: usize) -> AllocResult<usize> {
                self.alloc_pages_at(addr, count, 0)
            }

            unsafe fn set_slab(&mut self, addr: usize, descriptor: *mut ()) -> AllocResult {
                // SAFETY: passed on to the caller.
                unsafe { <$allocator>::set_slab(self, addr, descriptor) }
            }

            fn slab_of(&self, addr: usize) -> Option<NonNull<()>> {
                <$allocator>::slab_of(self, addr)
            }

            fn page_flags(&self, addr: usize) -> AllocResult<PageFlags> {
                <$allocator>::page_flags(self, addr)
            }

            fn section_count(&self) -> usize {
                <$allocator>::section_count(self)
            }

            fn section(&self, i: usize) -> Option<ManagedSection> {
                <$allocator>::section(self, i)
            }

            fn free_pages(&self) -> usize {
                <$allocator>::free_pages(self)
            }

            fn validate(&self) {
                <$allocator>::validate(self).unwrap();
            }
        }
    };
}

subject! {
    BuddyAllocator,

    fn is_exact(&self) -> bool {
        true
    }

    fn free(&mut self, addr: usize, count: usize) -> AllocResult {
        self.dealloc_pages(addr, count)
    }

    fn assert_recovered(&self) {
        assert_recovered(self);
    }
}

subject! {
    FrameAllocator<Host>,

    fn is_exact(&self) -> bool {
        false
    }

    fn free(&mut self, addr: usize, count: usize) -> AllocResult {
        // SAFETY: the model frees what is its own; what else it tries is refused.
        unsafe { self.dealloc_pages(addr, count) }
    }

    fn assert_recovered(&self) {
        super::shared::assert_recovered(self);
    }

    fn resize(&mut self, addr: usize, count: usize, new_count: usize) -> Option<AllocResult> {
        Some(if new_count > count {
            // SAFETY: the model resizes what is its own; what else it tries is refused.
            unsafe { self.grow_pages(addr, count, new_count) }
        } else {
            // SAFETY: as above, and nobody uses the pages that go.
            unsafe { self.shrink_pages(addr, count, new_count) }
        })
    }

    fn on_cpu(&mut self, cpu: usize) {
        Cpu::set(cpu);
    }

    fn drain(&mut self, cpu: usize) {
        self.drain_cpu(cpu);
    }

    fn drain_all(&mut self) {
        FrameAllocator::drain_all(self);
    }

    fn set_reclaim(&mut self, reclaim: Option<Reclaim>) {
        FrameAllocator::set_reclaim(self, reclaim);
    }
}
