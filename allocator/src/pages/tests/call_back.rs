//! What goes past the caches so that free memory stays together.

use std::vec::Vec;

use fastrand::Rng;

use super::shared::{Shared, assert_recovered, free, on, shared, take_all};
use super::{GIB, MIB, Memory, PAGE, allocator};
use crate::pages::frame::{Order, Pfn};
use crate::{AllocError, PageFlags};

/// Memory of which each block of `order` is allocated; and two of these blocks that are buddies.
fn whole(memory: &Memory, order: usize) -> (Shared, Vec<usize>, [usize; 2]) {
    let frames = shared(memory, GIB);
    let mut all: Vec<usize> =
        core::iter::from_fn(|| frames.alloc_pages(1 << order, 0).ok()).collect();
    let phys = |addr: usize| addr - memory.whole().addr().get();
    let buddies = [0, PAGE << order].map(|offset| {
        let is_it = |addr: &usize| phys(*addr) == 8 * MIB + offset;
        all.swap_remove(all.iter().position(is_it).unwrap())
    });
    (frames, all, buddies)
}

/// The same, but one block is free already, so that with a second one what is free is scattered.
fn full(memory: &Memory, order: usize) -> (Shared, Vec<usize>, [usize; 2]) {
    let (frames, mut rest, buddies) = whole(memory, order);
    give_back(&frames, rest.pop().unwrap(), 1 << order);
    (frames, rest, buddies)
}

fn free_blocks(frames: &Shared, order: usize) -> usize {
    frames
        .buddyinfo()
        .zones()
        .map(|zone| zone.free_blocks[order])
        .sum()
}

/// Frees a block into the tree.
fn give_back(frames: &Shared, addr: usize, count: usize) {
    free(frames, addr, count);
    frames.drain_all();
}

#[test]
fn buddies_merge_past_the_caches_where_little_is_free() {
    let memory = Memory::new(32 * MIB);
    for order in [1, 2, 5, 8] {
        let (frames, mut rest, [left, right]) = full(&memory, order);
        give_back(&frames, left, 1 << order);
        assert_eq!(free_blocks(&frames, order), 2);
        free(&frames, right, 1 << order);
        let merged = (free_blocks(&frames, order), free_blocks(&frames, order + 1));
        assert_eq!((frames.cached_pages(), merged), (0, (1, 1)));
        // One whose buddy is allocated stays with the CPU, if that may have it at all.
        if order < 5 {
            free(&frames, rest.pop().unwrap(), 1 << order);
            assert_eq!(frames.cached_pages(), 1 << order);
        }
        rest.iter()
            .for_each(|addr| free(&frames, *addr, 1 << order));
        assert_recovered(&frames);
    }
}

#[test]
fn buddies_stay_in_the_caches_while_what_is_free_is_together() {
    let memory = Memory::new(16 * MIB);
    // A sixteenth of 36 or of 38 pages lies apart: two pages, as one block of two may be alone, or four.
    for (apart, called_back) in [(2, false), (3, true)] {
        let (frames, mut rest, [left, right]) = whole(&memory, 1);
        rest.sort_unstable();
        let phys = |addr: &usize| addr - memory.whole().addr().get();
        // 32 pages that are one block, and blocks of two of which none is another's buddy.
        let together = rest.iter().position(|addr| phys(addr) == 4 * MIB).unwrap();
        let together: Vec<usize> = rest.drain(together..together + 16).collect();
        let begin = rest.iter().position(|addr| phys(addr) == 2 * MIB).unwrap();
        let apart: Vec<usize> = (1..apart).map(|n| rest.remove(begin + n)).collect();
        for addr in together.iter().chain(&apart).chain([&left]) {
            give_back(&frames, *addr, 2);
        }
        assert_eq!(
            (free_blocks(&frames, 5), free_blocks(&frames, 1)),
            (1, apart.len() + 1)
        );
        free(&frames, right, 2);
        assert_eq!(frames.cached_pages() == 0, called_back);
        rest.iter().for_each(|addr| free(&frames, *addr, 2));
        assert_recovered(&frames);
    }
}

#[test]
fn what_was_never_used_is_together() {
    let memory = Memory::new(320 * MIB);
    let frames = shared(&memory, GIB);
    // All but the last 32 MiB, of which some have no bookkeeping yet.
    let number = (frames.free_pages() - 8192) / 2;
    let mut all: Vec<usize> = (0..number)
        .map(|_| frames.alloc_pages(2, 0).unwrap())
        .collect();
    all.sort_unstable();
    frames.drain_all();
    let [left, right] = all[1000 + all[0] / PAGE % 4 / 2..][..2] else {
        panic!("fewer than {number}");
    };
    assert_eq!((right - left, left / PAGE % 4), (2 * PAGE, 0));
    give_back(&frames, left, 2);
    free(&frames, right, 2);
    assert_eq!(frames.cached_pages(), 2);
    let rest = all.iter().filter(|addr| ![left, right].contains(addr));
    rest.for_each(|addr| free(&frames, *addr, 2));
    assert_recovered(&frames);
}

#[test]
fn what_was_never_used_is_in_one_place_whatever_its_size() {
    let memory = Memory::new(1024 * MIB);
    let frames = shared(&memory, GIB);
    let section = frames.shared.index.iter().next().unwrap();
    let mut scarce = 0;
    // Nothing is freed, so all that is free is what the end of the section has.
    while frames.alloc_pages(1024, 0).is_ok() {
        if section.free_pages() < section.scarce_below {
            scarce += 1;
            assert!(!section.calls_back(Order::new(3).unwrap()), "at {scarce}");
        }
    }
    assert_eq!(scarce, 32);
}

#[test]
fn buddies_stay_in_the_caches_while_much_is_free() {
    let memory = Memory::new(16 * MIB);
    let (frames, rest, [left, right]) = full(&memory, 1);
    rest[..512].iter().for_each(|addr| free(&frames, *addr, 2));
    give_back(&frames, left, 2);
    free(&frames, right, 2);
    assert_eq!(frames.cached_pages(), 2);
    rest[512..].iter().for_each(|addr| free(&frames, *addr, 2));
    assert_recovered(&frames);
}

#[test]
fn single_pages_stay_in_the_caches() {
    let memory = Memory::new(16 * MIB);
    let (frames, rest, [left, right]) = full(&memory, 0);
    give_back(&frames, left, 1);
    free(&frames, right, 1);
    assert_eq!((frames.cached_pages(), free_blocks(&frames, 0)), (1, 2));
    rest.iter().for_each(|addr| free(&frames, *addr, 1));
    assert_recovered(&frames);
}

#[test]
fn a_block_is_called_back_once() {
    let memory = Memory::new(16 * MIB);
    let (frames, rest, [left, right]) = full(&memory, 1);
    give_back(&frames, left, 2);
    // Somebody takes its buddy again, and fetches the other one that is free.
    assert_eq!(frames.alloc_pages(2, 0), Ok(left));
    assert_eq!((frames.cached_pages(), free_blocks(&frames, 1)), (2, 0));
    free(&frames, right, 2);
    assert_eq!((frames.cached_pages(), free_blocks(&frames, 1)), (2, 1));
    frames.drain_all();
    assert_eq!(frames.alloc_pages(2, 0), Ok(right));
    let other = frames.alloc_pages(2, 0).unwrap();
    free(&frames, right, 2);
    assert_eq!((frames.cached_pages(), free_blocks(&frames, 1)), (2, 0));
    free(&frames, left, 2);
    free(&frames, other, 2);
    rest.iter().for_each(|addr| free(&frames, *addr, 2));
    assert_recovered(&frames);
}

#[test]
fn a_full_stack_stays_so_when_a_block_is_called_back() {
    let memory = Memory::new(16 * MIB);
    let (frames, mut rest, [left, right]) = full(&memory, 1);
    give_back(&frames, left, 2);
    let drains = || frames.cpu_info(0).unwrap().drains;
    // Blocks of which none is another's buddy, until the stack is full.
    rest.sort_unstable();
    let odd = |addr: &usize| !(addr / (2 * PAGE)).is_multiple_of(2);
    let (mut odd, even): (Vec<_>, Vec<_>) = rest.into_iter().partition(odd);
    let mut cached = frames.cached_pages();
    let before = drains();
    while drains() == before {
        cached = frames.cached_pages();
        free(&frames, odd.pop().unwrap(), 2);
    }
    while frames.cached_pages() < cached {
        free(&frames, odd.pop().unwrap(), 2);
    }
    let before = drains();
    free(&frames, right, 2);
    assert_eq!((drains(), frames.cached_pages()), (before, cached));
    odd.iter()
        .chain(&even)
        .for_each(|addr| free(&frames, *addr, 2));
    assert_recovered(&frames);
}

#[test]
fn who_takes_one_block_again_and_again_has_it_from_the_cache() {
    let memory = Memory::new(64 * MIB);
    let frames = shared(&memory, GIB);
    // Nine tenths are allocated. What is free lies at the end, but for some single pages.
    let take = |count, number| -> Vec<usize> {
        let blocks = (0..number).map(|_| frames.alloc_pages(count, 0).unwrap());
        blocks.collect()
    };
    let mut low = take(1, 512);
    low.sort_unstable();
    let rest = take(256, 57);
    low.iter()
        .step_by(2)
        .for_each(|addr| free(&frames, *addr, 1));
    frames.drain_all();
    // What is left over before the end goes, too.
    let last = *rest.iter().max().unwrap();
    let mut small = Vec::new();
    while small.last().is_none_or(|addr| *addr < last) {
        small.push(frames.alloc_pages(2, 0).unwrap());
    }
    // So many CPUs may have a block of up to that order each.
    for (cpus, most) in [(1, 6), (4, 3), (16, 1)] {
        let pair = |order: usize| {
            let addr = frames.alloc_pages(1 << order, 0).unwrap();
            free(&frames, addr, 1 << order);
        };
        (0..cpus).for_each(|cpu| on(cpu, || pair(0)));
        for order in 0..=most {
            frames.drain_all();
            for cpu in 0..cpus {
                let before = frames.cached_pages();
                on(cpu, || (0..10).for_each(|_| pair(order)));
                let cached = frames.cached_pages();
                assert!(cached >= before + (1 << order), "order {order}, CPU {cpu}");
                on(cpu, || pair(order));
                assert_eq!(frames.cached_pages(), cached);
            }
        }
    }
    rest.iter().for_each(|addr| free(&frames, *addr, 256));
    small.iter().for_each(|addr| free(&frames, *addr, 2));
    low.iter()
        .skip(1)
        .step_by(2)
        .for_each(|addr| free(&frames, *addr, 1));
    assert_recovered(&frames);
}

#[test]
fn a_block_that_is_called_back_is_like_others() {
    let memory = Memory::new(16 * MIB);
    let (frames, rest, [left, right]) = full(&memory, 3);
    let refused = |count| {
        // SAFETY: a free that is refused changes nothing.
        unsafe { frames.dealloc_pages(right, count) }.err()
    };
    let flags = |flags| {
        // SAFETY: the test owns the block.
        unsafe { frames.set_page_flags(right, flags) }
    };
    give_back(&frames, left, 8);
    let pfn = Pfn::new(right / PAGE);
    assert!(pfn.is_aligned(Order::new(3).unwrap()));
    frames.validate().unwrap();
    assert_eq!(frames.check(right, 8), Ok(()));
    assert_eq!(frames.page_flags(right), Ok(PageFlags::Allocated));
    assert_eq!(refused(16), Some(AllocError::InvalidParam));
    assert_eq!(flags(PageFlags::Slab), Ok(()));
    assert_eq!(refused(8), Some(AllocError::NotAllocated));
    assert_eq!(flags(PageFlags::Allocated), Ok(()));
    // In place, and back from another CPU.
    give_back(&frames, frames.alloc_pages(8, 0).unwrap(), 8);
    // SAFETY: the test owns the block.
    assert_eq!(unsafe { frames.shrink_pages(right, 8, 5) }, Ok(()));
    // SAFETY: as above.
    assert_eq!(unsafe { frames.grow_pages(right, 5, 8) }, Ok(()));
    on(1, || free(&frames, right, 8));
    assert_eq!(refused(8), Some(AllocError::NotAllocated));
    rest.iter().for_each(|addr| free(&frames, *addr, 8));
    assert_recovered(&frames);
}

#[test]
fn what_comes_from_the_end_goes_back_there_where_little_is_free() {
    let memory = Memory::new(16 * MIB);
    let frames = shared(&memory, GIB);
    let mut all = take_all(&frames);
    all.sort_unstable();
    // What is free: half a mebibyte at the end, and as many single pages.
    let end = all.split_off(all.len() - 200);
    let (odd, even): (Vec<_>, Vec<_>) = all
        .into_iter()
        .partition(|addr| !(addr / PAGE).is_multiple_of(2));
    let (some, odd) = odd.split_at(200);
    for addr in end.iter().chain(some) {
        give_back(&frames, *addr, 1);
    }
    let take_and_free = || {
        frames.drain_all();
        let block = frames.alloc_pages(2, 0).unwrap();
        assert!(end.contains(&block));
        // What was fetched with it.
        let cached = frames.cached_pages();
        assert_ne!(cached, 0);
        free(&frames, block, 2);
        frames.cached_pages() - cached
    };
    assert_eq!(take_and_free(), 0);
    // Where there is more, it stays with the CPU.
    odd.iter()
        .take(400)
        .for_each(|addr| free(&frames, *addr, 1));
    assert_eq!(take_and_free(), 2);
    let rest = even.iter().chain(odd.iter().skip(400));
    rest.for_each(|addr| free(&frames, *addr, 1));
    assert_recovered(&frames);
}

/// The sum of 400 largest free orders, while blocks of orders 0 to 9 are replaced at random in memory that is nine tenths
/// full.
fn largest_free(alloc: impl Fn(usize) -> Option<usize>, free: impl Fn(usize, usize)) -> usize {
    let limit = 64 * MIB / PAGE * 9 / 10;
    let mut random = Rng::with_seed(0);
    let mut live = Vec::new();
    let (mut used, mut sum) = (0, 0);
    for step in 1..=2_000_000 {
        let order = random.usize(..10);
        let taken = (used + (1 << order) <= limit)
            .then(|| alloc(1 << order))
            .flatten();
        if let Some(addr) = taken {
            live.push((addr, order));
            used += 1 << order;
        } else {
            let (addr, order) = live.swap_remove(random.usize(..live.len()));
            free(addr, 1 << order);
            used -= 1 << order;
        }
        if step % 5000 == 0 {
            let had = (0..=13).rev().find(|order| {
                let addr = alloc(1 << order);
                addr.inspect(|addr| free(*addr, 1 << order)).is_some()
            });
            sum += had.unwrap();
        }
    }
    live.iter()
        .for_each(|(addr, order)| free(*addr, 1 << order));
    sum
}

#[test]
fn caches_do_not_keep_memory_apart() {
    let memory = Memory::new(64 * MIB);
    let frames = shared(&memory, GIB);
    let with_caches = largest_free(
        |count| frames.alloc_pages(count, 0).ok(),
        |addr, count| free(&frames, addr, count),
    );
    assert_recovered(&frames);
    let single = std::cell::RefCell::new(allocator(&memory, GIB));
    let without = largest_free(
        |count| single.borrow_mut().alloc_pages(count, 0).ok(),
        |addr, count| single.borrow_mut().dealloc_pages(addr, count).unwrap(),
    );
    // On average less than an order of difference.
    assert!(with_caches + 400 > without, "{with_caches} and {without}");
}
