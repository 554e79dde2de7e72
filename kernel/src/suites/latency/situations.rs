//! Ways to call the allocator that bring out the longest calls.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::alloc::Layout;
use core::ptr::NonNull;

use fastrand::Rng;
use twinframe::{AllocError, GlobalAllocator};

use super::calls::Calls;
use crate::arch::work;
use crate::memory::HEAP;
use crate::platform::Machine;
use crate::suites::chain::Chain;
use crate::suites::free_pages;
use crate::suites::out_of_memory::take_all_pages;

/// Fills the calls of two entry points that go together: what gives, and what takes back.
pub(super) type Situation = fn(&mut Calls, &mut Calls);

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 8).expect("a small size")
}

fn free(memory: NonNull<u8>, layout: Layout) {
    // SAFETY: allocated with that layout, and nobody uses it any more.
    let freed = unsafe { HEAP.dealloc(memory, layout) };
    assert_eq!(freed, Ok(()));
}

/// Grows and shrinks what is live, up to `most`, with steps of random length and frees in random order, until both
/// have been called often enough.
fn wander<T>(
    gives: &mut Calls,
    takes: &mut Calls,
    most: usize,
    give: impl Fn(&mut Rng) -> T,
    take: impl Fn(T),
) {
    let mut random = Rng::with_seed(17);
    let mut live = Vec::with_capacity(most);
    while !(gives.is_full() && takes.is_full()) {
        for _ in 0..random.usize(..=most) {
            if live.len() < most {
                live.push(gives.time(|| give(&mut random)));
            }
        }
        for _ in 0..random.usize(..=most) {
            if !live.is_empty() {
                let index = random.usize(..live.len());
                let one = live.swap_remove(index);
                takes.time(|| take(one));
            }
        }
    }
    for one in live {
        take(one);
    }
}

/// Objects of a size, some thousand live: magazines run empty and full, slabs come and go.
pub(super) fn objects<const SIZE: usize>(gives: &mut Calls, takes: &mut Calls) {
    let layout = layout(SIZE);
    wander(
        gives,
        takes,
        3_000,
        |_| HEAP.alloc(layout).expect("there is memory"),
        |object| free(object, layout),
    );
}

/// Objects that become larger or smaller, up to 2048 bytes, and are copied for it.
pub(super) fn resized(gives: &mut Calls, takes: &mut Calls) {
    let mut random = Rng::with_seed(19);
    while !(gives.is_full() && takes.is_full()) {
        let [first, second, third] = [512, 2048, 512].map(|limit| layout(random.usize(1..=limit)));
        let object = HEAP.alloc(first).expect("there is memory");
        // SAFETY: as `first` says; only the result is used.
        let grown = gives.time(|| unsafe { HEAP.realloc(object, first, second) });
        let grown = grown.expect("there is memory");
        // SAFETY: as `second` says; only the result is used.
        let shrunk = takes.time(|| unsafe { HEAP.realloc(grown, second, third) });
        free(shrunk.expect("there is memory"), third);
    }
}

/// Blocks of pages, some live: caches run empty and full, blocks split and merge, metadata is set up.
pub(super) fn pages<const ORDER: u32, const MOST: usize>(gives: &mut Calls, takes: &mut Calls) {
    let count = 1_usize << ORDER;
    wander(
        gives,
        takes,
        MOST,
        |_| HEAP.alloc_pages(count, 0).expect("there is memory"),
        |block| free_pages(block, count).expect("allocated before"),
    );
}

/// Pages below 4 GiB.
pub(super) fn low_pages(gives: &mut Calls, takes: &mut Calls) {
    wander(
        gives,
        takes,
        2_000,
        |_| HEAP.alloc_pages_lowmem(1, 0).expect("there is memory"),
        |page| free_pages(page, 1).expect("allocated before"),
    );
}

/// Objects when another CPU has just freed as many, of thousands of slabs of this one.
pub(super) fn freed_elsewhere(gives: &mut Calls, takes: &mut Calls) {
    let layout = layout(2048);
    let take = |calls: &mut Calls| {
        let object = calls.time(|| HEAP.alloc(layout).expect("there is memory"));
        // A number may go to the other CPU, a pointer may not.
        object.expose_provenance().get()
    };
    let give = |object: usize| {
        let memory = core::ptr::with_exposed_provenance_mut(object);
        free(NonNull::new(memory).expect("an object"), layout);
    };
    let mut objects = Vec::with_capacity(gives.room());
    while !gives.is_full() {
        objects.push(take(gives));
    }
    let is_done = work::interrupt(1, &|_| objects.iter().copied().for_each(give));
    assert!(is_done, "there is another CPU");
    objects.clear();
    while !takes.is_full() {
        objects.push(take(takes));
    }
    objects.into_iter().for_each(give);
}

/// Sixty-four objects at once.
pub(super) fn bulk(gives: &mut Calls, takes: &mut Calls) {
    let layout = layout(64);
    wander(
        gives,
        takes,
        50,
        |_| {
            let mut objects = [NonNull::dangling(); 64];
            let taken = HEAP.alloc_bulk(layout, &mut objects);
            assert_eq!(taken, Ok(()));
            objects
        },
        |objects| {
            // SAFETY: allocated with that layout, and nobody uses them any more.
            let freed = unsafe { HEAP.free_bulk(&objects, layout) };
            assert_eq!(freed, Ok(()));
        },
    );
}

/// Fills the caches of this CPU: objects of every class, pages of every order that is cached.
fn fill_caches() {
    for size in [8, 16, 32, 64, 128, 256, 512, 1024, 2048] {
        let objects: Vec<_> = (0..200)
            .filter_map(|_| HEAP.alloc(layout(size)).ok())
            .collect();
        for object in objects {
            free(object, layout(size));
        }
    }
    for order in [0, 1, 2, 3, 9] {
        let blocks: Vec<_> = (0..if order < 9 { 80 } else { 4 })
            .filter_map(|_| HEAP.alloc_pages(1 << order, 0).ok())
            .collect();
        for block in blocks {
            free_pages(block, 1 << order).expect("allocated before");
        }
    }
}

/// Drains: of a CPU's pages, and of everything.
pub(super) fn drains(gives: &mut Calls, takes: &mut Calls) {
    // What other situations have left behind the magazines is measured by `kept`.
    HEAP.drain();
    while !(gives.is_full() && takes.is_full()) {
        fill_caches();
        gives.time(|| HEAP.frames().drain_cpu(0));
        fill_caches();
        takes.time(|| HEAP.drain());
    }
}

/// Drains when a CPU keeps nearly as many objects of a class as it may: when asked for, and before an allocation fails.
pub(super) fn kept(drains: &mut Calls, failures: &mut Calls) {
    let layout = layout(64);
    let keep = || {
        let mut objects = Vec::with_capacity(16_000);
        objects.extend((0..16_000).map_while(|_| HEAP.alloc(layout).ok()));
        objects.into_iter().for_each(|object| free(object, layout));
    };
    while !(drains.is_full() && failures.is_full()) {
        keep();
        drains.time(|| HEAP.drain());
        keep();
        let failure = failures.time(|| HEAP.alloc_pages_lowmem(1 << 20, 0));
        assert_eq!(failure, Err(AllocError::NoMemory));
    }
}

/// Allocations of pages that fail, with caches full and with caches empty. Each empties every cache first.
pub(super) fn failures(full: &mut Calls, empty: &mut Calls) {
    // Of 4 GiB below 4 GiB something is always reserved.
    let fails = || HEAP.alloc_pages_lowmem(1 << 20, 0);
    while !(full.is_full() && empty.is_full()) {
        fill_caches();
        assert_eq!(full.time(fails), Err(AllocError::NoMemory));
        assert_eq!(empty.time(fails), Err(AllocError::NoMemory));
    }
}

/// Allocations when there is nothing left: of an object, and of a page.
pub(super) fn exhaustion(objects: &mut Calls, pages: &mut Calls) {
    let mut all = Chain::new();
    take_all_pages(&mut all);
    let layout = layout(64);
    // What was left in slabs.
    while let Ok(object) = HEAP.alloc(layout) {
        // SAFETY: a fresh object of 64 bytes.
        unsafe { all.push(object.as_ptr(), 64) };
    }
    while !(objects.is_full() && pages.is_full()) {
        let object = objects.time(|| HEAP.alloc(layout));
        assert_eq!(object, Err(AllocError::NoMemory));
        let page = pages.time(|| HEAP.alloc_pages(1, 0));
        assert_eq!(page, Err(AllocError::NoMemory));
    }
    while let Some((memory, size)) = all.pop() {
        if size == 64 {
            free(NonNull::new(memory).expect("an object"), layout);
        } else {
            free_pages(memory.addr(), size / 4096).expect("allocated above");
        }
    }
}

/// A region of so many pages that comes to a heap, and leaves.
pub(super) fn regions<const PAGES: usize>(gives: &mut Calls, takes: &mut Calls) {
    const FIRST: usize = 256;
    let range = |pages: usize| {
        let start = HEAP.alloc_pages(pages, 0).expect("there is memory");
        let memory = core::ptr::with_exposed_provenance_mut::<u8>(start);
        core::ptr::slice_from_raw_parts_mut(memory, pages * 4096)
    };
    let (first, further) = (range(FIRST), range(PAGES));
    // SAFETY: allocated just now, and freed when the heap has gone.
    let first = unsafe { &mut *first };
    let start = first.as_ptr().addr();
    let heap = Box::new(GlobalAllocator::<Machine>::new());
    // SAFETY: nobody else has this memory, and the heap goes before it.
    let initialised = unsafe { heap.init(first) };
    initialised.expect("a megabyte is enough");
    // A CPU's first call sets its own state up, for good.
    for _ in 0..2 {
        let object = heap.alloc(layout(64)).expect("there is memory");
        // SAFETY: allocated just now with that layout.
        let freed = unsafe { heap.dealloc(object, layout(64)) };
        assert_eq!(freed, Ok(()));
    }
    while !(gives.is_full() && takes.is_full()) {
        // SAFETY: nobody else has this memory; between two rounds the heap does not either.
        let region = unsafe { &mut *further };
        // SAFETY: as above.
        let added = gives.time(|| unsafe { heap.add_region(region) });
        added.expect("apart from the first");
        // Its last page: the first ones describe it.
        let last = further.addr() + (PAGES - 1) * 4096;
        let removed = takes.time(|| heap.remove_section(last));
        removed.expect("nothing of it is in use");
    }
    drop(heap);
    free_pages(start, FIRST).expect("allocated above");
    free_pages(further.addr(), PAGES).expect("allocated above");
}
