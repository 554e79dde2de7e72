//! What the caches cannot serve: filling and emptying them, the tree, the last resorts.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering};

use super::cache::{BATCH, CpuPages, Entry, Held, Vacant, allocated, cached, entry};
use super::frame::{Order, Pfn};
use super::node::Node;
use super::pin::is_moving;
use super::reclaim::ReclaimRequest;
use super::request::{Demand, PageRequest};
use super::shared::{FrameAllocator, Tree};
use super::section::SectionRef;
use super::state::{Kind, PageState};
use super::stack::{Share, Sharers, Stack};
use super::zones::Zones;
use crate::percpu::CpuTable;
use crate::sync::Pinned;
use crate::{AllocError, AllocResult, Platform};

/// How often an allocation drains all caches. While others take what comes of that, or move it, it may be there the
/// next time.
const DRAINS: usize = 8;

/// The same of one whose caller has more to drain before it tries again.
pub(super) const DRAINS_OF_A_TRY: usize = 1;

impl<const PAGE_SIZE: usize> Tree<PAGE_SIZE> {
    /// How much a stack of a CPU may hold now.
    #[inline]
    fn share(&self) -> Share {
        self.sharers.share(self.zones.total_free(), self.zones.total_pages())
    }
}

impl<P: Platform, const PAGE_SIZE: usize> FrameAllocator<P, PAGE_SIZE> {
    /// The rest of the ways to free, and all errors.
    #[cold]
    #[inline(never)]
    pub(super) fn free_slowly(&self, addr: usize, count: usize) -> AllocResult {
        let stack = Stack::covering(count);
        if let Some(stack) = stack
            && self.free_to_cache(addr, count, stack)
        {
            return Ok(());
        }
        let mut tree = self.tree.0.lock();
        if let Some(stack) = stack
            && self.free_with_spill(&mut tree, addr, stack)
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

    /// Puts a block into this CPU's cache where [`push`](Self::push) did not because of the address or the count.
    fn free_to_cache(&self, addr: usize, count: usize, stack: Stack) -> bool {
        let pushed = self.with_own(|cpu, held| {
            let is_tried = count == stack.order().pages()
                && held.recent.state::<PAGE_SIZE>(addr).is_some();
            !is_tried && self.push_to(cpu, held, addr, stack)
        });
        pushed.unwrap_or(false)
    }

    /// Puts a block into this CPU's cache after making room there, if that is all it takes.
    fn free_with_spill(&self, tree: &mut Tree<PAGE_SIZE>, addr: usize, stack: Stack) -> bool {
        self.ensure_cpu(tree);
        self.with_own(|cpu, held| {
            if !self.knows(held, addr) {
                return false;
            }
            let stack = stack.within(held.recent.group);
            if cpu.is_full(held, stack) {
                cpu.set_limit(held, stack, tree.share());
            }
            if cpu.is_full(held, stack) {
                let surplus = cpu.surplus(held, stack);
                // To free one for another takes longer than to free that one.
                if surplus <= 1 {
                    return false;
                }
                count_one(&cpu.drains);
                self.spill(tree, cpu, held, stack, surplus);
            }
            Self::push_known(cpu, held, addr, stack)
        })
        .unwrap_or(false)
    }

    /// Gives up to `limit` of the oldest blocks of a stack back to the tree, at most a batch; returns how many.
    pub(super) fn spill(
        &self,
        tree: &mut Tree<PAGE_SIZE>,
        cpu: &CpuPages,
        held: &mut Held,
        stack: Stack,
        limit: usize,
    ) -> usize {
        let moved = cpu.count(stack).min(limit).min(BATCH);
        self.put_back(tree, cpu.entries(held, stack).take(moved), stack.order());
        cpu.drop_oldest(held, stack, moved);
        moved
    }

    /// Frees blocks that are taken out of a cache. Those that follow each other go back as one run, up or down.
    pub(super) fn put_back(
        &self,
        tree: &mut Tree<PAGE_SIZE>,
        entries: impl Iterator<Item = Entry>,
        order: Order,
    ) {
        let mut run: Option<(SectionRef, Pfn, Pfn)> = None;
        for entry in entries {
            tree.arrivals += 1;
            let Some((section, pfn)) = self.take_back(tree, &entry, order) else {
                continue;
            };
            let end = pfn.add(order.pages());
            run = match run {
                Some((same, first, limit)) if same == section && pfn == limit => {
                    Some((section, first, end))
                }
                Some((same, first, limit)) if same == section && end == first => {
                    Some((section, pfn, limit))
                }
                done => {
                    if let Some((section, first, limit)) = done {
                        tree.zones.free_cached(section, first, limit, order);
                    }
                    Some((section, pfn, end))
                }
            };
        }
        if let Some((section, first, limit)) = run {
            tree.zones.free_cached(section, first, limit, order);
        }
    }

    /// The place of a block that was in a cache, which is in none now.
    #[inline]
    fn take_back(
        &self,
        tree: &mut Tree<PAGE_SIZE>,
        entry: &Entry,
        order: Order,
    ) -> Option<(SectionRef, Pfn)> {
        match self.locate(tree, entry.addr) {
            Ok((section, pfn)) if entry.turn(Kind::Cached, order, PageState::NOTHING) => {
                tree.recent = Some(section);
                Some((section, pfn))
            }
            // Reported by whoever asks: not with the lock held.
            _ => {
                self.count_corrupted();
                None
            }
        }
    }

    /// The rest of the ways to allocate a block, and all errors.
    #[cold]
    #[inline(never)]
    pub(super) fn alloc_pages_slowly(&self, count: usize, align: usize) -> AllocResult<usize> {
        let demand = PageRequest::new(count).align(align).check::<PAGE_SIZE>()?;
        self.allocate_or_reclaim(&demand)
    }

    /// An allocation that the cache could not serve.
    #[cold]
    #[inline(never)]
    pub(super) fn allocate_or_reclaim(&self, demand: &Demand) -> AllocResult<usize> {
        match self.allocate_or_drain(demand, DRAINS) {
            Ok((addr, None)) => Ok(addr),
            result => self.reclaim_or_return(demand, result),
        }
    }

    /// Tells the callback what an allocation is for it to know, and tries again as long as it has freed something.
    #[cold]
    #[inline(never)]
    fn reclaim_or_return(
        &self,
        demand: &Demand,
        mut result: AllocResult<(usize, Option<ReclaimRequest>)>,
    ) -> AllocResult<usize> {
        /// A callback that claims success each time must come to an end too.
        const ROUNDS: usize = 64;
        for _ in 0..ROUNDS {
            match result {
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
            result = self.allocate_or_drain(demand, DRAINS);
        }
        result.map(|(addr, _)| addr)
    }

    /// Allocates from the tree; drains all caches before that fails, `most` times if others take what comes of it.
    #[inline]
    pub(super) fn allocate_or_drain(
        &self,
        demand: &Demand,
        most: usize,
    ) -> AllocResult<(usize, Option<ReclaimRequest>)> {
        let stack = self.stack_for(demand);
        if let Some(stack) = stack
            && self.has_cached(stack)
            && let Some(addr) = self.pop_slowly(stack)
        {
            return Ok((addr, None));
        }
        match self.allocate_from_tree(demand, stack) {
            Ok(taken) => Ok(taken),
            Err(arrivals) => self.drain_and_allocate(demand, stack, most, arrivals),
        }
    }

    /// Allocates after all caches are drained; `arrivals` were counted when the tree had nothing.
    #[cold]
    #[inline(never)]
    fn drain_and_allocate(
        &self,
        demand: &Demand,
        stack: Option<Stack>,
        most: usize,
        mut arrivals: usize,
    ) -> AllocResult<(usize, Option<ReclaimRequest>)> {
        for _ in 0..most {
            self.drain_together();
            self.wait_for_moving();
            match self.allocate_from_tree(demand, stack) {
                Ok(taken) => return Ok(taken),
                // Nothing has come since the last look: nothing will.
                Err(now) if now == arrivals => break,
                Err(now) => arrivals = now,
            }
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

    /// Has this CPU blocks in that stack, which an allocation then did not get?
    fn has_cached(&self, stack: Stack) -> bool {
        let _pinned = Pinned::<P>::new();
        let own = self.shared.cpus.own::<P>();
        own.is_some_and(|cpu| cpu.count(stack) != 0)
    }

    /// Allocates from the tree, and fills this CPU's cache when that is where the demand came
    /// from. Where there is nothing, returns how often something has come.
    #[inline(never)]
    fn allocate_from_tree(
        &self,
        demand: &Demand,
        stack: Option<Stack>,
    ) -> Result<(usize, Option<ReclaimRequest>), usize> {
        let mut tree = self.tree.0.lock();
        let tree = &mut *tree;
        self.ensure_cpu(tree);
        let node = Node::of_cpu::<P>(P::cpu_id());
        let filled = match stack {
            Some(stack) => self.refill(tree, demand, node, stack),
            None => None,
        };
        let taken = match filled {
            Some(taken) => taken,
            None => tree.zones.allocate(demand, node),
        };
        match taken {
            Ok((section, pfn)) => {
                let pressure = tree.zones.pressure(section.zone(), demand);
                Ok((section.addr::<PAGE_SIZE>(pfn), pressure))
            }
            Err(_) => Err(tree.arrivals),
        }
    }

    /// Takes a block and fills this CPU's empty stack, if it may have something.
    #[inline]
    fn refill(
        &self,
        tree: &mut Tree<PAGE_SIZE>,
        demand: &Demand,
        node: Node,
        stack: Stack,
    ) -> Option<AllocResult<(SectionRef, Pfn)>> {
        let share = tree.share();
        // Interrupts are masked by the lock of the tree, so this CPU is pinned.
        self.with_own(|cpu, held| {
            let limit = cpu.set_limit(held, stack, share);
            if limit == 0 || cpu.count(stack) != 0 {
                return None;
            }
            count_one(&cpu.refills);
            // One block, and as many more as make that one block of a larger order.
            #[expect(clippy::cast_possible_truncation, reason = "a batch is small")]
            let batch = 1 << (limit / 2 + 1).clamp(2, BATCH as u32).ilog2();
            let mut room = cpu.vacant(held, stack, batch - 1);
            let taken = Self::fill(&mut tree.zones, demand, node, held, &mut room);
            cpu.occupy(held, stack, &room);
            Some(taken)
        })?
    }

    /// Takes a block, and others for the room in this CPU's cache: a large block that is split for them is
    /// split once. The lowest ones are to be taken first, so that memory stays together at the high end.
    #[inline(never)]
    fn fill(
        zones: &mut Zones<PAGE_SIZE>,
        demand: &Demand,
        node: Node,
        held: &mut Held,
        room: &mut Vacant,
    ) -> AllocResult<(SectionRef, Pfn)> {
        let mut first = None;
        let mut wanted = room.len() as usize + 1;
        while wanted != 0 {
            let most = Order::within(wanted << demand.order.log2()).unwrap_or(demand.order);
            let (section, pfn, pages) = match zones.allocate_up_to(demand, most, node) {
                Ok(taken) => taken,
                Err(error) => return first.ok_or(error),
            };
            let blocks = (0..pages).step_by(demand.order.pages()).map(|page| pfn.add(page));
            for pfn in blocks {
                wanted -= 1;
                if first.is_none() {
                    section.set_state(pfn, allocated(demand.order));
                    first = Some((section, pfn));
                } else {
                    section.set_state(pfn, cached(demand.order));
                    room.put(held, entry::<PAGE_SIZE>(section, pfn));
                }
            }
        }
        first.ok_or(AllocError::NoMemory)
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
    fn ensure_cpu(&self, tree: &mut Tree<PAGE_SIZE>) {
        // Interrupts are masked by the lock of the tree, so this CPU is pinned.
        if self.shared.cpus.own::<P>().is_none() && self.shared.index.len() != 0 {
            self.make_cpu(tree);
        }
    }

    #[cold]
    #[inline(never)]
    fn make_cpu(&self, tree: &mut Tree<PAGE_SIZE>) {
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
            tree.sharers = Sharers::new(tree.sharers.cpus() + 1);
        }
    }

    /// Memory for the state of a layer above: permanent, page-aligned, and not among the pages
    /// that can be allocated.
    pub(crate) fn allocate_internal(&self, bytes: usize) -> Option<NonNull<u8>> {
        internal::<PAGE_SIZE>(&mut self.tree.0.lock().zones, bytes)
    }
}

/// Adds one to what only the holder of a CPU's lock writes: no atomic read-modify-write.
#[inline]
fn count_one(counter: &AtomicUsize) {
    counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
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
