//! Low memory in the caches of CPUs.

use core::sync::atomic::Ordering;
use std::vec::Vec;

use super::shared::{Shared, assert_recovered, free, shared};
use super::{GIB, MIB, Memory, PAGE};
use crate::Zone;
use crate::pages::stack::Group;

#[test]
fn low_memory_is_cached_apart_and_as_fast() {
    let memory = Memory::new(512 * MIB);
    let frames = Shared::new();
    let low = memory.addr()..memory.addr() + 64 * MIB;
    for (offset, len, phys) in [(0, 64 * MIB, GIB), (128 * MIB, 256 * MIB, 8 * GIB)] {
        // SAFETY: the memory outlives the allocator.
        unsafe { frames.add_region_at(memory.part(offset, len), phys) }.unwrap();
    }
    let group_of = |addr| {
        let group = frames.with_own(|_, held| held.recents.group_of::<PAGE>(addr));
        group.expect("the CPU has caches")
    };
    for _ in 0..100 {
        let block = frames.alloc_pages_lowmem(1, 0).unwrap();
        assert!(low.contains(&block));
        let other = frames.alloc_pages(1, 0).unwrap();
        assert!(!low.contains(&other));
        free(&frames, block, 1);
        free(&frames, other, 1);
        // To know the one is not to forget the other.
        assert_eq!(group_of(block), Some(Group::Low));
        assert_eq!(group_of(other), Some(Group::Any));
    }
    assert_eq!(frames.cpu_info(0).unwrap().refills, 2);
    // Used up to the last page.
    let lowmem: Vec<usize> = core::iter::from_fn(|| frames.alloc_pages_lowmem(1, 0).ok()).collect();
    assert!(lowmem.iter().all(|addr| low.contains(addr)));
    assert_eq!(frames.buddyinfo().zone(Zone::Dma32).free_pages, 0);
    for addr in lowmem {
        free(&frames, addr, 1);
    }
    assert_recovered(&frames);
}

#[test]
fn a_section_that_was_low_is_cached_like_any_other_where_there_is_nothing_else() {
    let memory = Memory::new(64 * MIB);
    let frames = shared(&memory, GIB);
    // As if the other memory had gone after this CPU had been made to forget, and learnt again.
    frames.shared.has_normal.store(true, Ordering::Relaxed);
    let block = frames.alloc_pages_lowmem(1, 0).unwrap();
    free(&frames, block, 1);
    frames.shared.has_normal.store(false, Ordering::Relaxed);
    for _ in 0..100 {
        let block = frames.alloc_pages_lowmem(1, 0).unwrap();
        free(&frames, block, 1);
    }
    let info = frames.cpu_info(0).unwrap();
    assert!(info.refills <= 2, "{}", info.refills);
    assert_recovered(&frames);
}
