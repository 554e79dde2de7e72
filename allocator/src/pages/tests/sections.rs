//! Regions that come, go, and are never touched.

use std::time::{Duration, Instant};
use std::vec::Vec;

use super::shared::{Shared, free};
use super::{GIB, KIB, MIB, Memory, PAGE, allocator, assert_recovered};
use crate::{AllocError, BuddyAllocator, PageRequest, Zone};

#[test]
fn unaligned_ends_cost_at_most_the_pages_they_are_in() {
    let memory = Memory::new(16 * MIB);
    for (front, back) in [(0, 0), (1, 0), (0, 1), (100, 4000), (4095, 4095)] {
        let mut pages = BuddyAllocator::<PAGE>::new();
        let len = MIB - front - back;
        // SAFETY: the memory outlives the allocator, which is the only one at a time.
        let report =
            unsafe { pages.add_region_at(memory.part(front, len), GIB + front as u64) }.unwrap();
        assert_eq!(report.managed + report.metadata + report.lost, len);
        assert!(report.lost < 2 * PAGE);
        assert_eq!(report.managed, pages.managed_bytes());
        assert_recovered(&pages);
    }
}

#[test]
fn metadata_stays_below_a_fifth_of_a_percent() {
    for mib in [16, 64, 128, 1024, 16 * 1024, 1024 * 1024] {
        let memory = Memory::new(mib * MIB);
        let pages = allocator(&memory, 4 * GIB);
        let section = pages.section(0).unwrap();
        std::println!("{mib} MiB: {} bytes of metadata", section.metadata);
        assert!(section.metadata * 1000 <= 2 * mib * MIB);
        assert!(section.metadata <= BuddyAllocator::<PAGE>::required_meta_size(mib * MIB) + PAGE);
    }
}

#[test]
fn a_tebibyte_is_added_like_a_gibibyte() {
    let memory = Memory::new(1 << 40);
    let start = Instant::now();
    let mut pages = allocator(&memory, 1 << 40);
    assert!(start.elapsed() < Duration::from_millis(100));
    let addr = pages.alloc_pages(1, 0).unwrap();
    let large = pages.alloc_pages(1 << 20, 0).unwrap();
    assert!(large.is_multiple_of(4 << 30));
    pages.dealloc_pages(addr, 1).unwrap();
    let free = pages.free_pages();
    assert_eq!(free, pages.total_pages() - (1 << 20));
    // Never handed out, and far above the frontier.
    let last = memory.addr() + (1 << 40) - PAGE;
    assert_eq!(pages.dealloc_pages(last, 1), Err(AllocError::NotAllocated));
    pages.dealloc_pages(large, 1 << 20).unwrap();
    assert_eq!(pages.free_pages(), pages.total_pages());
}

#[test]
fn a_region_is_cut_at_zone_borders_and_every_piece_counts() {
    let memory = Memory::new(64 * MIB);
    let pages = allocator(&memory, 4 * GIB - 32 * MIB as u64);
    assert_eq!(pages.section_count(), 2);
    assert_eq!(pages.section(0).unwrap().zone, Zone::Dma32);
    assert_eq!(pages.section(1).unwrap().zone, Zone::Normal);
    assert_eq!(
        pages.section(1).unwrap().phys - 4 * GIB,
        pages.section(1).unwrap().metadata as u64
    );

    // One page below the border cannot describe itself, so it describes what is above.
    let memory = Memory::new(MIB);
    let pages = allocator(&memory, 4 * GIB - PAGE as u64);
    assert_eq!(pages.section_count(), 1);
    assert_eq!(pages.total_pages(), MIB / PAGE - 1);

    // One page above it is lost, and said to be.
    let mut pages = BuddyAllocator::<PAGE>::new();
    // SAFETY: the memory is used by one allocator at a time.
    let report =
        unsafe { pages.add_region_at(memory.whole(), 4 * GIB - (MIB - PAGE) as u64) }.unwrap();
    assert_eq!((report.sections, report.lost), (1, PAGE));
}

#[test]
fn a_free_section_goes_and_comes_back() {
    let memory = Memory::new(8 * MIB);
    let mut pages = BuddyAllocator::<PAGE>::new();
    for (part, phys) in [(0, 5 * GIB), (1, 6 * GIB), (2, 7 * GIB)] {
        // SAFETY: the memory outlives the allocator.
        unsafe { pages.add_region_at(memory.part(part * 2 * MIB, 2 * MIB), phys) }.unwrap();
    }
    let middle = pages.section(1).unwrap();
    let addr = pages.alloc_pages_at(middle.start + 5 * PAGE, 3, 0).unwrap();
    assert_eq!(pages.remove_section(middle.start), Err(AllocError::Busy(3)));
    pages.validate().unwrap();
    pages.dealloc_pages(addr, 3).unwrap();
    let range = memory.addr() + 2 * MIB..memory.addr() + 4 * MIB;
    assert_eq!(pages.remove_section(middle.start + 1), Ok(range));
    assert_eq!(pages.section_count(), 2);
    assert_eq!(pages.dealloc_pages(addr, 3), Err(AllocError::NotFound));
    assert_recovered(&pages);
    // SAFETY: the memory is ours again.
    unsafe { pages.add_region_at(memory.part(2 * MIB, 2 * MIB), 6 * GIB) }.unwrap();
    assert_eq!(pages.section(1), Some(middle));
    for _ in 0..3 {
        pages
            .remove_section(pages.section(0).unwrap().start)
            .unwrap();
        pages.validate().unwrap();
    }
    assert_eq!((pages.section_count(), pages.total_pages()), (0, 0));
    assert_eq!(pages.alloc_pages(1, 0), Err(AllocError::NotInitialized));
}

#[test]
fn what_stays_for_ever_goes_into_the_oldest_section_that_is_left() {
    let memory = Memory::new(64 * MIB);
    let frames = Shared::new();
    let at = |part: usize| part * 16 * MIB;
    let add = |part| {
        let region = memory.part(at(part), 8 * MIB);
        // SAFETY: the memory outlives the allocator.
        unsafe { frames.add_region_at(region, 4 * GIB + at(part) as u64) }.unwrap();
    };
    let remove = |part| frames.remove_section(memory.addr() + at(part) + 4 * MIB);
    // Neither the lowest nor the highest one is the oldest that is left.
    for part in [2, 1, 3] {
        add(part);
    }
    remove(2).unwrap();
    add(0);
    free(&frames, frames.alloc_pages(1, 0).unwrap(), 1);
    assert!(matches!(remove(1), Err(AllocError::Busy(_))));
    for part in [0, 3] {
        remove(part).unwrap();
    }
}

#[test]
fn every_number_of_regions_works() {
    for count in [1, 8, 64, 512] {
        let memory = Memory::new(count * 128 * KIB);
        let mut pages = BuddyAllocator::<PAGE>::new();
        // Neither ascending nor descending.
        for i in 0..count {
            let slot = i * 37 % count;
            // Every second 64 KiB.
            let part = memory.part(slot * 128 * KIB, 64 * KIB);
            let phys = 4 * GIB + (slot * 128 * KIB) as u64;
            // SAFETY: the memory outlives the allocator.
            unsafe { pages.add_region_at(part, phys) }.unwrap();
        }
        assert_eq!(pages.section_count(), count);
        assert_eq!(pages.total_pages(), count * 15);
        let live: Vec<usize> = core::iter::from_fn(|| pages.alloc_pages(1, 0).ok()).collect();
        assert_eq!(live.len(), count * 15);
        pages.validate().unwrap();
        for addr in live.iter().rev() {
            pages.dealloc_pages(*addr, 1).unwrap();
        }
        assert_recovered(&pages);
    }
}

#[test]
fn lower_zones_keep_a_reserve_for_those_who_need_it() {
    let memory = Memory::new(256 * MIB);
    let mut pages = BuddyAllocator::<PAGE>::new();
    // SAFETY: the memory outlives the allocator.
    let mut add = |offset, len, phys| unsafe {
        pages.add_region_at(memory.part(offset, len), phys).unwrap();
    };
    add(0, 8 * MIB, 4 * MIB as u64);
    add(64 * MIB, 16 * MIB, GIB);
    add(128 * MIB, 128 * MIB, 8 * GIB);
    let zones = *pages.buddyinfo().zone(Zone::Normal);
    let reserved = |pages: &BuddyAllocator, zone| pages.buddyinfo().zone(zone).reserved_pages;
    assert_eq!(reserved(&pages, Zone::Dma32), zones.managed_pages / 256);
    let mut count = 0;
    while pages.alloc_pages(1, 0).is_ok() {
        count += 1;
    }
    let left = reserved(&pages, Zone::Dma32) + reserved(&pages, Zone::Dma);
    assert_eq!(pages.free_pages(), left);
    assert_eq!(count, pages.total_pages() - left);
    let lowmem = pages.alloc_pages_lowmem(1, 0).unwrap();
    assert!((memory.addr() + 64 * MIB..memory.addr() + 80 * MIB).contains(&lowmem));
    let isa = PageRequest::new(1).max_phys(Zone::Dma.last());
    assert!(pages.allocate(&isa).unwrap() < memory.addr() + 8 * MIB);
    pages.validate().unwrap();
}

#[test]
fn other_page_sizes_work() {
    fn run<const PAGE_SIZE: usize>() {
        let memory = Memory::new(64 * MIB);
        let mut pages = BuddyAllocator::<PAGE_SIZE>::new();
        // SAFETY: the memory outlives the allocator.
        unsafe { pages.add_region_at(memory.whole(), 4 * GIB - 32 * MIB as u64) }.unwrap();
        let total = pages.total_pages();
        let slab = pages
            .alloc_pages((16 * KIB).div_ceil(PAGE_SIZE), 0)
            .unwrap();
        let descriptor = core::ptr::NonNull::<()>::dangling();
        // SAFETY: the block was just allocated.
        unsafe { pages.set_slab(slab, descriptor.as_ptr()) }.unwrap();
        assert_eq!(pages.slab_of(slab + 16 * KIB - 1), Some(descriptor));
        assert_eq!(pages.slab_of(slab + (16 * KIB).max(PAGE_SIZE)), None);
        let live: Vec<usize> = core::iter::from_fn(|| pages.alloc_pages(1, 0).ok()).collect();
        assert!(live.iter().all(|addr| addr.is_multiple_of(PAGE_SIZE)));
        pages.validate().unwrap();
        for addr in live {
            pages.dealloc_pages(addr, 1).unwrap();
        }
        // SAFETY: as above.
        unsafe { pages.set_slab(slab, core::ptr::null_mut()) }.unwrap();
        pages
            .dealloc_pages(slab, (16 * KIB).div_ceil(PAGE_SIZE))
            .unwrap();
        assert_eq!(pages.free_pages(), total);
        pages.validate().unwrap();
    }
    run::<0x400>();
    run::<0x1000>();
    run::<0x4000>();
    run::<0x1_0000>();
}

#[test]
fn free_blocks_are_counted_whole_across_the_frontier() {
    let memory = Memory::new(128 * MIB);
    for chunks in 1..=7 {
        let mut pages = allocator(&memory, GIB / 2);
        let taken: Vec<_> = (0..chunks)
            .map(|_| pages.alloc_pages(16 * MIB / PAGE, PAGE).unwrap())
            .collect();
        for addr in taken {
            pages.dealloc_pages(addr, 16 * MIB / PAGE).unwrap();
        }
        assert_recovered(&pages);
    }
}
