//! Taking blocks out of a section and giving them back: split and merge.

use super::frame::{Blocks, Order, Pfn};
use super::frontier::Refusal;
use super::request::Demand;
use super::section::Section;
use super::state::{Kind, PageState};
use crate::{AllocError, AllocResult};

impl Section {
    /// One more than the order of the largest block that can be had here; 0 if there is none.
    #[inline]
    pub(super) fn available(&self) -> u32 {
        u32::BITS - (self.tree().orders() | self.untouched.get()).leading_zeros()
    }

    /// Takes what `demand` asks for, from any address, if there is such a block; of a block that is
    /// larger, up to `most`. Returns how many pages that is.
    #[inline(always)]
    pub(super) fn take(&self, demand: &Demand, most: Order) -> Result<(Pfn, usize), Refusal> {
        match self.tree().smallest(demand.need) {
            Some(order) => Ok(self.carve(order, demand, most)),
            None => self.take_untouched(demand, most),
        }
    }

    /// Takes what `demand` asks for from pages that have never been used.
    #[cold]
    #[inline(never)]
    fn take_untouched(&self, demand: &Demand, most: Order) -> Result<(Pfn, usize), Refusal> {
        let next = self.untouched_block(demand.need).ok_or(Refusal::Taken)?;
        self.extend_to(next.add(demand.need.pages()))?;
        let order = self.tree().smallest(demand.need).ok_or(Refusal::Taken)?;
        Ok(self.carve(order, demand, most))
    }

    /// Takes what `demand` asks for from the frames below `demand.limit`.
    ///
    /// The lowest free block of every order is known, so no search is needed: if that one does not
    /// fit below the limit, none of its order does.
    pub(super) fn take_below(&self, demand: &Demand) -> Result<(Pfn, usize), Refusal> {
        let fits = |pfn: Pfn| pfn.add(demand.order.pages()) <= demand.limit;
        loop {
            let mut from = Some(demand.need);
            while let Some(order) = from.and_then(|from| self.tree().smallest(from)) {
                let pfn = self.tree().first(order);
                if fits(pfn) {
                    return Ok(self.carve(order, demand, demand.order));
                }
                from = Order::new(order.log2() + 1);
            }
            let next = self.untouched_block(demand.need).ok_or(Refusal::Taken)?;
            if !fits(next) {
                return Err(Refusal::Taken);
            }
            self.extend_to(next.add(demand.need.pages()))?;
        }
    }

    /// Takes exactly `first..limit`, all of which must be free.
    pub(super) fn take_at(&self, first: Pfn, limit: Pfn) -> Result<(), Refusal> {
        let wanted = |limit| Blocks::new(first, limit, self.max_order());
        // A free block lies inside a free block of its own order or a larger one, because free
        // buddies are merged. What is above the frontier is free; that moves only if all below is, too.
        let known = limit.min(self.frontier());
        let is_free = |(pfn, order)| self.covering(pfn, order).is_some();
        if first < known && !wanted(known).all(is_free) {
            return Err(Refusal::Taken);
        }
        self.extend_to(limit)?;
        for (pfn, order) in wanted(limit) {
            let Some((start, above)) = self.covering(pfn, order) else {
                debug_assert!(false, "the block was free a moment ago");
                continue;
            };
            self.tree().remove(start, above);
            for half in order.halves_below(above) {
                self.tree().insert(pfn.block(half).buddy(half), half);
            }
        }
        self.free.set(self.free.get() - limit.since(first));
        self.mark(first, limit);
        Ok(())
    }

    /// The free block that contains all of the block of `order` at `pfn`.
    pub(super) fn covering(&self, pfn: Pfn, order: Order) -> Option<(Pfn, Order)> {
        Order::all()
            .filter(|above| order <= *above && *above <= self.max_order())
            .map(|above| (pfn.block(above), above))
            .find(|(start, above)| self.first() <= *start && self.tree().contains(*start, *above))
    }

    /// Splits the lowest free block of `found` and takes its beginning: what `demand` asks for, or more, up to
    /// `most`. Returns how many pages that is.
    #[inline(always)]
    fn carve(&self, found: Order, demand: &Demand, most: Order) -> (Pfn, usize) {
        let order = found.min(most);
        let pfn = self.tree().split_first(found, order);
        if order == demand.order && demand.count != order.pages() {
            self.trim(pfn, demand);
            self.free.set(self.free.get() - demand.count);
            return (pfn, demand.count);
        }
        self.free.set(self.free.get() - order.pages());
        self.set_state(pfn, PageState::new(Kind::Block, order));
        (pfn, order.pages())
    }

    /// Gives back what is beyond an exact count.
    #[inline(never)]
    fn trim(&self, pfn: Pfn, demand: &Demand) {
        let limit = pfn.add(demand.count);
        let tail = Blocks::new(limit, pfn.add(demand.order.pages()), self.max_order());
        for (pfn, order) in tail {
            self.tree().insert(pfn, order);
        }
        self.mark(pfn, limit);
    }

    /// Writes the states of an allocation of `first..limit`: a block if it is one, else a run.
    pub(super) fn mark(&self, first: Pfn, limit: Pfn) {
        let mut blocks = Blocks::new(first, limit, self.max_order());
        if let Some((pfn, order)) = blocks.next() {
            let single = order.pages() == limit.since(first);
            let kind = if single { Kind::Block } else { Kind::Run };
            self.set_state(pfn, PageState::new(kind, order));
        }
        for (pfn, order) in blocks {
            self.set_state(pfn, PageState::new(Kind::RunTail, order));
        }
    }

    /// Checks that `count` pages were allocated at `pfn`, gives them back, and returns how many
    /// pages the allocation had.
    #[inline]
    pub(super) fn free(&self, pfn: Pfn, count: usize) -> AllocResult<usize> {
        let state = self.state(pfn);
        let order = state.order();
        if state.kind() == Kind::Block && Order::covering(count) == Some(order) {
            self.put_block(pfn, order);
            return Ok(order.pages());
        }
        match state.kind() {
            Kind::Run if self.run_pages(pfn) == count => {
                self.put_run(pfn, count);
                Ok(count)
            }
            Kind::Block | Kind::Run => Err(AllocError::InvalidParam),
            Kind::Nothing | Kind::RunTail | Kind::Slab | Kind::Cached | Kind::Internal => {
                Err(AllocError::NotAllocated)
            }
        }
    }

    /// The pages of the run that begins at `pfn`. A run's later blocks follow it without a gap,
    /// and what follows the run is no `RunTail`.
    pub(super) fn run_pages(&self, pfn: Pfn) -> usize {
        let mut end = pfn.add(self.state(pfn).order().pages());
        while end < self.limit() && self.state(end).kind() == Kind::RunTail {
            end = end.add(self.state(end).order().pages());
        }
        end.since(pfn)
    }

    /// Gives back the blocks of a run.
    fn put_run(&self, pfn: Pfn, count: usize) {
        let end = pfn.add(count);
        let mut at = pfn;
        while at < end {
            let order = self.state(at).order();
            self.put_block(at, order);
            at = at.add(order.pages());
        }
    }

    /// Gives back one block.
    #[inline]
    pub(super) fn put_block(&self, pfn: Pfn, order: Order) {
        self.set_state(pfn, PageState::NOTHING);
        self.put_pages(pfn, pfn.add(order.pages()), order);
    }

    /// Gives back pages whose states are cleared: one block of `order`, or several that follow each other.
    #[inline]
    pub(super) fn put_pages(&self, first: Pfn, limit: Pfn, order: Order) {
        self.free.set(self.free.get() + limit.since(first));
        if limit.since(first) == order.pages() {
            self.put(first, order);
            return;
        }
        for (pfn, order) in Blocks::new(first, limit, self.max_order()) {
            self.put(pfn, order);
        }
    }

    #[inline]
    fn put(&self, pfn: Pfn, order: Order) {
        let (place, order) = self.tree().merge(pfn, order, self.max_order());
        if self.calls_back(order) {
            self.call_back_buddy(place, order);
        }
    }
}
