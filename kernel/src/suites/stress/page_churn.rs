//! Blocks of pages of every order, from every zone.

use twinframe::PageRequest;

use super::block::Block;
use super::live_set::LiveSet;
use super::worker::Worker;

/// Blocks that each CPU holds.
const LIVE: usize = 60;

/// The last address of the DMA zone.
const DMA_LAST: u64 = (16 << 20) - 1;

pub(super) fn work(worker: &mut Worker<'_>) {
    let mut live = LiveSet::new(LIVE);
    while worker.goes_on() {
        if worker.one_in(3) {
            live.free_one(worker);
            continue;
        }
        match any(worker) {
            Some(block) => live.insert(worker, block),
            None => live.free_one(worker),
        }
    }
    live.clear(worker);
}

/// Pages of a random order, small ones more often, of a random kind.
pub(super) fn any(worker: &mut Worker<'_>) -> Option<Block> {
    let highest = worker.random.u32(0..=10);
    let order = worker.random.u32(0..=highest);
    let count = 1_usize << order;
    let request = PageRequest::new(count);
    match worker.random.u32(..8) {
        0 => below(worker, count, &request.lowmem(), (1 << 32) - 1),
        1 => below(worker, count, &request.max_phys(DMA_LAST), DMA_LAST),
        2 => {
            let align = 4096 << worker.random.u32(0..=9);
            let block = worker.take_pages(count, &request.align(align))?;
            if !block.address().is_multiple_of(align) {
                worker.fail(&block, format_args!("not aligned to {align:#x}"));
            }
            Some(block)
        }
        3 => {
            let count = worker.random.usize(1..=count);
            worker.take_pages(count, &PageRequest::new(count).exact())
        }
        _ => worker.take_pages(count, &request),
    }
}

/// Pages none of which may have a physical address above `last`.
pub(super) fn below(
    worker: &mut Worker<'_>,
    count: usize,
    request: &PageRequest,
    last: u64,
) -> Option<Block> {
    let block = worker.take_pages(count, request)?;
    let start = crate::arch::translate::virt_to_phys(block.address());
    let end = start.map(|start| start + block.bytes() as u64 - 1);
    if end.is_none_or(|end| end > last) {
        worker.fail(&block, format_args!("ends at {end:x?}, above {last:#x}"));
    }
    Some(block)
}
