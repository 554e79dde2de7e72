//! Objects that another CPU frees than the one that allocated them.

use core::alloc::Layout;

use super::block::Block;
use super::worker::Worker;

/// How many come in a row before what came from others is freed.
const BURST: usize = 16;

/// Each CPU passes its objects on to the next.
pub(super) fn ring(worker: &mut Worker<'_>) {
    let next = (worker.cpu() + 1) % worker.cpus();
    pass_on(worker, |_| next);
}

/// Each CPU passes every object on to a random one.
pub(super) fn all_to_all(worker: &mut Worker<'_>) {
    let cpus = worker.cpus();
    pass_on(worker, |worker| worker.random.usize(..cpus));
}

fn pass_on(worker: &mut Worker<'_>, to: impl Fn(&mut Worker<'_>) -> usize) {
    let own = worker.cpu();
    while worker.goes_on() {
        for _ in 0..BURST {
            if let Some(object) = object(worker) {
                let to = to(worker);
                worker.post(to, object);
            }
        }
        worker.collect(own, 2 * BURST);
    }
}

/// An object of any class, or now and then a page.
pub(super) fn object(worker: &mut Worker<'_>) -> Option<Block> {
    let limit = 1_usize << worker.random.u32(3..=11);
    let size = if worker.one_in(32) { 4096 } else { limit };
    worker.take(Layout::from_size_align(size, 8).ok()?)
}
