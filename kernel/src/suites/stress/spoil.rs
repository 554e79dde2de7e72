//! Mistakes on purpose, so that the host can show that a stress finds them, and how it tells.

use core::alloc::Layout;

use super::worker::Worker;

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
