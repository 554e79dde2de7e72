//! The shared allocator, one step at a time.

use std::vec::Vec;

use super::{Cpu, GIB, Host, KIB, MIB, Memory, PAGE};
use crate::{AllocError, FrameAllocator, PageFlags, PageRequest, PageUse, Platform};

pub(super) type Shared = FrameAllocator<Host>;

pub(super) fn shared(memory: &Memory, phys: u64) -> Shared {
    let frames = Shared::new();
    // SAFETY: the caller keeps the memory alive as long as the allocator.
    let report = unsafe { frames.add_region_at(memory.whole(), phys) };
    report.expect("the region is good");
    frames
}

pub(super) fn free(frames: &Shared, addr: usize, count: usize) {
    // SAFETY: the tests own what they free.
    unsafe { frames.dealloc_pages(addr, count) }.unwrap();
}

fn refused(frames: &Shared, addr: usize, count: usize) -> Option<AllocError> {
    // SAFETY: a free that is refused changes nothing.
    unsafe { frames.dealloc_pages(addr, count) }.err()
}

/// Runs something as another CPU.
pub(super) fn on<R>(cpu: usize, run: impl FnOnce() -> R) -> R {
    let before = Host::cpu_id();
    Cpu::set(cpu);
    let result = run();
    Cpu::set(before);
    result
}

pub(super) fn assert_recovered(frames: &Shared) {
    frames.drain_all();
    frames.validate().unwrap();
    assert_eq!(frames.cached_pages(), 0);
    assert_eq!(frames.allocated_bytes(), 0);
    assert_eq!(frames.free_pages(), frames.total_pages());
    assert_eq!(frames.corrupted_blocks(), 0);
}

pub(super) fn take_all(frames: &Shared) -> Vec<usize> {
    core::iter::from_fn(|| frames.alloc_pages(1, 0).ok()).collect()
}

/// The state of a CPU took what its first call was to get.
#[test]
fn a_cpu_that_calls_for_the_first_time_gets_the_last_pages() {
    for last in [1, 2, 4] {
        let memory = Memory::new(2 * MIB);
        let frames = shared(&memory, GIB);
        let mut all = take_all(&frames);
        let managed = frames.total_pages();
        all.sort_unstable();
        let block = all.iter().position(|addr| addr % (last * PAGE) == 0);
        let block: Vec<_> = all.drain(block.unwrap()..).take(last).collect();
        block.iter().for_each(|addr| free(&frames, *addr, 1));
        frames.drain_all();
        let taken = on(1, || frames.alloc_pages(last, 0));
        assert_eq!(taken, Ok(block[0]), "{last}");
        assert_eq!(frames.total_pages(), managed);
    }
}

#[test]
fn the_allocators_own_state_takes_whole_pages_and_no_more() {
    let memory = Memory::new(16 * MIB);
    let frames = shared(&memory, GIB);
    // The state of this CPU.
    let page = frames.alloc_pages(1, 0).unwrap();
    free(&frames, page, 1);
    let managed = frames.total_pages();
    let state = frames.allocate_internal(18 * PAGE + 1).unwrap();
    assert_eq!(frames.total_pages(), managed - 19);
    let start = state.addr().get();
    for page in 0..19 {
        let addr = start + page * PAGE;
        let about = frames.about(addr).unwrap();
        assert_eq!(about.used_for, PageUse::Internal);
        assert_eq!(refused(&frames, addr, 1), Some(AllocError::NotAllocated));
    }
    // What follows it can be had.
    assert_eq!(
        frames.alloc_pages_at(start + 19 * PAGE, 1, 0),
        Ok(start + 19 * PAGE)
    );
    free(&frames, start + 19 * PAGE, 1);
    assert_recovered(&frames);
}

#[test]
fn pages_come_from_the_cache_and_go_back_there() {
    let memory = Memory::new(16 * MIB);
    let frames = shared(&memory, GIB);
    let first = frames.alloc_pages(1, 0).unwrap();
    assert!(frames.cached_pages() > 0);
    assert_eq!(frames.allocated_bytes(), PAGE);
    assert_eq!(frames.page_flags(first), Ok(PageFlags::Allocated));
    free(&frames, first, 1);
    assert_eq!(frames.page_flags(first), Ok(PageFlags::Free));
    assert_eq!(frames.alloc_pages(1, 0), Ok(first));
    free(&frames, first, 1);
    assert_eq!(frames.cpu_info(0).unwrap().refills, 1);
    assert_recovered(&frames);
}

#[test]
fn a_block_in_a_cache_is_not_freed_again() {
    let memory = Memory::new(16 * MIB);
    let frames = shared(&memory, GIB);
    for count in [1, 2, 4, 8, 512, 16] {
        let addr = frames.alloc_pages(count, 0).unwrap();
        assert_eq!(
            refused(&frames, addr, count * 2),
            Some(AllocError::InvalidParam)
        );
        assert_eq!(
            refused(&frames, addr + 1, count),
            Some(AllocError::InvalidParam)
        );
        assert_eq!(refused(&frames, addr, 0), Some(AllocError::InvalidParam));
        free(&frames, addr, count);
        assert_eq!(
            refused(&frames, addr, count),
            Some(AllocError::NotAllocated)
        );
        on(1, || {
            assert_eq!(
                refused(&frames, addr, count),
                Some(AllocError::NotAllocated)
            );
        });
    }
    assert_eq!(refused(&frames, PAGE, 1), Some(AllocError::NotFound));
    assert_recovered(&frames);
}

#[test]
fn nothing_fails_while_pages_lie_in_a_cache() {
    let memory = Memory::new(16 * MIB);
    let frames = shared(&memory, GIB);
    // Every CPU frees into its own cache and keeps the pages there.
    let all = take_all(&frames);
    for (i, addr) in all.iter().enumerate() {
        on(i % 100, || free(&frames, *addr, 1));
    }
    assert!(frames.cached_pages() >= 200);
    let again = take_all(&frames);
    // The difference is what the new CPUs' state takes.
    assert_eq!(again.len(), frames.total_pages());
    assert_eq!(frames.free_pages(), 0);
    for addr in again {
        free(&frames, addr, 1);
    }
    // A large block needs what lies in the caches too.
    for cpu in 0..100 {
        on(cpu, || {
            let addr = frames.alloc_pages(1, 0).unwrap();
            free(&frames, addr, 1);
        });
    }
    assert!(frames.alloc_pages(1024, 0).is_ok());
}

#[test]
fn pages_freed_by_any_cpu_are_found_by_any_cpu() {
    let memory = Memory::new(64 * MIB);
    let frames = shared(&memory, GIB);
    for round in 0..4 {
        let all = on(round, || take_all(&frames));
        assert_eq!(all.len(), frames.total_pages());
        on(round + 1, || {
            all.iter().for_each(|addr| free(&frames, *addr, 1));
        });
    }
    assert_recovered(&frames);
}

#[test]
fn cpus_that_never_call_cost_nothing() {
    let memory = Memory::new(16 * MIB);
    let frames = shared(&memory, GIB);
    assert!(size_of::<Shared>() < 8 * KIB);
    let total = frames.total_pages();
    // The first CPU of a machine that does not fit into the static table needs room for all of them.
    on(7, || frames.alloc_pages(1, 0)).unwrap();
    assert_eq!(frames.total_pages(), total - 3);
    on(255, || frames.alloc_pages(1, 0)).unwrap();
    assert_eq!(frames.total_pages(), total - 5);
    assert!(frames.cpu_info(6).is_none() && frames.cpu_info(255).is_some());
    assert!(frames.cpu_info(256).is_none() && frames.cpu_info(usize::MAX).is_none());
}

#[test]
fn bulk_calls_do_what_single_ones_do() {
    let memory = Memory::new(32 * MIB);
    let frames = shared(&memory, GIB);
    for count in [1, 4, 16] {
        let mut blocks = [0; 500];
        assert_eq!(frames.alloc_bulk(count, &mut blocks), Ok(500));
        let mut sorted = blocks;
        sorted.sort_unstable();
        assert!(sorted.is_sorted_by(|a, b| a + count * PAGE <= *b));
        assert_eq!(frames.allocated_bytes(), 500 * count * PAGE);
        // SAFETY: the blocks are ours, here and below.
        unsafe { frames.free_bulk(&blocks, count) }.unwrap();
        // SAFETY: refused.
        let again = unsafe { frames.free_bulk(&blocks, count) };
        assert_eq!(again, Err((0, AllocError::NotAllocated)));
        assert_recovered(&frames);
    }
    let mut more = std::vec![0; 10_000];
    let taken = frames.alloc_bulk(1, &mut more).unwrap();
    assert_eq!(taken, frames.total_pages());
    assert_eq!(frames.alloc_bulk(1, &mut [0]), Err(AllocError::NoMemory));
    assert_eq!(
        frames.alloc_bulk(0, &mut [0]),
        Err(AllocError::InvalidParam)
    );
    // SAFETY: as above.
    unsafe { frames.free_bulk(&more[..taken], 1) }.unwrap();
    assert_recovered(&frames);
}

#[test]
fn owned_frames_free_themselves() {
    let memory = Memory::new(16 * MIB);
    let frames = shared(&memory, memory.addr() as u64);
    {
        let mut owned = frames
            .allocate_frames(&PageRequest::new(5).exact().zeroed())
            .unwrap();
        assert_eq!(owned.phys(), owned.addr() as u64);
        assert_eq!((owned.page_count(), owned.len()), (5, 5 * PAGE));
        // SAFETY: zeroed pages were asked for.
        assert!(owned.iter().all(|byte| unsafe { byte.assume_init() } == 0));
        owned[17].write(3);
        assert_eq!(frames.allocated_bytes(), 5 * PAGE);
    }
    let (addr, count) = frames
        .allocate_frames(&PageRequest::new(3))
        .unwrap()
        .into_raw();
    assert_eq!(frames.allocated_bytes(), 4 * PAGE);
    free(&frames, addr, count);
    assert_recovered(&frames);
}

#[test]
fn sections_go_while_their_pages_lie_in_caches() {
    let memory = Memory::new(64 * MIB);
    let frames = shared(&memory, GIB);
    let extra = Memory::new(16 * MIB);
    // SAFETY: the memory outlives the allocator.
    unsafe { frames.add_region_at(extra.whole(), 8 * GIB) }.unwrap();
    // Normal memory comes first, so this is where all CPUs' pages are from.
    let mut out = Vec::new();
    for cpu in 0..8 {
        on(cpu, || {
            let addr = frames.alloc_pages(1, 0).unwrap();
            assert!((extra.addr()..extra.addr() + 16 * MIB).contains(&addr));
            out.push(addr);
        });
    }
    assert_eq!(
        frames.remove_section(extra.addr() + 8 * MIB),
        Err(AllocError::Busy(8))
    );
    frames.validate().unwrap();
    for addr in out {
        on(3, || free(&frames, addr, 1));
    }
    assert_eq!(frames.cached_pages(), 8);
    let range = extra.addr()..extra.addr() + 16 * MIB;
    assert_eq!(
        frames.remove_section(extra.addr() + 8 * MIB),
        Ok(range.clone())
    );
    assert_eq!(frames.section_count(), 1);
    assert_eq!(
        refused(&frames, extra.addr() + 8 * MIB, 1),
        Some(AllocError::NotFound)
    );
    assert!(take_all(&frames).iter().all(|addr| !range.contains(addr)));
    frames.validate().unwrap();
}

#[test]
fn slabs_are_found_without_the_lock_and_with_it() {
    let memory = Memory::new(16 * MIB);
    let frames = shared(&memory, GIB);
    let slab = frames.alloc_pages(4, 0).unwrap();
    let descriptor = core::ptr::without_provenance_mut::<()>(slab);
    // SAFETY: the block is ours.
    unsafe { frames.set_slab(slab, descriptor) }.unwrap();
    let found = || {
        frames
            .slab_of(slab + 4 * PAGE - 1)
            .map(|found| found.as_ptr())
    };
    assert_eq!(found(), Some(descriptor));
    // As a CPU that has no state, and as one that another context has claimed.
    assert_eq!(on(9, found), Some(descriptor));
    let claim = frames.shared.cpus.get(0).unwrap().lock.claim();
    assert_eq!(found(), Some(descriptor));
    drop(claim);
    // As a handler that interrupted the allocator.
    assert_eq!(frames.with_own(|_, _| found()), Some(Some(descriptor)));
    assert_eq!(refused(&frames, slab, 4), Some(AllocError::NotAllocated));
    assert_eq!(frames.slab_of(slab + 4 * PAGE), None);
    // SAFETY: as above.
    unsafe { frames.set_slab(slab, core::ptr::null_mut()) }.unwrap();
    free(&frames, slab, 4);
    assert_recovered(&frames);
}

#[test]
fn a_slab_that_was_split_goes_piece_by_piece() {
    let memory = Memory::new(16 * MIB);
    let frames = shared(&memory, GIB);
    let slab = frames.alloc_pages(8, 0).unwrap();
    let descriptor = core::ptr::without_provenance_mut::<()>(slab);
    // SAFETY: the block is ours, here and below.
    let refused_split = unsafe { frames.split_slab(slab) };
    assert_eq!(refused_split, Err(AllocError::NotAllocated));
    // SAFETY: as above.
    unsafe { frames.set_slab(slab, descriptor) }.unwrap();
    // SAFETY: as above.
    unsafe { frames.split_slab(slab) }.unwrap();
    frames.validate().unwrap();
    for gone in [4, 0, 6, 2] {
        let piece = slab + gone * PAGE;
        assert_eq!(refused(&frames, piece, 2), Some(AllocError::NotAllocated));
        let found = frames.slab_of(piece + 2 * PAGE - 1);
        assert_eq!(found.map(|found| found.as_ptr()), Some(descriptor));
        // SAFETY: as above.
        unsafe { frames.set_slab(piece, core::ptr::null_mut()) }.unwrap();
        assert_eq!(frames.slab_of(piece), None);
        free(&frames, piece, 2);
        frames.validate().unwrap();
    }
    assert_recovered(&frames);
}

#[test]
fn a_handler_inside_the_cache_uses_the_tree() {
    let memory = Memory::new(16 * MIB);
    let frames = shared(&memory, GIB);
    free(&frames, frames.alloc_pages(1, 0).unwrap(), 1);
    let mut live = Vec::new();
    frames.with_own(|_, _| {
        for count in [1, 2, 512, 3] {
            let addr = frames.alloc_pages(count, 0).unwrap();
            assert!(refused(&frames, addr + 1, count).is_some());
            live.push((addr, count));
        }
        let (addr, count) = live.remove(0);
        free(&frames, addr, count);
        assert_eq!(
            refused(&frames, addr, count),
            Some(AllocError::NotAllocated)
        );
        // It may even use up everything: it does not wait for the cache it interrupted.
        let cached = frames.cached_pages();
        let all = take_all(&frames);
        assert_eq!(frames.free_pages(), cached);
        all.iter().for_each(|addr| free(&frames, *addr, 1));
    });
    for (addr, count) in live {
        free(&frames, addr, count);
    }
    assert_recovered(&frames);
}

#[test]
fn an_empty_allocator_says_so() {
    let frames = Shared::new();
    assert_eq!(frames.alloc_pages(1, 0), Err(AllocError::NotInitialized));
    assert_eq!(refused(&frames, PAGE, 1), Some(AllocError::NotFound));
    assert_eq!(frames.slab_of(PAGE), None);
    assert_eq!(frames.drain_all(), 0);
    assert_eq!(frames.remove_section(PAGE), Err(AllocError::NotFound));
    frames.validate().unwrap();
}
