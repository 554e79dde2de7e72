//! One test per known defect of the systems this one replaces: what must not happen again.

use std::collections::BTreeSet;
use std::vec::Vec;

use super::{GIB, KIB, MIB, Memory, PAGE, allocator, assert_recovered};
use crate::pages::tree::steps;
use crate::{AllocError, BuddyAllocator, PageRequest, Zone};

/// A double free of a page that had merged put it into the free lists twice.
#[test]
fn d04_double_free_of_a_merged_page_is_refused() {
    let memory = Memory::new(16 * MIB);
    let mut pages = allocator(&memory, GIB);
    let total = pages.total_pages();
    let pair = pages.alloc_pages(2, 0).unwrap();
    pages.dealloc_pages(pair, 2).unwrap();
    let first = pages.alloc_pages(1, 0).unwrap();
    let second = pages.alloc_pages(1, 0).unwrap();
    pages.dealloc_pages(first, 1).unwrap();
    pages.dealloc_pages(second, 1).unwrap();
    for addr in [first, second] {
        assert_eq!(pages.dealloc_pages(addr, 1), Err(AllocError::NotAllocated));
    }
    let all: BTreeSet<usize> = core::iter::from_fn(|| pages.alloc_pages(1, 0).ok()).collect();
    assert_eq!(all.len(), total);
    for addr in all {
        pages.dealloc_pages(addr, 1).unwrap();
    }
    assert_recovered(&pages);
}

/// Alignment was counted from the heap's start: aligned blocks failed with nearly all memory free.
#[test]
fn d08_alignment_is_absolute() {
    let memory = Memory::new(256 * MIB);
    let mut pages = allocator(&memory, GIB);
    for align in (12..=27).map(|log2| 1 << log2) {
        let addr = pages.alloc_pages(1, align).unwrap();
        assert!(addr.is_multiple_of(align), "{addr:#x} for {align:#x}");
        pages.dealloc_pages(addr, 1).unwrap();
        // The natural alignment of a block is its size, which slabs rely on.
        let addr = pages.alloc_pages(align / PAGE, 0).unwrap();
        assert!(addr.is_multiple_of(align));
        pages.dealloc_pages(addr, align / PAGE).unwrap();
    }
    assert_recovered(&pages);
}

/// Aligned and low-memory allocations walked every free block: 0.95 ms at 130,560 fragments.
#[test]
fn d09_fragments_are_not_walked() {
    let memory = Memory::new(1024 * MIB);
    let mut pages = BuddyAllocator::<PAGE>::new();
    // SAFETY: the memory outlives the allocator.
    let mut add = |offset, len, phys| unsafe {
        pages.add_region_at(memory.part(offset, len), phys).unwrap();
    };
    add(0, 64 * MIB, GIB);
    add(512 * MIB, 512 * MIB, 8 * GIB);
    let mut all: Vec<usize> = core::iter::from_fn(|| pages.alloc_pages(1, 0).ok()).collect();
    // The rest is the reserve of the low zone.
    while pages.alloc_pages_lowmem(1, 0).is_ok() {}
    // One block of every kind that is asked for below, then fragments: every second page.
    let (low, high) = (memory.addr() + 32 * MIB, memory.addr() + 768 * MIB);
    for block in [low, high] {
        for page in (block..block + 64 * PAGE).step_by(PAGE) {
            pages.dealloc_pages(page, 1).unwrap();
        }
    }
    all.retain(|addr| {
        ![low, high]
            .iter()
            .any(|block| (*block..block + 64 * PAGE).contains(addr))
    });

    let mut worst = 0;
    let mut freed = 0;
    for enough in [1, 100, 10_000, 65_000] {
        while freed < enough {
            pages.dealloc_pages(all[2 * freed], 1).unwrap();
            freed += 1;
        }
        steps::take();
        let requests = [
            PageRequest::new(1).lowmem(),
            PageRequest::new(4).lowmem(),
            PageRequest::new(1).align(64 * PAGE),
            PageRequest::new(8).max_phys(GIB + 48 * MIB as u64 - 1),
            PageRequest::new(8).max_phys(9 * GIB),
        ];
        for request in requests {
            let addr = pages.allocate(&request).unwrap();
            worst = worst.max(steps::take());
            pages.dealloc_pages(addr, request.count).unwrap();
            worst = worst.max(steps::take());
        }
        assert_eq!(
            pages.allocate(&PageRequest::new(1).align(128 * PAGE)),
            Err(AllocError::NoMemory)
        );
        assert_eq!(steps::take(), 0);
    }
    // Per order at most one bit and its summaries, on the way down and up.
    assert!(worst < 100, "{worst} words");
    pages.validate().unwrap();
}

/// Ordinary allocations ate the low memory first.
#[test]
fn d10_low_memory_is_used_last() {
    let memory = Memory::new(512 * MIB);
    let mut pages = BuddyAllocator::<PAGE>::new();
    // SAFETY: the memory outlives the allocator.
    let mut add = |offset, len, phys| unsafe {
        pages.add_region_at(memory.part(offset, len), phys).unwrap();
    };
    add(0, 64 * MIB, GIB);
    add(128 * MIB, 256 * MIB, 8 * GIB);
    let low = pages.buddyinfo().zone(Zone::Dma32).managed_pages;
    let high = pages.buddyinfo().zone(Zone::Normal).managed_pages;
    for _ in 0..high {
        assert!(pages.alloc_pages(1, 0).unwrap() >= memory.addr() + 128 * MIB);
    }
    assert_eq!(pages.buddyinfo().zone(Zone::Dma32).free_pages, low);
    // Then the low memory too, but never the last of it.
    while pages.alloc_pages(1, 0).is_ok() {}
    assert!(pages.alloc_pages_lowmem(1, 0).is_ok());
}

/// Small regions vanished with `Ok`, and up to 2 MiB of every other one.
#[test]
fn d11_no_region_is_dropped_or_trimmed_to_a_granule() {
    for (len, least) in [
        (8 * KIB, 1),
        (64 * KIB, 15),
        (2 * MIB - PAGE, 509),
        (3 * MIB, 764),
    ] {
        let memory = Memory::new(len + PAGE);
        let mut pages = BuddyAllocator::<PAGE>::new();
        // SAFETY: the memory outlives the allocator.
        unsafe { pages.add_region_at(memory.part(PAGE, len), GIB + PAGE as u64) }.unwrap();
        assert!(
            pages.total_pages() >= least,
            "{} of {}",
            pages.total_pages(),
            len / PAGE
        );
        assert_recovered(&pages);
    }
    let memory = Memory::new(PAGE);
    let mut pages = BuddyAllocator::<PAGE>::new();
    // SAFETY: refused.
    let refused = unsafe { pages.add_region_at(memory.whole(), GIB) };
    assert_eq!(refused, Err(AllocError::InvalidParam));
}

/// Safe functions crashed when they were given addresses that are none of theirs.
#[test]
fn d12_safe_calls_take_any_number() {
    let memory = Memory::new(32 * MIB);
    let mut pages = allocator(&memory, GIB);
    let live = pages.alloc_pages(4, 0).unwrap();
    let start = memory.addr();
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    for i in 0..20_000 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let wild = usize::try_from(seed >> 8).unwrap_or(0);
        let addr = if i % 2 == 0 {
            wild
        } else {
            start + wild % (33 * MIB)
        };
        if (live..live + 4 * PAGE).contains(&addr) {
            continue;
        }
        assert!(pages.dealloc_pages(addr, wild % 9).is_err());
        assert_eq!(pages.slab_of(addr), None);
        let _ = pages.page_flags(addr);
        assert!(pages.remove_section(addr).is_err());
    }
    pages.dealloc_pages(live, 4).unwrap();
    assert_recovered(&pages);
}

/// 5 pages cost 8; metadata was set up page by page in `add_region`; regions stayed for ever.
#[test]
fn d14_exact_counts_lazy_metadata_and_removal() {
    let memory = Memory::new(64 << 30);
    let mut pages = allocator(&memory, 64 * GIB);
    let addr = pages.alloc_pages_exact(5, 0).unwrap();
    assert_eq!(pages.allocated_bytes(), 5 * PAGE);
    pages.dealloc_pages(addr, 5).unwrap();
    // 64 GiB have 55 MiB of metadata; one allocation touches that of one chunk.
    let section = pages.section(0).unwrap();
    let resident = resident_bytes(memory.addr(), section.metadata);
    assert!(
        resident < 256 * KIB,
        "{resident} of {} are touched",
        section.metadata
    );
    pages.remove_section(section.start).unwrap();
    assert_eq!(pages.section_count(), 0);
}

/// How many bytes of `start..start + len` have memory behind them.
fn resident_bytes(start: usize, len: usize) -> usize {
    let mut pages = std::vec![0u8; len.div_ceil(PAGE)];
    let addr = core::ptr::with_exposed_provenance_mut(start);
    // SAFETY: the range is mapped and the vector has a byte for each of its pages.
    let status = unsafe { libc::mincore(addr, len, pages.as_mut_ptr()) };
    assert_eq!(status, 0);
    pages.iter().filter(|page| **page & 1 != 0).count() * PAGE
}
