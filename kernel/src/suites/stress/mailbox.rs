//! Blocks on their way from one CPU to another.

use alloc::vec::Vec;

use spin::mutex::SpinMutex;

use super::block::Block;

/// Blocks that wait at one CPU at most.
pub(super) const CAPACITY: usize = 64;

/// A box for each CPU. Nobody waits for one: posting to a box that is full or in use fails, and so does
/// taking from one.
pub(super) struct Mailboxes(Vec<SpinMutex<Vec<Block>>>);

impl Mailboxes {
    pub(super) fn new(cpus: usize) -> Self {
        let empty = |_| SpinMutex::new(Vec::with_capacity(CAPACITY));
        Self((0..cpus).map(empty).collect())
    }

    /// Leaves a block at CPU `to`, or gives it back.
    pub(super) fn post(&self, to: usize, block: Block) -> Result<(), Block> {
        match self.0[to].try_lock() {
            Some(mut waiting) if waiting.len() < CAPACITY => {
                waiting.push(block);
                Ok(())
            }
            _ => Err(block),
        }
    }

    /// Takes a block that waits at CPU `at`.
    pub(super) fn take(&self, at: usize) -> Option<Block> {
        self.0[at].try_lock()?.pop()
    }

    /// Everything that waits anywhere. Nobody posts any more.
    pub(super) fn rest(&self) -> impl Iterator<Item = Block> {
        self.0
            .iter()
            .flat_map(|waiting| core::mem::take(&mut *waiting.lock()))
    }
}
