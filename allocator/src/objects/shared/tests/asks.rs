//! What the reclaim callback is asked for when memory for objects runs out.

use core::cell::RefCell;
use std::boxed::Box;
use std::vec::Vec;

use super::{Rig, layout, on};
use crate::{ReclaimRequest, Urgency};

/// All memory in blocks of so many pages, of which the callback frees so many at a call.
struct Kept {
    rig: &'static Rig,
    blocks: Vec<usize>,
    count: usize,
    at_once: usize,
}

std::thread_local! {
    static KEPT: RefCell<Option<Kept>> = const { RefCell::new(None) };
}

fn give(request: &ReclaimRequest) -> usize {
    if request.urgency != Urgency::Failing {
        return 0;
    }
    KEPT.with_borrow_mut(|kept| {
        let kept = kept.as_mut().expect("set before");
        let left = kept.blocks.len().saturating_sub(kept.at_once);
        let given = kept.blocks.split_off(left);
        for addr in &given {
            // SAFETY: the pages are the test's.
            let freed = unsafe { kept.rig.global.dealloc_pages(*addr, kept.count) };
            assert_eq!(freed, Ok(()));
        }
        given.len() * kept.count
    })
}

/// A CPU's first object, for which there is no memory but what the callback gives.
fn is_served(cpu: usize, size: usize, count: usize, at_once: usize) -> bool {
    let rig: &'static Rig = Box::leak(Box::new(Rig::new(4)));
    on(0, || {
        // The state of this CPU.
        let object = rig.alloc(layout(64));
        assert_eq!(rig.free(object, layout(64)), Ok(()));
        rig.global.drain();
        let blocks = core::iter::from_fn(|| rig.global.alloc_pages(count, 0).ok()).collect();
        while rig.global.alloc_pages(1, 0).is_ok() {}
        KEPT.set(Some(Kept {
            rig,
            blocks,
            count,
            at_once,
        }));
    });
    rig.global.frames().set_reclaim(Some(give));
    on(cpu, || rig.global.alloc(layout(size)).is_ok())
}

#[test]
fn for_a_slab_and_the_page_that_describes_it() {
    for size in [8, 64, 2048] {
        for (count, at_once) in [(1, 1), (1, 3), (4, 1), (4, 100)] {
            assert!(is_served(0, size, count, at_once), "{size}: {count}");
        }
    }
}

#[test]
fn for_the_state_of_a_new_cpu() {
    for size in [8, 64, 2048] {
        for (count, at_once) in [(1, 16), (1, 256), (4, 1), (4, 100)] {
            assert!(is_served(1, size, count, at_once), "{size}: {count}");
        }
    }
}
