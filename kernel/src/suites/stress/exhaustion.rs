//! Until nothing is left, and back.

use core::alloc::Layout;

use twinframe::{MAX_ORDER, PageRequest};

use super::live_set::LiveSet;
use super::worker::Worker;

/// Blocks that a CPU can hold: more than it takes to have all memory, the largest blocks first.
const MOST: usize = 700;

pub(super) fn work(worker: &mut Worker<'_>) {
    let mut live = LiveSet::new(MOST);
    while worker.goes_on() {
        take_pages(worker, &mut live);
        take_objects(worker, &mut live);
        live.check(worker);
        live.thin_out(worker);
        // What has just become free can be had again.
        take_objects(worker, &mut live);
        live.clear(worker);
    }
}

/// Takes blocks, the largest first, until there are none.
fn take_pages(worker: &mut Worker<'_>, live: &mut LiveSet) {
    for order in (0..=MAX_ORDER).rev() {
        let count = 1 << order;
        while !live.is_full()
            && let Some(block) = worker.take_pages(count, &PageRequest::new(count))
        {
            live.insert(worker, block);
            worker.goes_on();
        }
    }
    // The reserve of the lower zones.
    while !live.is_full()
        && let Some(block) = worker.take_pages(1, &PageRequest::new(1).lowmem())
    {
        live.insert(worker, block);
    }
}

/// Takes objects of all sizes until there are none, or the set is full.
fn take_objects(worker: &mut Worker<'_>, live: &mut LiveSet) {
    for shift in (3..=11).rev() {
        let Ok(layout) = Layout::from_size_align(1 << shift, 8) else {
            return;
        };
        while !live.is_full()
            && let Some(object) = worker.take(layout)
        {
            live.insert(worker, object);
            worker.goes_on();
        }
    }
}
