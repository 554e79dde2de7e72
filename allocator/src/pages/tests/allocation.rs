//! Splitting, merging, alignment, limits, exact counts.

use std::vec::Vec;

use super::{GIB, KIB, MIB, Memory, PAGE, allocator, assert_recovered};
use crate::{AllocError, BuddyAllocator, PageFlags, PageRequest, Zone};

#[test]
fn a_page_is_split_off_and_merges_back() {
    let memory = Memory::new(16 * MIB);
    let mut pages = allocator(&memory, GIB);
    let addr = pages.alloc_pages(1, 0).unwrap();
    assert_eq!(pages.allocated_bytes(), PAGE);
    pages.validate().unwrap();
    pages.dealloc_pages(addr, 1).unwrap();
    assert_recovered(&pages);
}

#[test]
fn blocks_are_aligned_to_their_size_in_both_address_spaces() {
    let memory = Memory::new(256 * MIB);
    let mut pages = allocator(&memory, GIB + 4 * MIB as u64);
    let mut live = Vec::new();
    for order in 0..=9 {
        let addr = pages.alloc_pages(1 << order, 0).unwrap();
        let phys = addr - memory.addr() + MIB * 1024 + 4 * MIB;
        assert_eq!((addr | phys) % (PAGE << order), 0);
        live.push((addr, 1 << order));
    }
    pages.validate().unwrap();
    for (addr, count) in live {
        pages.dealloc_pages(addr, count).unwrap();
    }
    assert_recovered(&pages);
}

#[test]
fn the_distance_between_address_spaces_limits_the_order() {
    let memory = Memory::new(32 * MIB);
    let mut pages = allocator(&memory, GIB + 3 * 64 * KIB as u64);
    assert_eq!(pages.section(0).unwrap().max_order, 4);
    assert_eq!(pages.alloc_pages(32, 0), Err(AllocError::NoMemory));
    assert_eq!(pages.alloc_pages(1, 128 * KIB), Err(AllocError::NoMemory));
    assert!(pages.alloc_pages(16, 0).unwrap().is_multiple_of(64 * KIB));
    pages.validate().unwrap();
}

#[test]
fn the_lowest_block_of_the_smallest_order_is_taken() {
    let memory = Memory::new(MIB);
    let mut pages = allocator(&memory, GIB);
    let first = pages.alloc_pages(1, 0).unwrap();
    let second = pages.alloc_pages(1, 0).unwrap();
    assert_eq!(second, first + PAGE);
    let third = pages.alloc_pages(2, 0).unwrap();
    pages.dealloc_pages(first, 1).unwrap();
    assert_eq!(pages.alloc_pages(1, 0), Ok(first));
    assert!(third > second);
}

#[test]
fn everything_can_be_taken_and_given_back_in_any_order() {
    let memory = Memory::new(8 * MIB);
    let mut pages = allocator(&memory, GIB);
    for stride in [1, 3, 7, 64] {
        let mut live: Vec<usize> = core::iter::from_fn(|| pages.alloc_pages(1, 0).ok()).collect();
        assert_eq!(live.len(), pages.total_pages());
        assert_eq!(pages.free_pages(), 0);
        pages.validate().unwrap();
        for offset in 0..stride {
            for addr in live.iter().skip(offset).step_by(stride) {
                pages.dealloc_pages(*addr, 1).unwrap();
            }
        }
        live.clear();
        assert_recovered(&pages);
    }
}

#[test]
fn an_exact_count_costs_exactly_that_and_frees_checked() {
    let memory = Memory::new(4 * MIB);
    let mut pages = allocator(&memory, GIB);
    for count in [1, 2, 3, 5, 6, 7, 100, 129, 255] {
        let addr = pages.alloc_pages_exact(count, 0).unwrap();
        assert_eq!(pages.allocated_bytes(), count * PAGE);
        pages.validate().unwrap();
        if !count.is_power_of_two() {
            for wrong in [1, count - 1, count + 1, count.next_power_of_two()] {
                assert_eq!(
                    pages.dealloc_pages(addr, wrong),
                    Err(AllocError::InvalidParam)
                );
            }
            assert_eq!(
                pages.dealloc_pages(addr + (PAGE << count.ilog2()), 1),
                Err(AllocError::NotAllocated)
            );
        }
        let after = pages.alloc_pages(1, 0).unwrap();
        pages.dealloc_pages(addr, count).unwrap();
        assert_eq!(
            pages.dealloc_pages(addr, count),
            Err(AllocError::NotAllocated)
        );
        pages.dealloc_pages(after, 1).unwrap();
        assert_recovered(&pages);
    }
}

#[test]
fn neighbouring_exact_runs_do_not_run_together() {
    let memory = Memory::new(MIB);
    let mut pages = allocator(&memory, GIB);
    let at = pages.alloc_pages(16, 0).unwrap();
    pages.dealloc_pages(at, 16).unwrap();
    pages.alloc_pages_at(at, 3, 0).unwrap();
    pages.alloc_pages_at(at + 3 * PAGE, 5, 0).unwrap();
    pages.validate().unwrap();
    assert_eq!(pages.dealloc_pages(at, 8), Err(AllocError::InvalidParam));
    pages.dealloc_pages(at, 3).unwrap();
    pages.dealloc_pages(at + 3 * PAGE, 5).unwrap();
    assert_recovered(&pages);
}

#[test]
fn given_addresses_are_taken_exactly_or_not_at_all() {
    let memory = Memory::new(64 * MIB);
    let mut pages = allocator(&memory, GIB);
    let base = memory.addr() + 40 * MIB + PAGE;
    assert_eq!(pages.alloc_pages_at(base, 4097, 0), Ok(base));
    assert_eq!(pages.allocated_bytes(), 4097 * PAGE);
    pages.validate().unwrap();
    for (addr, count) in [(base - PAGE, 2), (base + 4096 * PAGE, 2), (base + PAGE, 1)] {
        assert_eq!(
            pages.alloc_pages_at(addr, count, 0),
            Err(AllocError::NoMemory)
        );
    }
    let last = memory.addr() + 64 * MIB - PAGE;
    assert_eq!(pages.alloc_pages_at(last, 2, 0), Err(AllocError::NoMemory));
    assert_eq!(
        pages.alloc_pages_at(base, 1, 2 * PAGE),
        Err(AllocError::InvalidParam)
    );
    assert_eq!(
        pages.alloc_pages_at(base + 1, 1, 0),
        Err(AllocError::InvalidParam)
    );
    assert_eq!(pages.alloc_pages_at(PAGE, 1, 0), Err(AllocError::NotFound));
    pages.validate().unwrap();
    pages.dealloc_pages(base, 4097).unwrap();
    assert_recovered(&pages);
}

#[test]
fn zeroed_pages_are_zeroed() {
    let memory = Memory::new(MIB);
    let mut pages = allocator(&memory, GIB);
    let addr = pages.alloc_pages(8, 0).unwrap();
    // SAFETY: the pages were just allocated.
    let bytes = || unsafe { core::slice::from_raw_parts_mut(addr as *mut u8, 8 * PAGE) };
    bytes().fill(0xa5);
    pages.dealloc_pages(addr, 8).unwrap();
    assert_eq!(pages.allocate(&PageRequest::new(8).zeroed()), Ok(addr));
    assert!(bytes().iter().all(|byte| *byte == 0));
}

#[test]
fn any_physical_limit_is_kept() {
    let memory = Memory::new(32 * MIB);
    let mut pages = allocator(&memory, GIB);
    let phys = |addr: usize| (addr - memory.addr()) as u64 + GIB;
    let limit = GIB + 3 * MIB as u64;
    let request = PageRequest::new(4).max_phys(limit - 1);
    let mut live = Vec::new();
    while let Ok(addr) = pages.allocate(&request) {
        assert!(phys(addr) + 4 * PAGE as u64 <= limit);
        live.push(addr);
    }
    let first = phys(pages.section(0).unwrap().start).next_multiple_of(4 * PAGE as u64);
    assert_eq!(live.len() as u64, (limit - first) / (4 * PAGE as u64));
    assert!(
        pages
            .alloc_pages(4, 0)
            .is_ok_and(|addr| phys(addr) >= limit)
    );
    for max in [0, PAGE as u64, GIB - 1, GIB] {
        let request = PageRequest::new(1).max_phys(max);
        assert_eq!(pages.allocate(&request), Err(AllocError::NoMemory));
    }
    pages.validate().unwrap();
}

#[test]
fn blocks_larger_than_a_chunk_form_across_the_frontier() {
    let memory = Memory::new(256 * MIB);
    // Aligned, but the metadata takes the first pages: no block of 128 MiB begins at 1 GiB.
    let mut pages = allocator(&memory, GIB);
    let page = pages.alloc_pages(1, 0).unwrap();
    let block = pages.alloc_pages(1 << 15, 0).unwrap();
    assert_eq!(block, memory.addr() + 128 * MIB);
    pages.dealloc_pages(page, 1).unwrap();
    pages.dealloc_pages(block, 1 << 15).unwrap();
    assert_recovered(&pages);

    // The frontier stands inside the only block of this size, all below it is free.
    let memory = Memory::new(256 * MIB);
    let mut pages = BuddyAllocator::<PAGE>::new();
    let region = memory.part(32 * MIB - 32 * PAGE, 64 * MIB + 32 * PAGE);
    // SAFETY: the memory outlives the allocator.
    unsafe { pages.add_region_at(region, GIB + 32 * MIB as u64 - 32 * PAGE as u64) }.unwrap();
    let page = pages.alloc_pages(4096, 0).unwrap();
    assert_eq!(page, memory.addr() + 32 * MIB);
    pages.dealloc_pages(page, 4096).unwrap();
    let block = pages.alloc_pages(8192, 0).unwrap();
    assert_eq!(block, memory.addr() + 32 * MIB);
    pages.dealloc_pages(block, 8192).unwrap();
    assert_recovered(&pages);
}

#[test]
fn slabs_are_found_from_any_address_inside_and_from_nowhere_else() {
    let memory = Memory::new(4 * MIB);
    let mut pages = allocator(&memory, GIB);
    let mut descriptor = 0u64;
    let descriptor = (&raw mut descriptor).cast::<()>();
    let slab = pages.alloc_pages(8, 0).unwrap();
    // SAFETY: the blocks here were just allocated.
    unsafe { pages.set_slab(slab, descriptor) }.unwrap();
    for offset in [0, 1, PAGE, 4 * PAGE, 8 * PAGE - 1] {
        assert_eq!(
            pages.slab_of(slab + offset).map(|found| found.as_ptr()),
            Some(descriptor)
        );
    }
    assert_eq!(pages.page_flags(slab + 3 * PAGE), Ok(PageFlags::Slab));
    for outside in [
        slab + 8 * PAGE,
        slab.wrapping_sub(1),
        0,
        memory.addr() + 4 * MIB,
    ] {
        assert_eq!(pages.slab_of(outside), None);
    }
    assert_eq!(pages.dealloc_pages(slab, 8), Err(AllocError::NotAllocated));
    // SAFETY: as above.
    unsafe { pages.set_slab(slab, core::ptr::null_mut()) }.unwrap();
    assert_eq!(pages.slab_of(slab), None);
    pages.dealloc_pages(slab, 8).unwrap();

    let small = pages.alloc_pages(1, 0).unwrap();
    // SAFETY: as above.
    let refused = unsafe { pages.set_slab(small, descriptor) };
    assert_eq!(refused, Err(AllocError::InvalidParam));
    pages.dealloc_pages(small, 1).unwrap();
    assert_recovered(&pages);
}

#[test]
fn flags_follow_the_block() {
    let memory = Memory::new(MIB);
    let mut pages = allocator(&memory, GIB);
    let addr = pages.alloc_pages_exact(7, 0).unwrap();
    for page in 0..7 {
        assert_eq!(
            pages.page_flags(addr + page * PAGE),
            Ok(PageFlags::Allocated)
        );
    }
    assert_eq!(pages.page_flags(addr + 7 * PAGE), Ok(PageFlags::Free));
    assert_eq!(pages.page_flags(addr + 1), Err(AllocError::InvalidParam));
    assert_eq!(pages.page_flags(PAGE), Err(AllocError::NotFound));
    let block = pages.alloc_pages(2, 0).unwrap();
    // SAFETY: the block was just allocated.
    unsafe { pages.set_page_flags(block, PageFlags::Slab) }.unwrap();
    assert_eq!(pages.page_flags(block + PAGE), Ok(PageFlags::Slab));
    // SAFETY: as above.
    unsafe { pages.set_page_flags(block, PageFlags::Allocated) }.unwrap();
    // SAFETY: as above.
    let refused = unsafe { pages.set_page_flags(block, PageFlags::Free) };
    assert_eq!(refused, Err(AllocError::InvalidParam));
    pages.dealloc_pages(block, 2).unwrap();
    pages.validate().unwrap();
}

#[test]
fn buddyinfo_reads_like_the_kernels() {
    let memory = Memory::new(64 * MIB);
    let mut pages = allocator(&memory, 4 * GIB - 32 * MIB as u64);
    pages.alloc_pages(1, 0).unwrap();
    let info = pages.buddyinfo();
    let text = std::format!("{info}");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(lines[0].starts_with("Node 0, zone    DMA32 "), "{text}");
    assert!(lines[1].starts_with("Node 0, zone   Normal "), "{text}");
    assert_eq!(lines[1].split_whitespace().count(), 4 + 21);
    for zone in info.zones() {
        let sum: usize = zone
            .free_blocks
            .iter()
            .enumerate()
            .map(|(k, n)| n << k)
            .sum();
        assert_eq!(sum, zone.free_pages);
    }
    assert_eq!(info.zone(Zone::Dma).managed_pages, 0);
}

#[test]
fn the_fragmentation_index_tells_lack_from_scatter() {
    let memory = Memory::new(8 * MIB);
    let mut pages = allocator(&memory, 5 * GIB);
    let zone = |pages: &BuddyAllocator| *pages.buddyinfo().zone(Zone::Normal);
    assert_eq!(zone(&pages).fragmentation_index(4), -1000);
    assert_eq!(zone(&pages).unusable_index(0), 0);
    let live: Vec<usize> = core::iter::from_fn(|| pages.alloc_pages(1, 0).ok()).collect();
    assert_eq!(zone(&pages).fragmentation_index(0), 0);
    for addr in live.iter().step_by(2) {
        pages.dealloc_pages(*addr, 1).unwrap();
    }
    assert!(zone(&pages).fragmentation_index(3) > 800);
    assert_eq!(zone(&pages).fragmentation_index(0), -1000);
    assert_eq!(zone(&pages).unusable_index(1), 1000);
}

#[test]
fn the_lowest_block_is_known_however_many_of_its_order_there_are() {
    // Enough for three levels of the tree.
    let memory = Memory::new(32 * MIB);
    for order in [0, 3, 6, 7] {
        let mut pages = allocator(&memory, GIB);
        let count = 1 << order;
        let all: Vec<usize> = core::iter::from_fn(|| pages.alloc_pages(count, 0).ok()).collect();
        // Every second one: none has its buddy free. From the middle, downwards and upwards by turns.
        let mut alternate: Vec<usize> = all.iter().copied().skip(1).step_by(2).collect();
        alternate.sort_unstable();
        let middle = alternate.len() / 2;
        for few in [1, 2, 3, 5, middle.min(70)] {
            let mut free: Vec<usize> = alternate[middle - few..middle + few].into();
            for i in 0..few {
                for addr in [free[few - 1 - i], free[few + i]] {
                    pages.dealloc_pages(addr, count).unwrap();
                    pages.validate().unwrap();
                }
            }
            // They come back lowest first, also with one freed in between.
            let again = free.remove(0);
            assert_eq!(pages.alloc_pages(count, 0), Ok(again));
            pages.dealloc_pages(again, count).unwrap();
            free.insert(0, again);
            for addr in free {
                assert_eq!(pages.alloc_pages(count, 0), Ok(addr));
                pages.validate().unwrap();
            }
        }
        for addr in all {
            pages.dealloc_pages(addr, count).unwrap();
        }
        assert_recovered(&pages);
    }
}
