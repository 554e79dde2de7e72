//! The usual ways: blocks from this CPU's caches and back into them.

use core::sync::atomic::Ordering;

use super::cache::CpuPages;
use super::entry::{Entry, allocated, cached};
use super::frame::{Order, Pfn};
use super::held::Held;
use super::node::Node;
use super::request::Demand;
use super::shared::FrameAllocator;
use super::stack::{Group, Slot, Stack};
use super::turn::Turn;
use super::zone::Zone;
use crate::sync::Pinned;
use crate::{Misuse, Platform};

impl<P: Platform, const PAGE_SIZE: usize> FrameAllocator<P, PAGE_SIZE> {
    /// The cache that may serve a demand.
    #[inline]
    pub(super) fn stack_for(&self, demand: &Demand) -> Option<Stack> {
        if demand.need != demand.order || demand.count != demand.order.pages() {
            return None;
        }
        if demand.limit == Pfn::LAST {
            return Stack::of(demand.order, false);
        }
        if demand.limit != Zone::Dma32.limit::<PAGE_SIZE>() {
            return None;
        }
        Some(Stack::of(demand.order, false)?.within(self.low_group()))
    }

    /// Where memory below 4 GiB is cached: without memory above, all is low memory.
    #[inline]
    pub(super) fn low_group(&self) -> Group {
        Group::of_low(self.shared.has_normal.load(Ordering::Relaxed))
    }

    /// What [`alloc_pages`](Self::alloc_pages) usually does: takes a block of just so many pages from this CPU's cache.
    #[inline(always)]
    pub(crate) fn pop_any(&self, count: usize, align: usize) -> Option<usize> {
        self.pop_exact(count, align, || Group::Any)
    }

    /// The same of [`alloc_pages_lowmem`](Self::alloc_pages_lowmem).
    #[inline(always)]
    pub(crate) fn pop_low(&self, count: usize, align: usize) -> Option<usize> {
        self.pop_exact(count, align, || self.low_group())
    }

    #[inline(always)]
    fn pop_exact(
        &self,
        count: usize,
        align: usize,
        group: impl FnOnce() -> Group,
    ) -> Option<usize> {
        // Every block has the alignments 0 and `PAGE_SIZE`.
        if align & !PAGE_SIZE != 0 {
            return None;
        }
        let slot = Slot::exact(count)?;
        self.pop(|| Some(slot.within(group())))
    }

    /// Takes a block that serves the demand from this CPU's cache.
    #[inline]
    pub(super) fn pop_for(&self, demand: &Demand) -> Option<usize> {
        self.pop(|| Some(self.stack_for(demand)?.slot()))
    }

    /// Takes a block from this CPU's cache. Calls nothing, so that it costs its callers no
    /// registers: a block in the wrong state is left for [`pop_slowly`](Self::pop_slowly).
    ///
    /// Asks where from inside the turn: until it is over, no block comes onto a stack, as one that is not low might
    /// when the first such memory is added.
    #[inline(always)]
    fn pop(&self, slot: impl FnOnce() -> Option<Slot>) -> Option<usize> {
        let _pinned = Pinned::<P>::new();
        let own = self.shared.cpus.own_or_absent::<P>();
        // SAFETY: this is the CPU of that state, and it is pinned.
        unsafe { Turn::begin(own) }?.pop(slot()?)
    }

    /// As [`pop_for`](Self::pop_for), and a block in the wrong state is dropped and reported.
    pub(super) fn pop_slowly(&self, demand: &Demand) -> Option<usize> {
        let entry = self.with_own(|cpu, held| cpu.pop(held, self.stack_for(demand)?))??;
        self.take_out(entry, demand.order)
    }

    /// Makes a block that was popped from a cache an allocated one.
    pub(super) fn take_out(&self, entry: Entry, order: Order) -> Option<usize> {
        if entry.exchange(cached(order), allocated(order)) {
            return Some(entry.addr);
        }
        self.report_corrupted(entry.addr);
        None
    }

    /// Puts a block into this CPU's cache, if it is allocated with that count, lies where the CPU
    /// freed lately in memory of that group, and there is room. Calls nothing, as `pop`.
    #[inline(always)]
    pub(super) fn push(&self, addr: usize, slot: Slot) -> bool {
        let _pinned = Pinned::<P>::new();
        let own = self.shared.cpus.own_or_absent::<P>();
        // SAFETY: this is the CPU of that state, and it is pinned.
        let turn = unsafe { Turn::begin(own) };
        turn.is_some_and(|turn| turn.push::<PAGE_SIZE>(addr, slot))
    }

    /// As [`push`](Self::push), wherever the block lies.
    pub(super) fn push_to(
        &self,
        cpu: &CpuPages,
        held: &mut Held,
        addr: usize,
        stack: Stack,
    ) -> bool {
        self.known_group(held, addr)
            .is_some_and(|group| cpu.push_known::<PAGE_SIZE>(held, addr, stack, group))
    }

    /// The stacks that a block of this CPU belongs on, if the CPU knows the section of `addr`, or does now.
    #[inline]
    pub(super) fn known_group(&self, held: &mut Held, addr: usize) -> Option<Group> {
        let known = self.usual_group(held, addr);
        known.or_else(|| self.learn(held, addr))
    }

    /// The stacks that the usual way puts a block on, if the CPU knows its section. (It may have learnt that it is low just
    /// before there was no other memory any more: then it does not.)
    #[inline]
    pub(super) fn usual_group(&self, held: &Held, addr: usize) -> Option<Group> {
        let known = held.recents.group_of::<PAGE_SIZE>(addr)?;
        (known == Group::Any || self.low_group() == known).then_some(known)
    }

    /// Lets this CPU know the section of `addr`, if there is one.
    fn learn(&self, held: &mut Held, addr: usize) -> Option<Group> {
        let section = self.shared.index.find(addr)?;
        // Memory of another node goes home at once: the next allocation here shall not get it. But a
        // CPU whose own node has none lives on that of others.
        let own = Node::of_cpu::<P>(P::cpu_id());
        if section.node() != own && self.shared.nodes.load(Ordering::Relaxed) & own.bit() != 0 {
            return None;
        }
        let has_normal = self.shared.has_normal.load(Ordering::Relaxed);
        Some(held.recents.learn(section, has_normal))
    }

    /// Runs `with` on this CPU's caches, if there are some and they can be had now.
    pub(super) fn with_own<R>(&self, with: impl FnOnce(&CpuPages, &mut Held) -> R) -> Option<R> {
        let _pinned = Pinned::<P>::new();
        let own = self.shared.cpus.own_or_absent::<P>();
        // SAFETY: this is the CPU of that state, and it is pinned.
        let (cpu, mut held) = unsafe { Turn::begin(own) }?.hold()?;
        Some(with(cpu, &mut held))
    }

    /// A block in a cache was freed or handed out behind the cache's back: it is dropped.
    fn report_corrupted(&self, addr: usize) {
        self.count_corrupted();
        P::misuse(&Misuse::Block { addr });
    }

    #[cold]
    pub(super) fn count_corrupted(&self) {
        self.shared.corrupted.fetch_add(1, Ordering::Relaxed);
    }
}
