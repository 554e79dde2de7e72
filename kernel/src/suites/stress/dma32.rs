//! Low memory, wanted by everybody.

use twinframe::PageRequest;

use super::live_set::LiveSet;
use super::page_churn::below;
use super::worker::Worker;

/// Blocks that each CPU holds.
const LIVE: usize = 400;

/// The last addresses of the two lower zones.
const LAST: [u64; 2] = [(1 << 32) - 1, (16 << 20) - 1];

pub(super) fn work(worker: &mut Worker<'_>) {
    let mut low = LiveSet::new(LIVE);
    let mut any = LiveSet::new(LIVE / 8);
    while worker.goes_on() {
        let last = LAST[usize::from(worker.one_in(4))];
        let highest = worker.random.u32(..=10);
        let count = 1 << worker.random.u32(..=highest);
        let request = PageRequest::new(count).max_phys(last);
        match below(worker, count, &request, last) {
            Some(block) => low.insert(worker, block),
            // It has run out: half of it comes back.
            None => low.thin_out(worker),
        }
        // Those who do not care where their pages lie leave low memory alone as long as they can.
        match worker.take_pages(4, &PageRequest::new(4)) {
            Some(block) => any.insert(worker, block),
            None => any.free_one(worker),
        }
    }
    low.clear(worker);
    any.clear(worker);
}
