//! Moving the end of an allocation while its beginning stays in use.

use super::cache::BATCH;
use super::frame::{Blocks, Order, Pfn};
use super::frontier::Refusal;
use super::section::{Section, SectionRef};
use super::shared::{FrameAllocator, Tree};
use super::state::{Kind, PageState};
use crate::{AllocError, AllocResult, Platform};

impl<P: Platform, const PAGE_SIZE: usize> FrameAllocator<P, PAGE_SIZE> {
    /// Frees all but the first `new_count` of the `count` pages that were allocated at `addr`. From
    /// then on they are an allocation of exactly `new_count` pages.
    ///
    /// Takes the lock of the tree, for a time that grows with the number of blocks that the
    /// allocation consists of: at most twice the order.
    ///
    /// # Errors
    ///
    /// As [`dealloc_pages`](Self::dealloc_pages) for `addr` and `count`; `InvalidParam` also unless
    /// `0 < new_count <= count`.
    ///
    /// # Safety
    ///
    /// The caller owns the pages, and nobody uses those that are freed any more.
    pub unsafe fn shrink_pages(&self, addr: usize, count: usize, new_count: usize) -> AllocResult {
        if new_count == 0 || new_count > count {
            return Err(AllocError::InvalidParam);
        }
        let mut tree = self.tree.0.lock();
        let (section, pfn) = self.locate(&tree, addr)?;
        tree.arrivals += 1;
        tree.zones.shrink(section, pfn, count, new_count)
    }

    /// Makes the `count` pages that were allocated at `addr` an allocation of exactly `new_count` pages,
    /// if those behind it are free, and in their zone more than its reserve. Up to 32 blocks behind it may be in
    /// this CPU's caches.
    ///
    /// Takes the lock of the tree, for a time that grows with the number of blocks that the two
    /// allocations consist of, at most four times the order, and of those in caches.
    ///
    /// # Errors
    ///
    /// As [`dealloc_pages`](Self::dealloc_pages) for `addr` and `count`; `InvalidParam` also for a
    /// `new_count` below the number of pages allocated, or above the largest block; `NoMemory` if the
    /// pages behind are not to be had.
    ///
    /// # Safety
    ///
    /// The caller owns the pages.
    pub unsafe fn grow_pages(&self, addr: usize, count: usize, new_count: usize) -> AllocResult {
        if new_count > Order::MAX.pages() {
            return Err(AllocError::InvalidParam);
        }
        let pressure = self.in_steps(|tree| {
            let (section, pfn) = self.locate(tree, addr)?;
            // A wrong call is told that it is one, however little memory there is.
            let pages = section.allocation(pfn, count)?;
            let more = new_count
                .checked_sub(pages)
                .ok_or(AllocError::InvalidParam)?;
            let Some(order) = Order::covering(more) else {
                return Ok(None);
            };
            if tree.closing == Some(section) {
                return Err(AllocError::NoMemory);
            }
            let grown = tree.zones.grow(section, pfn, pages, more);
            if grown == Err(AllocError::NoMemory)
                && tree.zones.far.is_none()
                && self.uncache(tree, section, pfn.add(pages), pfn.add(pages + more))
            {
                tree.zones.grow(section, pfn, pages, more)?;
            } else {
                grown?;
            }
            Ok(tree.zones.pressure(section.zone(), order))
        })?;
        self.tell(pressure);
        Ok(())
    }

    /// Gives back what of `first..limit` lies in this CPU's caches, if that is at most a batch of blocks and all else is
    /// free; says whether there was something.
    #[cold]
    fn uncache(
        &self,
        tree: &mut Tree<PAGE_SIZE>,
        section: SectionRef,
        first: Pfn,
        limit: Pfn,
    ) -> bool {
        if limit > section.limit() {
            return false;
        }
        let mut cached = [(0, Order::ZERO); BATCH];
        let mut found = 0;
        let mut at = first;
        // Above the frontier all is free.
        while at < limit.min(section.frontier()) {
            let state = section.state(at);
            if state.kind() == Kind::Cached {
                let block = (section.addr::<PAGE_SIZE>(at), state.order());
                if found == BATCH || !self.has_own(block.0, block.1) {
                    return false;
                }
                cached[found] = block;
                found += 1;
                at = at.add(state.order().pages());
            } else if let Some((start, order)) = section.covering(at, Order::ZERO) {
                at = start.add(order.pages());
            } else {
                return false;
            }
        }
        for (addr, order) in &cached[..found] {
            self.give_back_own(tree, *addr, *order);
        }
        found != 0
    }

    /// Whether [`dealloc_pages`](Self::dealloc_pages) would take this.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn check(&self, addr: usize, count: usize) -> AllocResult {
        let tree = self.tree.0.lock();
        let (section, pfn) = self.locate(&tree, addr)?;
        section.allocation(pfn, count).map(|_| ())
    }
}

impl Section {
    /// How many pages the allocation at `pfn` has, if a free with `count` would be accepted.
    fn allocation(&self, pfn: Pfn, count: usize) -> AllocResult<usize> {
        let state = self.state(pfn);
        match state.kind() {
            Kind::Block if Order::covering(count) == Some(state.order()) => {
                Ok(state.order().pages())
            }
            Kind::Run if self.run_pages(pfn) == count => Ok(count),
            Kind::Block | Kind::Run => Err(AllocError::InvalidParam),
            Kind::Nothing | Kind::RunTail | Kind::Slab | Kind::Cached | Kind::Internal => {
                Err(AllocError::NotAllocated)
            }
        }
    }

    /// Keeps the first `new_count` pages of the allocation at `pfn`, and returns how many went.
    pub(super) fn shrink(&self, pfn: Pfn, count: usize, new_count: usize) -> AllocResult<usize> {
        let pages = self.allocation(pfn, count)?;
        let (limit, end) = (pfn.add(new_count), pfn.add(pages));
        // The blocks of a shorter run begin elsewhere.
        self.unmark(pfn, end);
        self.mark(pfn, limit);
        for (pfn, order) in Blocks::new(limit, end, self.max_order()) {
            self.put_block(pfn, order);
        }
        Ok(pages - new_count)
    }

    /// Makes the allocation of `pages` pages at `pfn` so many `more`, at least one.
    pub(super) fn grow(&self, pfn: Pfn, pages: usize, more: usize) -> Result<(), Refusal> {
        let (end, limit) = (pfn.add(pages), pfn.add(pages + more));
        if limit > self.limit() {
            return Err(Refusal::Taken);
        }
        self.take_at(end, limit)?;
        self.unmark(pfn, limit);
        self.mark(pfn, limit);
        Ok(())
    }

    /// Forgets where the blocks of allocations begin that fill `first..limit`.
    fn unmark(&self, first: Pfn, limit: Pfn) {
        let mut at = first;
        while at < limit {
            let next = at.add(self.state(at).order().pages());
            self.set_state(at, PageState::NOTHING);
            at = next;
        }
    }
}
