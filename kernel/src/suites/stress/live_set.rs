//! The blocks that a worker holds at a time.

use alloc::vec::Vec;

use super::block::Block;
use super::worker::Worker;

/// Up to so many blocks; what is too many goes, at random.
pub(super) struct LiveSet {
    blocks: Vec<Block>,
    most: usize,
}

impl LiveSet {
    /// Room for `most` blocks. This is the only time it allocates: from others that may have taken all memory
    /// already, and give it back.
    pub(super) fn new(most: usize) -> Self {
        let mut blocks = Vec::new();
        while blocks.try_reserve_exact(most).is_err() {
            core::hint::spin_loop();
        }
        Self { blocks, most }
    }

    pub(super) const fn len(&self) -> usize {
        self.blocks.len()
    }

    pub(super) const fn is_full(&self) -> bool {
        self.blocks.len() == self.most
    }

    /// Puts a block in; if there is no room, a random one leaves for it, and is freed.
    pub(super) fn insert(&mut self, worker: &mut Worker<'_>, block: Block) {
        if self.is_full() {
            self.free_one(worker);
        }
        self.blocks.push(block);
    }

    /// Takes a random one out.
    pub(super) fn take(&mut self, worker: &mut Worker<'_>) -> Option<Block> {
        if self.blocks.is_empty() {
            return None;
        }
        let index = worker.random.usize(..self.blocks.len());
        Some(self.blocks.swap_remove(index))
    }

    /// Frees a random one.
    pub(super) fn free_one(&mut self, worker: &mut Worker<'_>) {
        if let Some(block) = self.take(worker) {
            worker.free(block);
        }
    }

    /// Frees every other one, in the order in which they came.
    pub(super) fn thin_out(&mut self, worker: &mut Worker<'_>) {
        let mut odd = false;
        let going = self.blocks.extract_if(.., |_| {
            odd = !odd;
            odd
        });
        for block in going {
            worker.free(block);
        }
    }

    /// Looks at all of them.
    pub(super) fn check(&self, worker: &Worker<'_>) {
        for block in &self.blocks {
            worker.check(block);
        }
    }

    /// Frees all, the newest first.
    pub(super) fn clear(&mut self, worker: &mut Worker<'_>) {
        while let Some(block) = self.blocks.pop() {
            worker.free(block);
        }
    }
}
