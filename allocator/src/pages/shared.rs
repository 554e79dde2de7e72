//! The page allocator that all CPUs share.

use core::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize};

use super::cache::CpuPages;
use super::frame::Order;
use super::index::SectionIndex;
use super::pass::Passes;
use super::reclaim::Reclaim;
use super::request::{PageRequest, align_order};
use super::section::SectionRef;
use super::share::Sharers;
use super::stack::Slot;
use super::zones::Zones;
use crate::patience::Patience;
use crate::percpu::CpuTable;
use crate::sync::IrqLock;
use crate::{AllocError, AllocResult, Platform};

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
/// The lock of the tree is held with interrupts masked for at most a batch of 32 blocks, and while the metadata of memory
/// is set up that was never used: of at most 8192 pages at a time. Where more is needed, for a block that is larger, aligned to more, or at a
/// given address, the lock is let go between. Nothing is waited for while it is held.
pub struct FrameAllocator<P: Platform, const PAGE_SIZE: usize = 0x1000> {
    pub(super) shared: Shared,
    pub(super) tree: Line<IrqLock<P, Tree<PAGE_SIZE>>>,
}

/// How many CPUs without caches may be in the reclaim callback at once. A CPU has none where memory had run out when it first
/// called.
const STRANGERS: usize = 8;

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
    /// Which CPUs without caches are in the reclaim callback: 0 is none, else it is the number of the CPU and 1.
    pub(super) reclaiming: [AtomicUsize; STRANGERS],
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
                reclaiming: [const { AtomicUsize::new(0) }; STRANGERS],
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
            self.in_steps(|tree| {
                let (section, pfn) = self.locate(tree, addr)?;
                if section.closing.get() {
                    return Err(AllocError::NoMemory);
                }
                tree.zones.allocate_at(section, pfn, count)?;
                Ok(tree.zones.pressure(section.zone(), order))
            })
        };
        // Pages in a cache are free too, but only a drain gives back these particular ones.
        let pressure = take().or_else(|error| match error {
            AllocError::NoMemory => {
                self.drain_together(Patience::much());
                // Who drains already may have them in hand.
                self.wait_for_moving();
                take()
            }
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
}
