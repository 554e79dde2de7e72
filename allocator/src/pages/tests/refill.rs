//! What comes into a CPU's cache in batches, and what leaves it so.

use std::vec::Vec;

use super::shared::{Shared, assert_recovered, free, on, shared, take_all};
use super::{GIB, MIB, Memory, PAGE};
use crate::AllocError;

/// Pages of a section that have never been used, with a cache for CPU 0.
fn fresh(memory: &Memory) -> Shared {
    let frames = shared(memory, GIB);
    let page = frames.alloc_pages(1, 0).unwrap();
    free(&frames, page, 1);
    frames
}

fn batches(frames: &Shared) -> usize {
    let cpu = frames.cpu_info(0).unwrap();
    cpu.refills + cpu.drains
}

#[test]
fn a_cpu_that_uses_almost_all_it_may_keep_comes_to_rest() {
    let memory = Memory::new(64 * MIB);
    let frames = fresh(&memory);
    for (order, most) in [(0, 60), (3, 60), (6, 14), (9, 14)] {
        for used in 1..=most {
            frames.drain_all();
            let group = || {
                let blocks: Vec<usize> = (0..used)
                    .map(|_| frames.alloc_pages(1 << order, 0).unwrap())
                    .collect();
                blocks
                    .iter()
                    .for_each(|addr| free(&frames, *addr, 1 << order));
            };
            (0..40).for_each(|_| group());
            let before = batches(&frames);
            (0..10).for_each(|_| group());
            assert_eq!(batches(&frames), before, "{used} blocks of order {order}");
        }
    }
    assert_recovered(&frames);
}

#[test]
fn what_a_cpu_frees_stays_with_it_while_much_is_free() {
    // Of 63 blocks all but 23 are in use; or all but 16, as many as the stack has room for.
    for (used, most) in [(40, 6), (47, 16)] {
        let memory = Memory::new(16 * MIB);
        let frames = fresh(&memory);
        let alloc = || frames.alloc_pages(64, 0).unwrap();
        let mut live: Vec<usize> = (0..used).map(|_| alloc()).collect();
        let mut replace = |count: usize| {
            live.drain(..count).for_each(|addr| free(&frames, addr, 64));
            live.extend((0..count).map(|_| alloc()));
        };
        (0..40).for_each(|_| replace(most));
        let before = batches(&frames);
        (0..10).for_each(|_| replace(most));
        assert_eq!(batches(&frames), before);
        live.iter().for_each(|addr| free(&frames, *addr, 64));
        assert_recovered(&frames);
    }
}

#[test]
fn what_a_cpu_frees_is_for_all_where_little_is_free() {
    let memory = Memory::new(64 * MIB);
    let frames = fresh(&memory);
    let alloc = |count| frames.alloc_pages(count, 0).ok();
    let live: Vec<usize> = (0..10).map(|_| alloc(512).unwrap()).collect();
    // All else, by requests that no CPU caches.
    let rest: Vec<usize> = core::iter::from_fn(|| alloc(1024)).collect();
    assert!(frames.free_pages() < frames.total_pages() / 8);
    // What the CPU might keep when all was free does not count any more.
    frames.drain_all();
    live[..5].iter().for_each(|addr| free(&frames, *addr, 512));
    assert_eq!(frames.cached_pages(), 0);
    live[5..].iter().for_each(|addr| free(&frames, *addr, 512));
    rest.iter().for_each(|addr| free(&frames, *addr, 1024));
    assert_recovered(&frames);
}

#[test]
fn what_was_fetched_while_much_was_free_goes_back_where_little_is() {
    let memory = Memory::new(64 * MIB);
    let frames = fresh(&memory);
    let orders = [9, 8, 7, 6, 5, 4, 3, 2, 1];
    let blocks = orders.map(|order| frames.alloc_pages(1 << order, 0).unwrap());
    let fetched = frames.cached_pages();
    assert!(fetched > frames.total_pages() / 5, "{fetched}");
    let mut pages = Vec::new();
    // What is in caches does not count.
    while frames.free_pages() - frames.cached_pages() >= frames.total_pages() / 64 {
        pages.push(frames.alloc_pages(1, 0).unwrap());
    }
    let left = frames.cached_pages();
    assert!(left < frames.total_pages() / 16, "{left}");
    frames.validate().unwrap();
    pages.iter().for_each(|addr| free(&frames, *addr, 1));
    for (order, addr) in orders.into_iter().zip(blocks) {
        free(&frames, addr, 1 << order);
    }
    assert_recovered(&frames);
}

#[test]
fn many_blocks_come_and_go_in_whole_groups() {
    let memory = Memory::new(64 * MIB);
    let frames = fresh(&memory);
    let small = || -> usize {
        let zone = *frames.buddyinfo().zones().next().unwrap();
        zone.free_blocks[..5].iter().sum()
    };
    let mut seen = Vec::new();
    let mut note = || {
        if seen
            .last()
            .is_none_or(|(count, _)| *count != batches(&frames))
        {
            seen.push((batches(&frames), small()));
        }
    };
    let alloc = |_| {
        let page = frames.alloc_pages(1, 0).unwrap();
        note();
        page
    };
    let pages: Vec<usize> = (0..2000).map(alloc).collect();
    for page in pages {
        free(&frames, page, 1);
        note();
    }
    // 32 at a time: what is left of larger blocks is none that is smaller, as soon as the first ones are used up, or back.
    let (up, down) = seen.split_at(seen.len() / 2);
    assert!(up[4..].len() > 50 && down[4..].len() > 50);
    assert!(up[4..].iter().all(|(_, blocks)| *blocks == 0), "{up:?}");
    assert!(
        down[4..].windows(2).all(|two| two[0].1 == two[1].1),
        "{down:?}"
    );
    assert_recovered(&frames);
}

#[test]
fn blocks_merge_in_whatever_order_they_leave_a_cache() {
    let memory = Memory::new(32 * MIB);
    let frames = fresh(&memory);
    frames.drain_all();
    let whole = *frames.buddyinfo().zones().next().unwrap();
    for order in [0, 1, 3] {
        for turn in [1, 3, 5, 7, 511] {
            let mut blocks: Vec<usize> = (0..512)
                .map(|_| frames.alloc_pages(1 << order, 0).unwrap())
                .collect();
            blocks.sort_unstable();
            // Up, down, and in steps.
            for i in 0..512 {
                free(&frames, blocks[i * turn % 512], 1 << order);
            }
            frames.validate().unwrap();
            assert_recovered(&frames);
            assert_eq!(*frames.buddyinfo().zones().next().unwrap(), whole);
        }
    }
}

#[test]
fn the_last_page_is_freed_and_taken_without_the_tree() {
    let memory = Memory::new(2 * MIB);
    let frames = fresh(&memory);
    let mut all = take_all(&frames);
    let mut last = all.pop().unwrap();
    free(&frames, last, 1);
    last = frames.alloc_pages(1, 0).unwrap();
    let before = batches(&frames);
    for _ in 0..100 {
        free(&frames, last, 1);
        assert_eq!(frames.cached_pages(), 1);
        last = frames.alloc_pages(1, 0).unwrap();
    }
    assert_eq!(batches(&frames), before);
    // For others it is there all the same.
    free(&frames, last, 1);
    last = on(1, || frames.alloc_pages(1, 0)).unwrap();
    free(&frames, last, 1);
    all.iter().for_each(|addr| free(&frames, *addr, 1));
    assert_eq!(
        frames
            .alloc_pages(64, 64 * PAGE)
            .map(|addr| free(&frames, addr, 64)),
        Ok(())
    );
    assert_recovered(&frames);
}

/// Allocates blocks until behind one there is another one in the cache; the others are in the second half.
fn beside_cached(frames: &Shared, count: usize) -> (usize, Vec<usize>) {
    let mut others = Vec::new();
    loop {
        let [addr, next] = [(); 2].map(|()| frames.alloc_pages(count, 0).unwrap());
        if next == addr + count * PAGE {
            free(frames, next, count);
            return (addr, others);
        }
        others.extend([addr, next]);
    }
}

#[test]
fn a_block_grows_into_what_its_cpu_has_behind_it() {
    let memory = Memory::new(64 * MIB);
    let frames = fresh(&memory);
    // SAFETY: the pages are the test's.
    let grow = |addr, count, new_count| unsafe { frames.grow_pages(addr, count, new_count) };
    for order in [0, 3, 6] {
        let count = 1 << order;
        let (addr, others) = beside_cached(&frames, count);
        let cached = frames.cached_pages();
        assert_eq!(grow(addr, count, 2 * count), Ok(()));
        assert_eq!(frames.cached_pages(), cached - count);
        // Further than what is in the cache.
        assert_eq!(grow(addr, 2 * count, 40 * count + 1), Ok(()));
        frames.validate().unwrap();
        free(&frames, addr, 40 * count + 1);
        others.iter().for_each(|addr| free(&frames, *addr, count));
        frames.drain_all();
    }
    assert_recovered(&frames);
}

#[test]
fn a_block_does_not_grow_into_what_others_have() {
    let memory = Memory::new(16 * MIB);
    let frames = fresh(&memory);
    // SAFETY: the pages are the test's.
    let grow = |addr, new_count| unsafe { frames.grow_pages(addr, 1, new_count) };
    let (addr, others) = beside_cached(&frames, 1);
    let cached = frames.cached_pages();
    assert_eq!(
        on(1, || grow(addr, 2)),
        Err(AllocError::NoMemory),
        "in the cache of CPU 0"
    );
    assert_eq!(frames.cached_pages(), cached);
    let next = frames.alloc_pages(1, 0).unwrap();
    assert_eq!(next, addr + PAGE);
    assert_eq!(grow(addr, 2), Err(AllocError::NoMemory), "in use");
    assert_eq!(frames.cached_pages(), cached - 1);
    frames.validate().unwrap();
    // As far as the section goes, and further.
    assert_eq!(grow(next, 8192), Err(AllocError::NoMemory));
    free(&frames, addr, 1);
    free(&frames, next, 1);
    others.iter().for_each(|addr| free(&frames, *addr, 1));
    assert_recovered(&frames);
}

#[test]
fn a_block_grows_over_a_batch_of_cached_blocks_or_leaves_them() {
    let memory = Memory::new(64 * MIB);
    let frames = fresh(&memory);
    // SAFETY: the pages are the test's.
    let grow = |addr, new_count| unsafe { frames.grow_pages(addr, 1, new_count) };
    for (cached, used, can) in [(31, 0, true), (32, 0, true), (33, 0, false), (20, 1, false)] {
        frames.drain_all();
        let addr = frames.alloc_pages(64, 0).unwrap();
        // SAFETY: the pages are the test's.
        unsafe { frames.shrink_pages(addr, 64, 1) }.unwrap();
        let behind: Vec<usize> = (1..=cached + used)
            .map(|page| frames.alloc_pages_at(addr + page * PAGE, 1, 0).unwrap())
            .collect();
        let (freed, kept) = behind.split_at(cached);
        let before = frames.cached_pages();
        freed.iter().for_each(|page| free(&frames, *page, 1));
        assert_eq!(frames.cached_pages(), before + cached);
        let pages = 1 + cached + used;
        if can {
            assert_eq!(grow(addr, pages), Ok(()));
            assert_eq!(frames.cached_pages(), before);
            free(&frames, addr, pages);
        } else {
            assert_eq!(grow(addr, pages), Err(AllocError::NoMemory));
            assert_eq!(frames.cached_pages(), before + cached);
            free(&frames, addr, 1);
        }
        kept.iter().for_each(|page| free(&frames, *page, 1));
        frames.validate().unwrap();
    }
    assert_recovered(&frames);
}

#[test]
fn growing_in_vain_changes_nothing() {
    let memory = Memory::new(64 * MIB);
    let frames = fresh(&memory);
    let addr = frames.alloc_pages(1, 0).unwrap();
    frames.drain_all();
    let used = memory.addr() + 2000 * PAGE;
    frames.alloc_pages_at(used, 1, 0).unwrap();
    // What has never been used begins inside the free block of 32 MiB.
    let far = memory.addr() + 10_000 * PAGE;
    frames.alloc_pages_at(far, 1, 0).unwrap();
    free(&frames, far, 1);
    frames.drain_all();
    // SAFETY: the pages are the test's.
    let grown = unsafe { frames.grow_pages(addr, 1, 15_900) };
    assert_eq!(grown, Err(AllocError::NoMemory));
    frames.validate().unwrap();
    let block = frames.alloc_pages(1 << 13, 0).unwrap();
    free(&frames, block, 1 << 13);
    free(&frames, addr, 1);
    free(&frames, used, 1);
    assert_recovered(&frames);
}
