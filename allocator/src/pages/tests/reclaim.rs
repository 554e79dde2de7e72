//! The callback that is asked for memory.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::vec::Vec;

use super::shared::{assert_recovered, free, on, take_all};
use super::{GIB, Host, MIB, Memory, PAGE};
use crate::{
    AllocError, FrameAllocator, PageRequest, Platform, ReclaimRequest, Urgency, Watermarks, Zone,
};

static CALLS: [AtomicUsize; 3] = [const { AtomicUsize::new(0) }; 3];
static KEPT: std::sync::Mutex<Vec<usize>> = std::sync::Mutex::new(Vec::new());
static RECLAIMED: FrameAllocator<Host> = FrameAllocator::new();

/// Gives back ten of the pages it keeps, and allocates while it is at it.
fn reclaim(request: &ReclaimRequest) -> usize {
    CALLS[request.urgency as usize].fetch_add(1, Ordering::Relaxed);
    assert!(request.pages > 0);
    if request.urgency != Urgency::Failing {
        return 0;
    }
    let mut kept = KEPT.lock().unwrap();
    let from = kept.len().saturating_sub(10);
    let given = kept.split_off(from);
    given.iter().for_each(|addr| free(&RECLAIMED, *addr, 1));
    let nested: Vec<usize> = take_all(&RECLAIMED);
    nested.iter().for_each(|addr| free(&RECLAIMED, *addr, 1));
    given.len()
}

#[test]
fn the_callback_is_asked_before_an_allocation_fails() {
    let memory = core::mem::ManuallyDrop::new(Memory::new(4 * MIB));
    // SAFETY: the memory is never unmapped.
    unsafe { RECLAIMED.add_region_at(memory.whole(), GIB) }.unwrap();
    let calls = || CALLS.each_ref().map(|calls| calls.load(Ordering::Relaxed));
    let marks = Watermarks {
        min: 16,
        low: 64,
        high: 96,
    };
    RECLAIMED.set_watermarks(Zone::Dma32, marks).unwrap();
    assert_eq!(RECLAIMED.watermarks(Zone::Dma32), marks);
    let wrong = Watermarks { min: 65, ..marks };
    assert_eq!(
        RECLAIMED.set_watermarks(Zone::Dma32, wrong),
        Err(AllocError::InvalidParam)
    );
    RECLAIMED.set_reclaim(Some(reclaim));
    while RECLAIMED.buddyinfo().zone(Zone::Dma32).free_pages > 200 {
        KEPT.lock()
            .unwrap()
            .push(RECLAIMED.alloc_pages(1, 0).unwrap());
    }
    assert_eq!(calls(), [0; 3]);
    let held = KEPT.lock().unwrap().len();
    let all = take_all(&RECLAIMED);
    let [low, min, failing] = calls();
    assert!(
        low == 1 && min > 0 && failing > held / 10,
        "{low} {min} {failing}"
    );
    // Everything that the callback had was used before anything failed.
    assert!(KEPT.lock().unwrap().is_empty());
    assert_eq!(all.len(), RECLAIMED.total_pages());
    RECLAIMED.set_reclaim(None);
    assert_eq!(RECLAIMED.alloc_pages(1, 0), Err(AllocError::NoMemory));
    assert_eq!(calls()[2], failing);
    all.iter().for_each(|addr| free(&RECLAIMED, *addr, 1));
    assert_recovered(&RECLAIMED);
}

#[test]
fn what_a_quiet_allocation_does_not_tell_the_next_one_does() {
    std::thread_local! {
        static LOW: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
    }
    let memory = Memory::new(8 * MIB);
    let frames = super::shared::shared(&memory, GIB);
    let marks = Watermarks {
        min: 0,
        low: 1500,
        high: 2000,
    };
    frames.set_watermarks(Zone::Dma32, marks).unwrap();
    frames.set_reclaim(Some(|request| {
        assert_eq!(request.urgency, Urgency::Low);
        LOW.set(LOW.get() + 1);
        0
    }));
    // More than a CPU caches, so that the tree is asked each time.
    let request = PageRequest::new(600);
    let large = frames.try_allocate_quietly(&request.exact()).unwrap();
    assert_eq!(LOW.get(), 0);
    let more = frames.alloc_pages(128, 0).unwrap();
    assert_eq!(LOW.get(), 1);
    let last = frames.try_allocate(&PageRequest::new(128)).unwrap();
    assert_eq!(LOW.get(), 1);
    for (addr, count) in [(large, 600), (more, 128), (last, 128)] {
        free(&frames, addr, count);
    }
    let large = frames.try_allocate(&request.exact()).unwrap();
    assert_eq!(LOW.get(), 2);
    // A callback that is new has heard of nothing, and given pages are pages as well.
    let is_low = |request: &ReclaimRequest| {
        assert_eq!(request.urgency, Urgency::Low);
        LOW.set(LOW.get() + 1);
        0
    };
    frames.set_reclaim(Some(is_low));
    let given = frames.alloc_pages(128, 0).unwrap();
    assert_eq!(LOW.get(), 3);
    free(&frames, large, 600);
    free(&frames, given, 128);
    let low = frames.buddyinfo().zone(Zone::Dma32).free_pages;
    let marks = Watermarks {
        low,
        high: low,
        ..marks
    };
    frames.set_watermarks(Zone::Dma32, marks).unwrap();
    assert_eq!(frames.alloc_pages_at(given, 128, 0), Ok(given));
    assert_eq!(LOW.get(), 4);
    free(&frames, given, 128);
    assert_recovered(&frames);
}

#[test]
fn what_is_in_caches_is_used_before_the_callback_hears_of_it() {
    std::thread_local! {
        static CALLS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
    }
    let memory = Memory::new(64 * MIB);
    let frames = super::shared::shared(&memory, GIB);
    frames.set_reclaim(Some(|_| {
        CALLS.set(CALLS.get() + 1);
        0
    }));
    let large: Vec<usize> = (0..30)
        .map(|_| frames.alloc_pages(512, 0).unwrap())
        .collect();
    large.iter().for_each(|addr| free(&frames, *addr, 512));
    let cached = frames.cached_pages();
    assert!(cached > frames.total_pages() / 4, "{cached}");
    let mut all = Vec::new();
    while CALLS.get() == 0 {
        all.push(frames.alloc_pages(1, 0).unwrap());
    }
    let marks = frames.watermarks(Zone::Dma32);
    let free_then = frames.free_pages() + frames.cached_pages();
    assert!(free_then < marks.high, "{free_then} {marks:?}");
    all.iter().for_each(|addr| free(&frames, *addr, 1));
    assert_recovered(&frames);
}

#[test]
fn watermarks_may_be_anything_in_order() {
    let memory = Memory::new(8 * MIB);
    let frames = super::shared::shared(&memory, GIB);
    for zone in [Zone::Dma, Zone::Dma32, Zone::Normal] {
        let high = usize::MAX;
        let marks = Watermarks {
            min: 0,
            low: 0,
            high,
        };
        frames.set_watermarks(zone, marks).unwrap();
    }
    let all = take_all(&frames);
    assert!(all.len() > 2000);
    all.iter().for_each(|addr| free(&frames, *addr, 1));
    assert_recovered(&frames);
}

static BIT_BY_BIT: FrameAllocator<Host> = FrameAllocator::new();

/// Gives back one page of a block of 64.
fn one_page(_: &ReclaimRequest) -> usize {
    let addr = KEPT_PAGES.lock().unwrap().pop();
    addr.map_or(0, |addr| {
        free(&BIT_BY_BIT, addr, 1);
        1
    })
}

static KEPT_PAGES: std::sync::Mutex<Vec<usize>> = std::sync::Mutex::new(Vec::new());

#[test]
fn what_the_last_call_gave_back_is_found() {
    let memory = core::mem::ManuallyDrop::new(Memory::new(4 * MIB));
    // SAFETY: the memory is never unmapped.
    unsafe { BIT_BY_BIT.add_region_at(memory.whole(), GIB) }.unwrap();
    let mut all = take_all(&BIT_BY_BIT);
    all.sort_unstable();
    let block = 64 * PAGE;
    let start = all.iter().position(|addr| addr % block == 0).unwrap();
    KEPT_PAGES
        .lock()
        .unwrap()
        .extend(all.drain(start..start + 64));
    BIT_BY_BIT.set_reclaim(Some(one_page));
    let addr = BIT_BY_BIT.alloc_pages(64, 0).unwrap();
    assert!(KEPT_PAGES.lock().unwrap().is_empty());
    free(&BIT_BY_BIT, addr, 64);
    BIT_BY_BIT.set_reclaim(None);
    all.into_iter().for_each(|addr| free(&BIT_BY_BIT, addr, 1));
    assert_recovered(&BIT_BY_BIT);
}

static NEW_CPU: FrameAllocator<Host> = FrameAllocator::new();
static DEPTH: AtomicUsize = AtomicUsize::new(0);

/// Frees some pages, and allocates until it would be asked again.
fn allocates(_: &ReclaimRequest) -> usize {
    assert_eq!(DEPTH.fetch_add(1, Ordering::Relaxed), 0, "called by itself");
    let from = KEPT_HERE.lock().unwrap().len().saturating_sub(16);
    let given = KEPT_HERE.lock().unwrap().split_off(from);
    given.iter().for_each(|addr| free(&NEW_CPU, *addr, 1));
    let taken = take_all(&NEW_CPU);
    taken.iter().for_each(|addr| free(&NEW_CPU, *addr, 1));
    DEPTH.fetch_sub(1, Ordering::Relaxed);
    given.len()
}

static KEPT_HERE: std::sync::Mutex<Vec<usize>> = std::sync::Mutex::new(Vec::new());

/// Its caches come into being in the callback.
#[test]
fn the_callback_of_a_cpu_without_caches_is_not_called_by_itself() {
    let memory = core::mem::ManuallyDrop::new(Memory::new(4 * MIB));
    // SAFETY: the memory is never unmapped.
    unsafe { NEW_CPU.add_region_at(memory.whole(), GIB) }.unwrap();
    *KEPT_HERE.lock().unwrap() = take_all(&NEW_CPU);
    NEW_CPU.set_reclaim(Some(allocates));
    let addr = on(1, || {
        assert!(NEW_CPU.cpu_info(1).is_none());
        NEW_CPU.alloc_pages(1, 0).unwrap()
    });
    assert!(NEW_CPU.cpu_info(1).is_some());
    free(&NEW_CPU, addr, 1);
    NEW_CPU.set_reclaim(None);
    KEPT_HERE
        .lock()
        .unwrap()
        .drain(..)
        .for_each(|addr| free(&NEW_CPU, addr, 1));
    assert_recovered(&NEW_CPU);
}

/// Of all CPUs without caches, one was asked at a time: the others failed.
#[test]
fn every_cpu_that_has_no_caches_is_asked() {
    static FRAMES: FrameAllocator<Host> = FrameAllocator::new();
    std::thread_local! {
        static LEFT: std::cell::RefCell<Vec<usize>> = const { std::cell::RefCell::new(Vec::new()) };
    }
    fn give(request: &ReclaimRequest) -> usize {
        let cpu = Host::cpu_id();
        if request.urgency != Urgency::Failing {
            return 0;
        }
        assert_eq!(FRAMES.alloc_pages(1, 0), Err(AllocError::NoMemory));
        if cpu < 205 {
            assert!(on(cpu + 1, || FRAMES.alloc_pages(1, 0)).is_ok());
        }
        let page = LEFT.with_borrow_mut(Vec::pop).unwrap();
        free(&FRAMES, page, 1);
        1
    }
    let memory = core::mem::ManuallyDrop::new(Memory::new(MIB));
    // SAFETY: the memory is never unmapped.
    unsafe { FRAMES.add_region_at(memory.whole(), GIB) }.unwrap();
    LEFT.set(on(0, || take_all(&FRAMES)));
    FRAMES.set_reclaim(Some(give));
    assert!(on(200, || FRAMES.alloc_pages(1, 0)).is_ok());
}
