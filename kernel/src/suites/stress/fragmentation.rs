//! Memory in the smallest pieces, and what can be had from it.

use core::alloc::Layout;

use twinframe::PageRequest;

use super::live_set::LiveSet;
use super::worker::Worker;

/// Pages that all CPUs together cut up.
const PAGES: usize = 4096;

pub(super) fn work(worker: &mut Worker<'_>) {
    let share = PAGES / worker.cpus();
    let mut pages = LiveSet::new(share);
    let mut small = LiveSet::new(share);
    while worker.goes_on() {
        while !pages.is_full()
            && let Some(page) = worker.take_pages(1, &PageRequest::new(1))
        {
            pages.insert(worker, page);
            worker.goes_on();
        }
        pages.thin_out(worker);
        // Single pages and slabs fit into the holes; larger blocks do not, and come from elsewhere.
        let holes = pages.len() / 2;
        while small.len() < holes {
            let block = if worker.one_in(4) {
                let count = 1 << worker.random.u32(..4);
                worker.take_pages(count, &PageRequest::new(count))
            } else {
                object(worker)
            };
            let Some(block) = block else { break };
            small.insert(worker, block);
            worker.goes_on();
        }
        pages.thin_out(worker);
        small.thin_out(worker);
        pages.clear(worker);
        small.clear(worker);
        if worker.cpus() == 1 {
            whole_again(worker);
        }
    }
}

fn object(worker: &mut Worker<'_>) -> Option<super::block::Block> {
    let size = 1 << worker.random.u32(3..=12);
    worker.take(Layout::from_size_align(size, 8).ok()?)
}

/// What was cut up has grown together: there is at least one block as large as all of it.
fn whole_again(worker: &mut Worker<'_>) {
    let block = worker.take_pages(PAGES, &PageRequest::new(PAGES));
    if let Some(block) = block {
        worker.free(block);
    }
}
