//! Mistakes on purpose, so that the host can show that a stress finds them, and how it tells.

use core::alloc::Layout;

use twinframe::PageRequest;
use x86_64::instructions::interrupts;

use super::block::Block;
use super::worker::Worker;
use crate::memory::HEAP;

/// Somebody else writes into a live block, which an allocator that gives memory out twice would bring about.
pub(super) fn write(worker: &mut Worker<'_>) {
    if let Some(block) = worker.take(Layout::new::<[u64; 8]>()) {
        // SAFETY: inside of the block.
        let word = unsafe { block.memory.cast::<u64>().add(5) };
        // SAFETY: as above; the pattern is another one, which is the point.
        unsafe { word.write_volatile(0xbad) };
        worker.free(block);
    }
}

/// A block is forgotten.
pub(super) fn leak(worker: &mut Worker<'_>) {
    let _forgotten = worker.take(Layout::new::<[u64; 8]>());
}

/// A block is freed twice.
pub(super) fn free_twice(worker: &mut Worker<'_>) {
    // Else a handler may have it in between.
    interrupts::without_interrupts(|| {
        if let Some(block) = worker.take_pages(1, &PageRequest::new(1)) {
            let again = Block { ..block };
            worker.free(block);
            worker.free(again);
        }
    });
}

/// A page is gone that is in nobody's account.
pub(super) fn lose(_: &mut Worker<'_>) {
    let _lost = HEAP.alloc_pages(1, 0);
}
