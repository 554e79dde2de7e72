//! Growing, shrinking, zeroing.

use super::*;
use crate::PageRequest;

/// `realloc` always copied, and a block stayed what it was rounded to.
#[test]
fn d14_a_large_block_shrinks_where_it_is_and_gives_the_rest_back() {
    let rig = Rig::new(8 << 20);
    for (old, steps) in [
        (64, [63, 40, 32, 9, 8, 7, 1]),
        (100, [99, 65, 64, 63, 33, 3, 1]),
    ] {
        let mut now = layout(old * PAGE, 8);
        let ptr = rig.global.alloc(now).expect("enough memory");
        // SAFETY: the memory is ours.
        unsafe { ptr.write_bytes(0x5a, now.size()) };
        for pages in steps {
            let next = layout(pages * PAGE, 8);
            // SAFETY: allocated for `now`.
            let same = unsafe { rig.global.realloc(ptr, now, next) };
            assert_eq!(same, Ok(ptr));
            rig.global.drain();
            assert_eq!(rig.global.allocated_bytes(), pages * PAGE);
            assert_eq!(rig.global.validate(), Ok(()));
            assert!(rig.free(ptr, now).is_err(), "it is shorter now");
            now = next;
        }
        // SAFETY: the first page is still ours, and written.
        let kept = unsafe { core::slice::from_raw_parts(ptr.as_ptr(), PAGE) };
        assert!(kept.iter().all(|byte| *byte == 0x5a));
        assert_eq!(rig.free(ptr, now), Ok(()));
    }
    rig.is_recovered();
}

/// `realloc` always copied.
#[test]
fn d14_a_large_block_grows_where_it_is_while_there_is_room() {
    let rig = Rig::new(32 << 20);
    let mut now = layout(PAGE + 1, 8);
    let ptr = rig.global.alloc(now).expect("enough memory");
    // SAFETY: the memory is ours.
    unsafe { ptr.write_bytes(0x5a, now.size()) };
    rig.global.drain();
    for pages in [3, 4, 5, 8, 31, 32, 33, 100, 700] {
        let next = layout(pages * PAGE, 8);
        // SAFETY: allocated for `now`.
        assert_eq!(unsafe { rig.global.realloc(ptr, now, next) }, Ok(ptr));
        assert_eq!(rig.global.allocated_bytes(), pages * PAGE);
        assert_eq!(rig.global.validate(), Ok(()));
        // (A count that rounds up to the same block is accepted.)
        let is_other = pages.next_power_of_two() != (now.size().div_ceil(PAGE)).next_power_of_two();
        assert!(!is_other || rig.free(ptr, now).is_err(), "it is longer now");
        now = next;
    }
    // What lies behind is in use: it moves, with its contents.
    let behind = rig
        .global
        .frames()
        .alloc_pages_at(ptr.addr().get() + now.size(), 1, 0);
    let behind = behind.expect("the page behind is free");
    let next = layout(701 * PAGE, 8);
    // SAFETY: allocated for `now`.
    let moved = unsafe { rig.global.realloc(ptr, now, next) }.expect("enough memory");
    assert_ne!(moved, ptr);
    // SAFETY: ours, and its beginning was written.
    let kept = unsafe { core::slice::from_raw_parts(moved.as_ptr(), PAGE + 1) };
    assert!(kept.iter().all(|byte| *byte == 0x5a));
    assert_eq!(rig.free(moved, next), Ok(()));
    // SAFETY: ours.
    assert_eq!(unsafe { rig.global.dealloc_pages(behind, 1) }, Ok(()));
    rig.is_recovered();
}

#[test]
fn wrong_growths_are_refused() {
    let rig = Rig::new(4 << 20);
    let frames = rig.global.frames();
    let run = frames.alloc_pages_exact(5, 0).expect("enough memory");
    for (addr, count, new_count, error) in [
        (run, 5, 4, AllocError::InvalidParam),
        (run, 5, usize::MAX, AllocError::InvalidParam),
        (run, 5, 1 << 19, AllocError::NoMemory),
        (run, 4, 6, AllocError::InvalidParam),
        (run + PAGE, 4, 6, AllocError::NotAllocated),
        (run + 1, 5, 6, AllocError::InvalidParam),
        (0x1000, 1, 2, AllocError::NotFound),
    ] {
        // SAFETY: refused.
        let refused = unsafe { frames.grow_pages(addr, count, new_count) };
        assert_eq!(refused, Err(error), "{addr:#x}, {count} to {new_count}");
    }
    // SAFETY: ours.
    assert_eq!(unsafe { frames.dealloc_pages(run, 5) }, Ok(()));
    rig.is_recovered();
}

#[test]
fn a_wrong_growth_is_refused_as_such_without_memory() {
    let rig = Rig::new(4 << 20);
    let frames = rig.global.frames();
    let run = frames.alloc_pages_exact(5, 0).expect("enough memory");
    let pages: Vec<usize> = core::iter::from_fn(|| frames.alloc_pages(1, 0).ok()).collect();
    for (addr, count, new_count, error) in [
        (run, 5, 6, AllocError::NoMemory),
        (run, 4, 600, AllocError::InvalidParam),
        (run + PAGE, 4, 600, AllocError::NotAllocated),
    ] {
        // SAFETY: refused.
        let refused = unsafe { frames.grow_pages(addr, count, new_count) };
        assert_eq!(refused, Err(error), "{addr:#x}, {count} to {new_count}");
    }
    // SAFETY: ours; they stay as many as they are, which takes nothing.
    assert_eq!(unsafe { frames.grow_pages(run, 5, 5) }, Ok(()));
    // SAFETY: ours.
    assert_eq!(unsafe { frames.dealloc_pages(run, 5) }, Ok(()));
    for page in pages {
        // SAFETY: ours.
        assert_eq!(unsafe { frames.dealloc_pages(page, 1) }, Ok(()));
    }
    rig.is_recovered();
}

#[test]
fn wrong_shrinks_are_refused() {
    let rig = Rig::new(4 << 20);
    let frames = rig.global.frames();
    let run = frames.alloc_pages_exact(5, 0).expect("enough memory");
    let block = frames.alloc_pages(8, 0).expect("enough memory");
    for (addr, count, new_count, error) in [
        (run, 5, 0, AllocError::InvalidParam),
        (run, 5, 6, AllocError::InvalidParam),
        (run, 6, 2, AllocError::InvalidParam),
        (block, usize::MAX, 2, AllocError::InvalidParam),
        (block, 3, 2, AllocError::InvalidParam),
        (block + 8, 8, 2, AllocError::InvalidParam),
        (block + PAGE, 7, 2, AllocError::NotAllocated),
        (run + 4 * PAGE, 1, 1, AllocError::NotAllocated),
        (0x1000, 1, 1, AllocError::NotFound),
    ] {
        // SAFETY: refused.
        let refused = unsafe { frames.shrink_pages(addr, count, new_count) };
        assert_eq!(refused, Err(error), "{addr:#x}, {count} to {new_count}");
    }
    // SAFETY: ours.
    assert_eq!(unsafe { frames.dealloc_pages(run, 5) }, Ok(()));
    // SAFETY: ours.
    assert_eq!(unsafe { frames.dealloc_pages(block, 8) }, Ok(()));
    rig.is_recovered();
}

#[test]
fn a_realloc_that_fails_leaves_everything_as_it_was() {
    let rig = Rig::new(1 << 20);
    let old = layout(3000, 8);
    let ptr = rig.global.alloc(old).expect("enough memory");
    // SAFETY: the memory is ours.
    unsafe { ptr.write_bytes(0x77, 3000) };
    // SAFETY: allocated for `old`.
    let refused = unsafe { rig.global.realloc(ptr, old, layout(1 << 21, 8)) };
    assert_eq!(refused, Err(AllocError::NoMemory));
    // SAFETY: still ours.
    let kept = unsafe { core::slice::from_raw_parts(ptr.as_ptr(), 3000) };
    assert!(kept.iter().all(|byte| *byte == 0x77));
    assert_eq!(rig.free(ptr, old), Ok(()));
    rig.is_recovered();
}

#[test]
fn zeroed_pages_are_zero_whatever_way_they_are_asked_for() {
    let rig = Rig::new(1 << 20);
    for request in [
        PageRequest::new(1).zeroed(),
        PageRequest::new(5).exact().zeroed(),
        PageRequest::new(5).zeroed(),
    ] {
        let bytes = request.check::<PAGE>().expect("a valid request").count * PAGE;
        for _ in 0..3 {
            let addr = rig.global.allocate(&request).expect("enough memory");
            let start = core::ptr::with_exposed_provenance_mut::<u8>(addr);
            // SAFETY: ours, and initialised.
            let pages = unsafe { core::slice::from_raw_parts_mut(start, bytes) };
            assert!(pages.iter().all(|byte| *byte == 0));
            pages.fill(0xff);
            // SAFETY: ours.
            let freed = unsafe { rig.global.dealloc_pages(addr, bytes / PAGE) };
            assert_eq!(freed, Ok(()));
        }
    }
    rig.is_recovered();
}
