//! A section that leaves and comes back under load.

use twinframe::AllocError;

use super::live_set::LiveSet;
use super::pattern::Pattern;
use super::worker::Worker;
use super::{mixed, page_churn};
use crate::memory::HEAP;

/// Blocks that each CPU holds while a section is to leave: few, for a section with one of them stays.
const LIVE: usize = 16;

/// The boot CPU removes and adds, the others allocate. One that is alone does both in turn.
pub(super) fn work(worker: &mut Worker<'_>) {
    let mut live = LiveSet::new(LIVE);
    let section = removable();
    while worker.goes_on() {
        if worker.cpu() == 0 && (worker.cpus() > 1 || worker.one_in(16)) {
            live.clear(worker);
            if let Some(section) = section {
                cycle(worker, section);
            }
            continue;
        }
        let block = if worker.one_in(2) {
            page_churn::any(worker)
        } else {
            mixed::any(worker)
        };
        match block {
            Some(block) => live.insert(worker, block),
            None => live.clear(worker),
        }
        if worker.one_in(8) {
            live.clear(worker);
        }
    }
    live.clear(worker);
}

/// An address in a section that can leave: not in the first that was added, which holds the heap's own state.
fn removable() -> Option<usize> {
    HEAP.managed_section(1).map(|section| section.start)
}

/// Removes the section at `address`, uses its memory, and adds it again, unless pages of it are out.
fn cycle(worker: &mut Worker<'_>, address: usize) {
    let range = match HEAP.remove_section(address) {
        Ok(range) => range,
        Err(AllocError::Busy(pages)) => {
            if pages == 0 {
                worker.fail_at(address, 0, 0, format_args!("a section busy with nothing"));
            }
            return;
        }
        Err(error) => worker.fail_at(address, 0, 0, format_args!("a section: {error}")),
    };
    let pattern = Pattern::new(worker.cpu(), 0);
    let memory = core::ptr::with_exposed_provenance_mut::<u8>(range.start);
    // SAFETY: the heap has given this memory up.
    unsafe { pattern.fill(memory, range.len()) };
    // Time for everybody to find out.
    for _ in 0..50 {
        if let Some(block) = mixed::any(worker) {
            if range.contains(&block.address()) {
                worker.fail(&block, format_args!("in a section that has left"));
            }
            worker.free(block);
        }
    }
    // SAFETY: as above.
    let intact = unsafe { pattern.check(memory, range.len(), range.len()) };
    if let Err(damage) = intact {
        let place = range.start + damage.offset;
        let what = format_args!("the section at {:#x} has left, but {damage}", range.start);
        worker.fail_at(place, 8, worker.cpu(), what);
    }
    // SAFETY: as above.
    let memory = unsafe { core::slice::from_raw_parts_mut(memory, range.len()) };
    // SAFETY: it goes back to the heap for good.
    let added = unsafe { HEAP.add_region(memory) };
    if let Err(error) = added {
        let what = format_args!("a section cannot come back: {error}");
        worker.fail_at(range.start, range.len(), worker.cpu(), what);
    }
}
