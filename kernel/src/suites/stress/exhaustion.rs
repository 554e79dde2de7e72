//! Until nothing is left, and back.

use core::alloc::Layout;

use twinframe::{MAX_ORDER, PageRequest, ZoneInfo};

use super::live_set::LiveSet;
use super::worker::Worker;
use crate::memory::HEAP;

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
    let mut limit = MAX_ORDER;
    while !live.is_full() && worker.goes_on() {
        let largest = HEAP
            .buddyinfo()
            .zones()
            .filter_map(ZoneInfo::largest_order)
            .max();
        // With nothing left, the smallest is asked for all the same: that is the point.
        let order = largest.unwrap_or(0).min(limit);
        match worker.take_pages(1 << order, &PageRequest::new(1 << order)) {
            Some(block) => live.insert(worker, block),
            // What is left is the reserve of the lower zones.
            None if order == 0 => break,
            None => limit = order - 1,
        }
    }
    while !live.is_full()
        && worker.goes_on()
        && let Some(block) = worker.take_pages(1, &PageRequest::new(1).lowmem())
    {
        live.insert(worker, block);
    }
}

/// Takes objects of some sizes until there are none, or the set is full.
fn take_objects(worker: &mut Worker<'_>, live: &mut LiveSet) {
    for size in [2048, 192, 16] {
        let Ok(layout) = Layout::from_size_align(size, 8) else {
            return;
        };
        while !live.is_full()
            && worker.goes_on()
            && let Some(object) = worker.take(layout)
        {
            live.insert(worker, object);
        }
    }
}
