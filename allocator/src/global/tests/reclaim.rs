//! Whom the callback hears of.

use core::cell::RefCell;
use core::ptr::NonNull;
use std::boxed::Box;
use std::vec::Vec;

use super::{PAGE, Rig, layout};
use crate::traits::PageAllocator;
use crate::{AllocError, PageRequest, ReclaimRequest, SizeClass, Urgency, Watermarks, Zone};

std::thread_local! {
    static CALLS: RefCell<Vec<Urgency>> = const { RefCell::new(Vec::new()) };
}

fn note(request: &ReclaimRequest) -> usize {
    CALLS.with_borrow_mut(|calls| calls.push(request.urgency));
    0
}

fn calls(urgency: Urgency) -> usize {
    CALLS.with_borrow(|calls| calls.iter().filter(|call| **call == urgency).count())
}

fn rig() -> Rig {
    CALLS.take();
    let rig = Rig::new(1024 * PAGE);
    let marks = Watermarks {
        min: 64,
        low: 256,
        high: 512,
    };
    let frames = rig.global.frames();
    frames
        .set_watermarks(Zone::Normal, marks)
        .expect("in order");
    frames.set_reclaim(Some(note));
    rig
}

#[test]
fn whatever_takes_pages_tells_of_low_memory_once_and_of_little_each_time() {
    type Take = fn(&Rig) -> Result<(), AllocError>;
    let ways: [Take; 4] = [
        |rig| rig.global.alloc(layout(2048, 8)).map(|_| ()),
        |rig| rig.global.alloc(layout(8 * PAGE, 8)).map(|_| ()),
        |rig| rig.global.alloc_pages(1, 0).map(|_| ()),
        |rig| rig.global.allocate(&PageRequest::new(3)).map(|_| ()),
    ];
    for take in ways {
        let rig = rig();
        let frames = rig.global.frames();
        let free = || frames.buddyinfo().zone(Zone::Normal).free_pages;
        while free() >= 256 {
            assert_eq!(calls(Urgency::Low), 0);
            take(&rig).expect("there is memory");
        }
        // The last page may have been one for the allocator's own state.
        while calls(Urgency::Low) == 0 {
            take(&rig).expect("there is memory");
            assert!(free() > 200);
        }
        while free() >= 64 {
            assert_eq!(calls(Urgency::Min), 0);
            take(&rig).expect("there is memory");
        }
        loop {
            let (left, told) = (free(), calls(Urgency::Min));
            let taken = take(&rig);
            assert!(free() >= left || taken.is_err() || calls(Urgency::Min) > told);
            if taken.is_err() {
                break;
            }
            assert_eq!(calls(Urgency::Failing), 0);
        }
        assert_ne!(calls(Urgency::Min), 0);
        assert_eq!(calls(Urgency::Low), 1);
        assert_eq!(calls(Urgency::Failing), 1);
    }
}

#[test]
fn growing_where_it_is_tells_of_low_memory() {
    let rig = rig();
    let frames = rig.global.frames();
    // What is left of the block lies behind it, wherever the block is.
    let request = PageRequest::new(200).exact();
    let addr = frames.allocate(&request).expect("there is memory");
    let free = frames.buddyinfo().zone(Zone::Normal).free_pages;
    let marks = Watermarks {
        min: 0,
        low: free,
        high: free,
    };
    frames
        .set_watermarks(Zone::Normal, marks)
        .expect("in order");
    // SAFETY: the pages are the test's.
    unsafe { frames.grow_pages(addr, 200, 250) }.expect("all else is free");
    assert_eq!(calls(Urgency::Low), 1);
}

#[test]
fn pages_behind_free_objects_are_used_before_the_callback_is_asked() {
    let rig = rig();
    let objects: Vec<_> = (0..1000)
        .map(|_| rig.global.alloc(layout(2048, 8)).expect("there is memory"))
        .collect();
    for object in objects {
        rig.free(object, layout(2048, 8)).expect("allocated above");
    }
    let slabs = || rig.global.slabinfo().class(SizeClass::Bytes2048).slabs;
    assert_ne!(slabs(), 0);
    CALLS.take();
    while rig.global.alloc_pages(1, 0).is_ok() {
        assert_eq!(calls(Urgency::Failing), 0);
    }
    assert_eq!(calls(Urgency::Failing), 1);
    assert_eq!(slabs(), 0);
}

#[test]
fn pages_at_an_address_are_had_behind_free_objects() {
    let rig = Rig::new(256 * PAGE);
    let object = rig.global.alloc(layout(2048, 8)).expect("enough memory");
    let page = object.addr().get() / PAGE * PAGE;
    let mut pages = &rig.global;
    assert_eq!(pages.alloc_pages_at(page, 1, 0), Err(AllocError::NoMemory));
    rig.free(object, layout(2048, 8)).expect("allocated above");
    assert_eq!(pages.alloc_pages_at(page, 1, 0), Ok(page));
}

#[test]
fn objects_that_the_callback_frees_are_pages_for_whoever_asks() {
    std::thread_local! {
        static KEPT: RefCell<Option<(Rig, Vec<NonNull<u8>>)>> = const { RefCell::new(None) };
    }
    fn give(request: &ReclaimRequest) -> usize {
        if request.urgency != Urgency::Failing {
            return 0;
        }
        KEPT.with_borrow(|kept| {
            let (rig, kept) = kept.as_ref().unwrap();
            kept.iter()
                .for_each(|object| rig.free(*object, layout(2048, 8)).unwrap());
        });
        0
    }
    type Ask = fn(&Rig) -> bool;
    let asks: [Ask; 3] = [
        |rig| rig.global.alloc_pages(4, 0).is_ok(),
        |rig| rig.global.allocate(&PageRequest::new(4).zeroed()).is_ok(),
        |rig| rig.global.alloc(layout(64, 8)).is_ok(),
    ];
    for ask in asks {
        let rig = Rig::new(256 * PAGE);
        let object = |size| rig.global.alloc(layout(size, 8));
        let kept = (0..100).map_while(|_| object(2048).ok()).collect();
        while rig.global.alloc_pages(1, 0).is_ok() {}
        while object(64).is_ok() {}
        assert!(!ask(&rig));
        rig.global.frames().set_reclaim(Some(give));
        KEPT.set(Some((rig, kept)));
        assert!(KEPT.with_borrow(|kept| ask(&kept.as_ref().unwrap().0)));
    }
}

/// One object for one call: it is in this CPU's magazine then, and no page.
#[test]
fn the_callback_is_not_asked_again_when_it_has_freed_the_object() {
    type Kept = (&'static Rig, Vec<NonNull<u8>>);
    std::thread_local! {
        static KEPT: RefCell<Option<Kept>> = const { RefCell::new(None) };
    }
    fn give_one(request: &ReclaimRequest) -> usize {
        note(request);
        if request.urgency != Urgency::Failing {
            return 0;
        }
        KEPT.with_borrow_mut(|kept| {
            let (rig, kept) = kept.as_mut().unwrap();
            let object = kept.pop();
            object.map_or(0, |object| {
                rig.free(object, layout(2048, 8)).unwrap();
                1
            })
        })
    }
    let rig: &'static Rig = Box::leak(Box::new(Rig::new(256 * PAGE)));
    let kept = core::iter::from_fn(|| rig.global.alloc(layout(2048, 8)).ok()).collect();
    rig.global.frames().set_reclaim(Some(give_one));
    KEPT.set(Some((rig, kept)));
    CALLS.take();
    let taken = rig.global.alloc(layout(2048, 8));
    assert!(taken.is_ok());
    assert_eq!(calls(Urgency::Failing), 1);
}
