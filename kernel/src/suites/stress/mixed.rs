//! Mixed sizes, with a live set.

use core::alloc::Layout;

use twinframe::PageRequest;

use super::block::Block;
use super::live_set::LiveSet;
use super::worker::Worker;

/// Blocks that each CPU holds.
const LIVE: usize = 300;

pub(super) fn work(worker: &mut Worker<'_>) {
    let mut live = LiveSet::new(LIVE);
    while worker.goes_on() {
        let block = match worker.random.u32(..20) {
            0 => live.take(worker).and_then(|block| {
                let layout = any_layout(worker);
                worker.resize(block, layout)
            }),
            1..4 => {
                live.free_one(worker);
                None
            }
            _ => any(worker),
        };
        match block {
            Some(block) => live.insert(worker, block),
            // Perhaps memory ran out: make room.
            None => live.free_one(worker),
        }
    }
    live.check(worker);
    live.clear(worker);
}

/// An object, most of the time a small one, or a few pages.
pub(super) fn any(worker: &mut Worker<'_>) -> Option<Block> {
    match worker.random.u32(..16) {
        0 => {
            let count = 1 << worker.random.u32(..4);
            worker.take_pages(count, &PageRequest::new(count))
        }
        1 => {
            let layout = any_layout(worker);
            worker.take_zeroed(layout)
        }
        _ => {
            let layout = any_layout(worker);
            worker.take(layout)
        }
    }
}

/// Sizes whose logarithms are all as likely, from 1 byte to 8 KiB, and any alignment up to a page.
pub(super) fn any_layout(worker: &mut Worker<'_>) -> Layout {
    let limit = 1_usize << worker.random.u32(1..=13);
    let size = worker.random.usize(1..=limit);
    let align = if worker.one_in(4) {
        1 << worker.random.u32(3..=12)
    } else {
        8
    };
    Layout::from_size_align(size, align).unwrap_or(Layout::new::<u64>())
}
