//! What the caches cannot serve: filling and emptying them, the tree, the last resorts.

use core::ptr::NonNull;
use core::sync::atomic::Ordering;

use super::cache::{BATCH, CpuPages, Entry, Held, cached, entry};
use super::frame::Order;
use super::node::Node;
use super::pin::is_moving;
use super::reclaim::ReclaimRequest;
use super::request::{Demand, PageRequest};
use super::shared::{FrameAllocator, Tree};
use super::stack::Stack;
use super::zones::Zones;
use crate::percpu::CpuTable;
use crate::sync::IrqGuard;
use crate::sync::Pinned;
use crate::{AllocError, AllocResult, Platform};

/// How often an allocation drains all caches. While others take what comes of that, or move it, it may be there the
/// next time.
const DRAINS: usize = 8;

/// The same of one whose caller has more to drain before it tries again.
pub(super) const DRAINS_OF_A_TRY: usize = 1;

impl<P: Platform, const PAGE_SIZE: usize> FrameAllocator<P, PAGE_SIZE> {
    /// The rest of the ways to free, and all errors.
    #[cold]
    #[inline(never)]
    pub(super) fn free_slowly(&self, addr: usize, count: usize) -> AllocResult {
        self.ensure_cpu();
        let order = Order::covering(count).filter(|order| Stack::of(*order, false).is_some());
        if order.is_some()
            && self
                .with_own(|cpu, held| self.push_to(cpu, held, addr, count))
                .unwrap_or(false)
        {
            return Ok(());
        }
        let mut tree = self.tree.0.lock();
        if let Some(order) = order
            && self.free_with_spill(&mut tree, addr, count, order)
        {
            return Ok(());
        }
        tree.arrivals += 1;
        let (section, pfn) = self.locate(&tree, addr)?;
        if count == 0 {
            return Err(AllocError::InvalidParam);
        }
        tree.recent = Some(section);
        tree.zones.free_pages(section, pfn, count)
    }

    /// Puts a block into this CPU's cache after making room there, if that is all it takes.
    fn free_with_spill(
        &self,
        tree: &mut Tree<PAGE_SIZE>,
        addr: usize,
        count: usize,
        order: Order,
    ) -> bool {
        self.with_own(|cpu, held| {
            for stack in [false, true]
                .into_iter()
                .filter_map(|low| Stack::of(order, low))
            {
                if cpu.is_full(stack) {
                    cpu.set_limit(stack, tree.zones.total_free(), tree.cpus);
                }
                if cpu.is_full(stack) && cpu.count(stack) != 0 {
                    cpu.drains.fetch_add(1, Ordering::Relaxed);
                    self.spill(tree, cpu, held, stack, cpu.batch(stack));
                }
            }
            self.push_to(cpu, held, addr, count)
        })
        .unwrap_or(false)
    }

    /// Gives the oldest blocks of a stack back to the tree; returns how many.
    pub(super) fn spill(
        &self,
        tree: &mut Tree<PAGE_SIZE>,
        cpu: &CpuPages,
        held: &mut Held,
        stack: Stack,
        limit: usize,
    ) -> usize {
        let mut batch = [Entry::NONE; BATCH];
        let moved = cpu.take_oldest(held, stack, limit, &mut batch);
        self.put_back(tree, &batch[..moved], stack.order());
        moved
    }

    /// Frees blocks that were taken out of a cache.
    pub(super) fn put_back(&self, tree: &mut Tree<PAGE_SIZE>, entries: &[Entry], order: Order) {
        tree.arrivals += entries.len();
        for entry in entries {
            match self.locate(tree, entry.addr) {
                Ok((section, pfn)) if section.state(pfn) == cached(order) => {
                    tree.recent = Some(section);
                    tree.zones.free_cached(section, pfn, order);
                }
                // Reported by whoever asks: not with the lock held.
                _ => self.count_corrupted(),
            }
        }
    }

    /// The rest of the ways to allocate a block, and all errors.
    #[cold]
    #[inline(never)]
    pub(super) fn alloc_pages_slowly(&self, count: usize, align: usize) -> AllocResult<usize> {
        self.allocate(&PageRequest::new(count).align(align))
    }

    /// An allocation that the cache could not serve.
    #[cold]
    #[inline(never)]
    pub(super) fn allocate_or_reclaim(&self, demand: &Demand) -> AllocResult<usize> {
        /// A callback that claims success each time must come to an end too.
        const ROUNDS: usize = 64;
        for _ in 0..ROUNDS {
            match self.allocate_or_drain(demand, DRAINS) {
                Ok((addr, pressure)) => {
                    if let Some(request) = pressure {
                        self.call_reclaim(&request);
                    }
                    return Ok(addr);
                }
                Err(AllocError::NoMemory) => {
                    if self.call_reclaim(&ReclaimRequest::failed::<PAGE_SIZE>(demand)) == 0 {
                        break;
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Err(AllocError::NoMemory)
    }

    /// Allocates from the tree; drains all caches before that fails, `most` times if others take what comes of it.
    pub(super) fn allocate_or_drain(
        &self,
        demand: &Demand,
        most: usize,
    ) -> AllocResult<(usize, Option<ReclaimRequest>)> {
        self.ensure_cpu();
        if let Some(addr) = self
            .stack_for(demand)
            .and_then(|stack| self.pop_slowly(stack))
        {
            return Ok((addr, None));
        }
        let mut seen = None;
        for left in (0..=most).rev() {
            let arrivals = {
                let mut tree = self.tree.0.lock();
                if let Ok(taken) = self.allocate_locked(&mut tree, demand) {
                    return Ok(taken);
                }
                tree.arrivals
            };
            // Nothing has come since the last look: nothing will.
            if left == 0 || seen.replace(arrivals) == Some(arrivals) {
                break;
            }
            self.drain_together();
            self.wait_for_moving();
        }
        match self.section_count() {
            0 => Err(AllocError::NotInitialized),
            _ => Err(AllocError::NoMemory),
        }
    }

    /// Waits for the contexts that are moving pages to the tree. Those that begin only now are not
    /// waited for: where memory has run out on all CPUs, there is always one that begins. A nested
    /// handler does not wait at all: it may have interrupted such a context.
    fn wait_for_moving(&self) {
        let mut patience = 1_usize << 20;
        let mut wait = |is_over: &dyn Fn() -> bool| {
            while patience != 0 && !is_over() {
                patience -= 1;
                P::relax();
            }
        };
        if self.is_nested() {
            return;
        }
        for (_, cpu) in self.shared.cpus.iter(P::MAX_CPUS) {
            let moves = cpu.moves.load(Ordering::Acquire);
            if is_moving(moves) {
                wait(&|| cpu.moves.load(Ordering::Acquire) != moves);
            }
        }
        wait(&|| self.shared.strangers.load(Ordering::Acquire) == 0);
    }

    /// Allocates from the tree, and fills this CPU's cache when that is where the demand came
    /// from.
    fn allocate_locked(
        &self,
        tree: &mut IrqGuard<'_, P, Tree<PAGE_SIZE>>,
        demand: &Demand,
    ) -> AllocResult<(usize, Option<ReclaimRequest>)> {
        let cpus = tree.cpus;
        let zones = &mut tree.zones;
        let node = Node::of_cpu::<P>(P::cpu_id());
        let (section, pfn) = zones.allocate(demand, node)?;
        if let Some(stack) = self.stack_for(demand)
            && let Some(cpu) = self.shared.cpus.get(P::cpu_id())
            // SAFETY: interrupts are masked by the lock of the tree, so this CPU is pinned.
            && let Ok(mut held) = unsafe { cpu.lock.enter() }
            && cpu.count(stack) == 0
        {
            cpu.refills.fetch_add(1, Ordering::Relaxed);
            cpu.set_limit(stack, zones.total_free(), cpus);
            let mut batch = [Entry::NONE; BATCH];
            let wanted = cpu.batch(stack);
            let filled = zones.allocate_many(demand, node, wanted, |i, section, pfn| {
                section.set_state(pfn, cached(demand.order));
                batch[i] = entry::<PAGE_SIZE>(section, pfn);
            });
            // Lowest addresses on top: memory stays together at the high end.
            for entry in batch[..filled].iter().rev() {
                let has_room = cpu.push_if(&mut held, stack, *entry, |_| true);
                debug_assert!(has_room, "a batch is at most what an empty stack may have");
            }
        }
        let pressure = zones.pressure(section.zone(), demand);
        Ok((section.addr::<PAGE_SIZE>(pfn), pressure))
    }

    /// Calls the callback, unless this CPU is in it; returns what it returned.
    fn call_reclaim(&self, request: &ReclaimRequest) -> usize {
        let Some(reclaim) = self.tree.0.lock().reclaim else {
            return 0;
        };
        let cpu = self.shared.cpus.get(P::cpu_id());
        if cpu.is_some_and(|cpu| cpu.reclaiming.swap(true, Ordering::Acquire)) {
            return 0;
        }
        let freed = reclaim(request);
        if let Some(cpu) = cpu {
            cpu.reclaiming.store(false, Ordering::Release);
        }
        freed
    }

    /// Gives this CPU its caches, if it has none yet and there is memory.
    #[inline]
    fn ensure_cpu(&self) {
        let has_state = {
            let _pinned = Pinned::<P>::new();
            self.shared.cpus.own::<P>().is_some()
        };
        if !has_state && self.shared.index.len() != 0 {
            self.make_cpu();
        }
    }

    #[cold]
    #[inline(never)]
    fn make_cpu(&self) {
        let mut tree = self.tree.0.lock();
        let cpu = P::cpu_id();
        assert!(cpu < P::MAX_CPUS, "cpu_id is beyond MAX_CPUS");
        if self.shared.cpus.lacks_far(P::MAX_CPUS) {
            let bytes = CpuTable::<CpuPages>::far_bytes(P::MAX_CPUS);
            let Some(memory) = internal::<PAGE_SIZE>(&mut tree.zones, bytes) else {
                return;
            };
            // SAFETY: the fresh block has at least that many bytes.
            unsafe { memory.write_bytes(0, bytes) };
            // SAFETY: it is now zeroed, page-aligned, for all CPUs, and never freed.
            unsafe { self.shared.cpus.install_far(memory) };
        }
        if self.shared.cpus.get(cpu).is_none()
            && let Some(memory) = internal::<PAGE_SIZE>(&mut tree.zones, size_of::<CpuPages>())
        {
            let state = memory.cast::<CpuPages>();
            // SAFETY: the fresh block is large enough and page-aligned.
            unsafe { state.write(CpuPages::new()) };
            // SAFETY: the block is never freed.
            unsafe { self.shared.cpus.install(cpu, state) };
            tree.cpus += 1;
        }
    }

    /// Memory for the state of a layer above: permanent, page-aligned, and not among the pages
    /// that can be allocated.
    pub(crate) fn allocate_internal(&self, bytes: usize) -> Option<NonNull<u8>> {
        internal::<PAGE_SIZE>(&mut self.tree.0.lock().zones, bytes)
    }
}

/// A block for the allocator's own state.
fn internal<const PAGE_SIZE: usize>(
    zones: &mut Zones<PAGE_SIZE>,
    bytes: usize,
) -> Option<NonNull<u8>> {
    let order = Order::covering(bytes.div_ceil(PAGE_SIZE))?;
    let (section, pfn) = zones.allocate_internal(order).ok()?;
    Some(section.ptr(section.addr::<PAGE_SIZE>(pfn)))
}
