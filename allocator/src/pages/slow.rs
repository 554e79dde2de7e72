//! What the caches cannot serve: the tree, and the last resorts.

use core::ptr::NonNull;
use core::sync::atomic::Ordering;

use super::cache::CpuPages;
use super::node::Node;
use super::pin::is_moving;
use super::reclaim::ReclaimRequest;
use super::request::{Demand, PageRequest};
use super::share::Sharers;
use super::shared::{FrameAllocator, Tree};
use super::stack::{Group, Slot, Stack};
use super::zones::Zones;
use crate::error::Lack;
use crate::patience::Patience;
use crate::percpu::{CpuTable, offset_in_pages};
use crate::sync::Pinned;
use crate::{AllocError, AllocResult, Platform};

/// How often an allocation drains all caches. While others take what comes of that, or move it, it may be there the
/// next time.
pub(super) const DRAINS: usize = 8;

/// The same of one whose caller has more to drain before it tries again.
const DRAINS_OF_A_TRY: usize = 1;

/// A CPU's caches are made where they take at most one of so many parts of what is free beside what the CPU wants.
const PARTS: usize = 4;

/// What the callback is to hear of.
#[derive(Clone, Copy)]
pub(super) enum Tell {
    All,
    Nothing,
}

impl<P: Platform, const PAGE_SIZE: usize> FrameAllocator<P, PAGE_SIZE> {
    /// Frees what is not of that memory that this CPU usually frees in: the usual way for low memory, and
    /// then the rest.
    #[cold]
    #[inline(never)]
    pub(super) fn free_elsewhere(&self, addr: usize, count: usize) -> AllocResult {
        if self.low_group() == Group::Low
            && let Some(slot) = Slot::exact(count)
            && self.push(addr, slot.within(Group::Low))
        {
            return Ok(());
        }
        self.free_slowly(addr, count)
    }

    /// The rest of the ways to free, and all errors.
    #[inline(never)]
    fn free_slowly(&self, addr: usize, count: usize) -> AllocResult {
        let stack = Stack::covering(count);
        if let Some(stack) = stack
            && self.free_to_cache(addr, count, stack)
        {
            return Ok(());
        }
        let mut tree = self.tree.0.lock();
        let (section, pfn) = self.locate(&tree, addr)?;
        if let Some(stack) = stack
            && !section.is_called_back(pfn)
            && self.free_with_spill(&mut tree, addr, stack)
        {
            return Ok(());
        }
        tree.arrivals += 1;
        if count == 0 {
            return Err(AllocError::InvalidParam);
        }
        tree.recent = Some(section);
        tree.zones.free_pages(section, pfn, count)
    }

    /// The rest of the ways to allocate a block, and all errors, with a result that fits into registers.
    #[cold]
    #[inline(never)]
    pub(super) fn alloc_pages_slowly(&self, count: usize, align: usize) -> (usize, Option<Lack>) {
        self.request_slowly(&PageRequest::new(count).align(align))
    }

    /// The same for low memory.
    #[cold]
    #[inline(never)]
    pub(super) fn alloc_lowmem_slowly(&self, count: usize, align: usize) -> (usize, Option<Lack>) {
        self.request_slowly(&PageRequest::new(count).align(align).lowmem())
    }

    fn request_slowly(&self, request: &PageRequest) -> (usize, Option<Lack>) {
        let demand = request.check::<PAGE_SIZE>();
        match demand.and_then(|demand| self.allocate_or_reclaim(&demand)) {
            Ok(addr) => (addr, None),
            Err(error) => (0, Some(Lack::of(error))),
        }
    }

    /// An allocation that the cache could not serve.
    #[cold]
    #[inline(never)]
    pub(super) fn allocate_or_reclaim(&self, demand: &Demand) -> AllocResult<usize> {
        match self.allocate_or_drain(demand, DRAINS, Tell::All) {
            Ok((addr, None)) => Ok(addr),
            result => self.reclaim_or_return(demand, result, &mut |freed| freed != 0),
        }
    }

    /// Allocates from the tree; drains all caches before that fails, `most` times if others take what comes of it.
    #[inline]
    pub(super) fn allocate_or_drain(
        &self,
        demand: &Demand,
        most: usize,
        tell: Tell,
    ) -> AllocResult<(usize, Option<ReclaimRequest>)> {
        let stack = self.stack_for(demand);
        if let Some(stack) = stack
            && self.has_cached(stack)
            && let Some(addr) = self.pop_slowly(demand)
        {
            return Ok((addr, None));
        }
        match self.allocate_from_tree(demand, stack, tell) {
            Ok(taken) => Ok(taken),
            Err(arrivals) => self.drain_and_allocate(demand, stack, most, tell, arrivals),
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
        tell: Tell,
        mut arrivals: usize,
    ) -> AllocResult<(usize, Option<ReclaimRequest>)> {
        for _ in 0..most {
            self.drain_together(Patience::much());
            self.wait_for_moving();
            match self.allocate_from_tree(demand, stack, tell) {
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
    pub(super) fn wait_for_moving(&self) {
        if self.is_nested() {
            return;
        }
        let mut patience = Patience::much();
        for (_, cpu) in self.shared.cpus.iter(P::MAX_CPUS) {
            let moves = cpu.moves.load(Ordering::Acquire);
            if is_moving(moves) {
                patience.wait::<P>(|| cpu.moves.load(Ordering::Acquire) != moves);
            }
        }
        patience.wait::<P>(|| self.shared.strangers.load(Ordering::Acquire) == 0);
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
        tell: Tell,
    ) -> Result<(usize, Option<ReclaimRequest>), usize> {
        self.in_steps(|tree| {
            self.ensure_cpu(tree, demand.count);
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
                    let pressure = match tell {
                        Tell::All => tree.zones.pressure(section.zone(), demand.order),
                        Tell::Nothing => None,
                    };
                    Ok((section.addr::<PAGE_SIZE>(pfn), pressure))
                }
                Err(_) => Err(tree.arrivals),
            }
        })
    }

    /// Runs `request` with the lock of the tree. If it fails since much metadata has to be set up first, does a part of that, and runs it
    /// again with the lock taken anew: as often as there are chunks, at most, unless memory is added meanwhile.
    #[inline]
    pub(super) fn in_steps<T, E>(
        &self,
        mut request: impl FnMut(&mut Tree<PAGE_SIZE>) -> Result<T, E>,
    ) -> Result<T, E> {
        loop {
            let mut tree = self.tree.0.lock();
            match request(&mut tree) {
                Err(_) if tree.zones.advance() => {}
                result => {
                    debug_assert!(tree.zones.far.is_none());
                    return result;
                }
            }
        }
    }

    /// Like [`allocate`](Self::allocate), but where there is nothing, it does not ask the reclaim callback, and it does not
    /// clear memory: for a layer above that has caches of its own to empty first.
    ///
    /// # Errors
    ///
    /// As `allocate`.
    pub fn try_allocate(&self, request: &PageRequest) -> AllocResult<usize> {
        self.allocate_once(request, Tell::All)
    }

    /// The same for a caller that is pinned or frees something: of low memory, the callback is told by whoever
    /// allocates next.
    pub(crate) fn try_allocate_quietly(&self, request: &PageRequest) -> AllocResult<usize> {
        self.allocate_once(request, Tell::Nothing)
    }

    fn allocate_once(&self, request: &PageRequest, tell: Tell) -> AllocResult<usize> {
        let demand = request.check::<PAGE_SIZE>()?;
        if let Some(addr) = self.pop_for(&demand) {
            return Ok(addr);
        }
        let (addr, pressure) = self.allocate_or_drain(&demand, DRAINS_OF_A_TRY, tell)?;
        self.tell(pressure);
        Ok(addr)
    }

    /// Gives this CPU its caches, if it has none yet, and so much is free that its call will get the pages that it wants.
    #[inline]
    pub(super) fn ensure_cpu(&self, tree: &mut Tree<PAGE_SIZE>, wanted: usize) {
        // Interrupts are masked by the lock of the tree, so this CPU is pinned.
        if self.shared.cpus.own::<P>().is_none() && self.shared.index.len() != 0 {
            self.make_cpu(tree, wanted);
        }
    }

    #[cold]
    #[inline(never)]
    fn make_cpu(&self, tree: &mut Tree<PAGE_SIZE>, wanted: usize) {
        let cpu = P::cpu_id();
        assert!(cpu < P::MAX_CPUS, "cpu_id is beyond MAX_CPUS");
        let lacks_far = self.shared.cpus.lacks_far(P::MAX_CPUS);
        let bytes = CpuTable::<CpuPages>::far_bytes(P::MAX_CPUS);
        let far = if lacks_far {
            bytes.div_ceil(PAGE_SIZE)
        } else {
            0
        };
        let pages = far + size_of::<CpuPages>().div_ceil(PAGE_SIZE);
        if tree.zones.total_free() < wanted + PARTS * pages {
            return;
        }
        if lacks_far {
            let Some(memory) = internal::<PAGE_SIZE>(&mut tree.zones, bytes) else {
                return;
            };
            // SAFETY: it is long enough, page-aligned, for all CPUs, and never freed.
            unsafe { self.shared.cpus.install_far(memory, P::MAX_CPUS) };
        }
        if self.shared.cpus.get(cpu).is_none()
            && let Some(memory) = internal::<PAGE_SIZE>(&mut tree.zones, size_of::<CpuPages>())
        {
            // SAFETY: the block has whole pages, so there is room for as much as they have more than a state.
            let state = unsafe { memory.add(offset_in_pages::<CpuPages, PAGE_SIZE>()) }.cast();
            // SAFETY: the block is fresh, and the offset is a multiple of the alignment.
            unsafe { CpuPages::create(state) };
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

/// Whole pages for the allocator's own state.
fn internal<const PAGE_SIZE: usize>(
    zones: &mut Zones<PAGE_SIZE>,
    bytes: usize,
) -> Option<NonNull<u8>> {
    let count = bytes.div_ceil(PAGE_SIZE);
    let (section, pfn) = zones.allocate_internal(count).ok()?;
    Some(section.ptr(section.addr::<PAGE_SIZE>(pfn)))
}
