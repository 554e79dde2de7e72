//! How far the metadata of a section has come, and moving on.
//!
//! The metadata of a chunk is 22 KiB that have to be cleared (for pages of 4 KiB). An ordinary block needs one chunk or two. A large block, one
//! aligned to much, and pages at a given address may lie behind any number of chunks, and whoever holds a lock cannot
//! clear them all. So such a request is refused as [`Far`](Refusal::Far): its caller [advances](Section::advance) by
//! a chunk, may let go of the lock, and tries again. The pages of those chunks stay untouched ones until a request reaches
//! them, so that nobody else is tempted to cut the block meanwhile.

use super::frame::{Blocks, Order, Pfn};
use super::section::{CHUNK, Section, SectionRef};
use super::zones::Zones;
use crate::AllocError;

/// Chunks whose metadata is set up at once, for a request that needs it: the block of a chunk's size in a section that begins
/// inside another chunk takes two.
const AT_ONCE: usize = 2;

/// Why a section does not give pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// There are no such pages, or they are not free.
    Taken,
    /// They may be free, but more metadata has to be set up than is done at once. No block of a chunk's size or less is far.
    Far,
}

impl Section {
    /// Where a block of `order` would begin that needs pages above the frontier and is free.
    pub(super) fn untouched_block(&self, order: Order) -> Option<Pfn> {
        let frontier = self.frontier();
        if frontier < self.limit() && self.completes(order) {
            return Some(frontier.block(order));
        }
        frontier
            .next_block(order)
            .filter(|start| *start < self.limit() && self.limit().since(*start) >= order.pages())
    }

    /// Would the free pages just below the frontier and the untouched ones above it make a block of
    /// `order` together? Only blocks larger than a chunk cross the frontier.
    pub(super) fn completes(&self, order: Order) -> bool {
        let frontier = self.frontier();
        let start = frontier.block(order);
        order > CHUNK
            && order <= self.max_order()
            && start != frontier
            && self.first() <= start
            && start < self.limit()
            && self.limit().since(start) >= order.pages()
            && Blocks::new(start, frontier, self.max_order())
                .all(|(pfn, order)| self.tree().contains(pfn, order))
    }

    /// Moves the frontier to `end` or above, which is a page's end in this section, unless that is far. The pages it moves
    /// over become free blocks.
    pub(super) fn extend_to(&self, end: Pfn) -> Result<(), Refusal> {
        let from = self.frontier();
        if end <= from {
            return Ok(());
        }
        if self.prepared().add(AT_ONCE * CHUNK.pages()) < end {
            return Err(Refusal::Far);
        }
        while self.prepared() < end {
            self.prepare_chunk();
        }
        let to = self.chunk_end(end);
        self.move_frontier(to);
        for (pfn, order) in Blocks::new(from, to, self.max_order()) {
            self.tree().merge(pfn, order, self.max_order());
        }
        Ok(())
    }

    /// Sets up the metadata of one more chunk, for a request that was refused as far.
    pub(super) fn advance(&self) {
        if self.prepared() < self.limit() {
            self.prepare_chunk();
        }
    }

    /// The end of the chunk that the page before `end` is in.
    pub(super) fn chunk_end(&self, end: Pfn) -> Pfn {
        end.next_block(CHUNK)
            .map_or(self.limit(), |chunk| chunk.min(self.limit()))
    }
}

impl<const PAGE_SIZE: usize> Zones<PAGE_SIZE> {
    /// Sets up a part of the metadata for which the last call failed, if it did so because there was too much of it to be set up at
    /// once; says whether it did, so that the caller tries again.
    ///
    /// Between the two calls, a lock may be free.
    #[inline]
    #[must_use]
    pub(crate) fn advance(&mut self) -> bool {
        self.far
            .take()
            .inspect(|section| section.advance())
            .is_some()
    }

    /// What a refusal of `section` means; notes what [`advance`](Self::advance) needs to know.
    pub(super) fn refused(&mut self, section: SectionRef, refusal: Refusal) -> AllocError {
        if refusal == Refusal::Far {
            self.far = Some(section);
        }
        AllocError::NoMemory
    }
}
