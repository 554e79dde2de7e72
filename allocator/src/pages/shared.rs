//! The page allocator that all CPUs share.

use core::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};

use super::cache::{CpuPages, Held};
use super::entry::{Entry, allocated, cached};
use super::frame::{Order, Pfn};
use super::index::SectionIndex;
use super::node::Node;
use super::pass::Passes;
use super::reclaim::Reclaim;
use super::request::{Demand, PageRequest, align_order};
use super::section::SectionRef;
use super::share::Sharers;
use super::stack::{Group, Slot, Stack};
use super::turn::Turn;
use super::zone::Zone;
use super::zones::Zones;
use crate::percpu::CpuTable;
use crate::sync::IrqLock;
use crate::sync::Pinned;
use crate::{AllocError, AllocResult, Misuse, Platform};

/// A buddy allocator that all CPUs share, with a cache of pages for each of them.
///
/// Allocating and freeing blocks of a power of two up to 512 pages takes no lock and makes no
/// atomic read-modify-write, except once in a batch. Everything may be called from any CPU and from
/// interrupt handlers, whatever they interrupted, unless a call says otherwise.
/// [`BuddyAllocator`](super::BuddyAllocator) describes what is allocated, and which free is refused
/// with which error.
///
/// No allocation fails while pages lie in some CPU's cache: before it does, all caches are
/// drained. There are two exceptions. A handler that interrupted this allocator on its own CPU cannot
/// have the pages in that CPU's cache. And a CPU that stays inside its caches for long, since
/// a handler has interrupted it there, keeps what it has: nobody waits for it without end.
///
/// The lock of the tree is held with interrupts masked for at most a batch of 32 blocks. Nothing is
/// waited for while it is held.
pub struct FrameAllocator<P: Platform, const PAGE_SIZE: usize = 0x1000> {
    pub(super) shared: Shared,
    pub(super) tree: Line<IrqLock<P, Tree<PAGE_SIZE>>>,
}

/// What is read without the lock.
#[repr(align(64))]
pub(super) struct Shared {
    pub(super) index: SectionIndex,
    /// There is memory from 4 GiB up, so that memory below is worth keeping apart.
    pub(super) has_normal: AtomicBool,
    /// The nodes that have memory, as a set of [bits](Node::bit).
    pub(super) nodes: AtomicU8,
    pub(super) cpus: CpuTable<CpuPages>,
    /// How many contexts on CPUs without caches have pages on their way from a cache to the tree.
    pub(super) strangers: AtomicUsize,
    /// Which of them is in the reclaim callback: 0 is none, else it is the number of its CPU and 1.
    pub(super) reclaiming: AtomicUsize,
    /// Drains on behalf of allocations that would fail.
    pub(super) passes: Passes,
    /// Blocks in caches whose state was not what it had to be.
    pub(super) corrupted: AtomicUsize,
    /// A layer of objects above remembers where sections describe slabs, and has to hear of a removal.
    pub(super) has_objects: bool,
}

/// What is behind the lock.
pub(super) struct Tree<const PAGE_SIZE: usize> {
    pub(super) zones: Zones<PAGE_SIZE>,
    /// A section that is being removed, and is not in the index now.
    pub(super) closing: Option<SectionRef>,
    /// The CPUs that have caches.
    pub(super) sharers: Sharers,
    /// How often pages have come that can be allocated.
    pub(super) arrivals: usize,
    /// Where the last free was.
    pub(super) recent: Option<SectionRef>,
    pub(super) reclaim: Option<Reclaim>,
}

/// Keeps its content on cache lines of its own.
#[repr(align(128))]
pub(super) struct Line<T>(pub(super) T);

// SAFETY: what is behind the lock belongs to its holder; the sections' unlocked parts are
// immutable or atomic; a CPU's caches are behind their own lock.
unsafe impl<P: Platform, const PAGE_SIZE: usize> Sync for FrameAllocator<P, PAGE_SIZE> {}

// SAFETY: nothing refers to the thread or CPU that made it.
unsafe impl<P: Platform, const PAGE_SIZE: usize> Send for FrameAllocator<P, PAGE_SIZE> {}

impl<P: Platform, const PAGE_SIZE: usize> Default for FrameAllocator<P, PAGE_SIZE> {
    fn default() -> Self {
        Self::new()
    }
}

impl<P: Platform, const PAGE_SIZE: usize> FrameAllocator<P, PAGE_SIZE> {
    /// An allocator without memory.
    #[must_use]
    pub const fn new() -> Self {
        Self::make(false)
    }

    /// One whose sections are removed by the layer of objects above it.
    pub(crate) const fn below_objects() -> Self {
        Self::make(true)
    }

    const fn make(has_objects: bool) -> Self {
        Self {
            shared: Shared {
                index: SectionIndex::new(),
                has_normal: AtomicBool::new(false),
                nodes: AtomicU8::new(0),
                cpus: CpuTable::new(),
                strangers: AtomicUsize::new(0),
                reclaiming: AtomicUsize::new(0),
                passes: Passes::new(),
                corrupted: AtomicUsize::new(0),
                has_objects,
            },
            tree: Line(IrqLock::new(Tree {
                zones: Zones::below_caches(),
                closing: None,
                sharers: Sharers::new(0),
                arrivals: 0,
                recent: None,
                reclaim: None,
            })),
        }
    }

    /// Allocates `count` pages; see
    /// [`BuddyAllocator::alloc_pages`](super::BuddyAllocator::alloc_pages).
    ///
    /// # Errors
    ///
    /// As there.
    #[inline]
    pub fn alloc_pages(&self, count: usize, align: usize) -> AllocResult<usize> {
        if let Some(addr) = self.pop_any(count, align) {
            return Ok(addr);
        }
        match self.alloc_pages_slowly(count, align) {
            (addr, None) => Ok(addr),
            (_, Some(lack)) => Err(lack.into()),
        }
    }

    /// [`alloc_pages`](Self::alloc_pages) without the rounding: exactly `count` pages.
    ///
    /// # Errors
    ///
    /// As `alloc_pages`.
    pub fn alloc_pages_exact(&self, count: usize, align: usize) -> AllocResult<usize> {
        self.allocate(&PageRequest::new(count).align(align).exact())
    }

    /// [`alloc_pages`](Self::alloc_pages) physically below 4 GiB, at the same cost.
    ///
    /// # Errors
    ///
    /// As `alloc_pages`.
    #[inline]
    pub fn alloc_pages_lowmem(&self, count: usize, align: usize) -> AllocResult<usize> {
        if let Some(addr) = self.pop_low(count, align) {
            return Ok(addr);
        }
        match self.alloc_lowmem_slowly(count, align) {
            (addr, None) => Ok(addr),
            (_, Some(lack)) => Err(lack.into()),
        }
    }

    /// Allocates what the request describes.
    ///
    /// # Errors
    ///
    /// As [`alloc_pages`](Self::alloc_pages).
    #[inline]
    pub fn allocate(&self, request: &PageRequest) -> AllocResult<usize> {
        let demand = request.check::<PAGE_SIZE>()?;
        let addr = match self.pop_for(&demand) {
            Some(addr) => addr,
            None => self.allocate_or_reclaim(&demand)?,
        };
        // SAFETY: these pages are nobody's but the caller's to be.
        unsafe { self.clear_if_asked(addr, request) };
        Ok(addr)
    }

    /// Clears pages that were allocated for a request, if it says so.
    ///
    /// # Safety
    ///
    /// They are nobody's but the caller's.
    #[inline]
    pub(crate) unsafe fn clear_if_asked(&self, addr: usize, request: &PageRequest) {
        if request.zeroed
            && let Ok(demand) = request.check::<PAGE_SIZE>()
        {
            let start = core::ptr::with_exposed_provenance_mut::<u8>(addr);
            // SAFETY: the memory of a section was exposed when it was added; the caller has these pages of it.
            unsafe { start.write_bytes(0, demand.count * PAGE_SIZE) };
        }
    }

    /// Allocates exactly the `count` pages at `addr`; see
    /// [`BuddyAllocator::alloc_pages_at`](super::BuddyAllocator::alloc_pages_at).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn alloc_pages_at(&self, addr: usize, count: usize, align: usize) -> AllocResult<usize> {
        let order = Order::covering(count).ok_or(AllocError::InvalidParam)?;
        align_order::<PAGE_SIZE>(align)?;
        if !addr.is_multiple_of(align.max(PAGE_SIZE)) {
            return Err(AllocError::InvalidParam);
        }
        let take = || {
            let mut tree = self.tree.0.lock();
            let (section, pfn) = self.locate(&tree, addr)?;
            if section.closing.get() {
                return Err(AllocError::NoMemory);
            }
            tree.zones.allocate_at(section, pfn, count)?;
            Ok(tree.zones.pressure(section.zone(), order))
        };
        // Pages in a cache are free too, but only a drain gives back these particular ones.
        let pressure = take().or_else(|error| match error {
            AllocError::NoMemory if self.drain_all() != 0 => take(),
            error => Err(error),
        })?;
        self.tell(pressure);
        Ok(addr)
    }

    /// Frees what was allocated at `addr`; see
    /// [`BuddyAllocator::dealloc_pages`](super::BuddyAllocator::dealloc_pages).
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Safety
    ///
    /// Nobody uses the block any more, and nobody else frees it at the same time. (Freeing it
    /// again later is refused.)
    #[inline]
    pub unsafe fn dealloc_pages(&self, addr: usize, count: usize) -> AllocResult {
        match Slot::exact(count) {
            Some(slot) if self.push(addr, slot) => Ok(()),
            _ => self.free_elsewhere(addr, count),
        }
    }

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
