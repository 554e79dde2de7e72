//! A CPU's own pages: stacks of blocks, so that the usual allocation and the usual free take no
//! lock.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicUsize, Ordering};

use super::frame::{Order, Pfn};
use super::section::SectionRef;
use super::state::{Kind, PageState};
use super::zone::Zone;
use crate::percpu::BiasedLock;

/// Orders 0 to 9 are cached: with 4 KiB pages, everything up to 2 MiB.
const ORDERS: usize = 10;

/// Every order twice: for any memory, and for memory below 4 GiB where there is other memory too.
const STACKS: usize = 2 * ORDERS;

/// How many blocks a stack holds at most.
const CAPACITY: [usize; STACKS] = [
    64, 32, 16, 16, 12, 8, 8, 8, 8, 8, // any memory
    24, 8, 8, 4, 2, 2, 2, 2, 2, 2, // low memory
];

/// A stack of a CPU has at most this share of the free memory, divided by the number of CPUs: what
/// is in caches does not merge.
const SHARE: usize = 16;

/// Where each stack begins among the entries, and where the last one ends.
const BASES: [usize; STACKS + 1] = {
    let mut bases = [0; STACKS + 1];
    let mut i = 0;
    while i < STACKS {
        bases[i + 1] = bases[i] + CAPACITY[i];
        i += 1;
    }
    bases
};

const ENTRIES: usize = BASES[STACKS];

/// The most blocks that move between a cache and the tree under one hold of the lock.
pub(super) const BATCH: usize = 32;

/// One of a CPU's stacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stack {
    /// Below `STACKS`.
    index: usize,
    order: Order,
}

impl Stack {
    /// The stack for blocks of `order`, if that order is cached.
    #[inline]
    pub(super) const fn of(order: Order, low: bool) -> Option<Self> {
        if order.index() >= ORDERS {
            return None;
        }
        Some(Self {
            index: if low {
                order.index() + ORDERS
            } else {
                order.index()
            },
            order,
        })
    }

    /// All stacks.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        Order::all()
            .flat_map(|order| [Self::of(order, false), Self::of(order, true)])
            .flatten()
    }

    #[inline]
    pub(super) const fn order(self) -> Order {
        self.order
    }

    /// How many blocks a CPU may keep here when `cpus` share `free` pages.
    fn limit(self, free: usize, cpus: usize) -> usize {
        let share = free / (SHARE * cpus);
        CAPACITY[self.index].min(share >> self.order.log2())
    }

    #[inline]
    const fn base(self) -> usize {
        BASES[self.index]
    }
}

/// A cached block: its address, and where its state is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) addr: usize,
    state: NonNull<AtomicU8>,
}

impl Entry {
    pub(super) const NONE: Self = Self {
        addr: 0,
        state: NonNull::dangling(),
    };

    #[inline]
    pub(super) fn new(addr: usize, state: &AtomicU8) -> Self {
        Self {
            addr,
            state: NonNull::from(state),
        }
    }

    /// Is the block in the state that a cached one has?
    pub(super) fn is_cached(&self, order: Order) -> bool {
        // SAFETY: as in `turn`.
        let state = unsafe { self.state.as_ref() };
        state.load(Ordering::Relaxed) == cached(order).to_byte()
    }

    /// Turns the block from one state into another; says whether it was in that state.
    #[inline]
    pub(super) fn turn(&self, from: PageState, to: PageState) -> bool {
        // SAFETY: the state lies in a section's metadata, and a section with a page in a cache
        // is not removed.
        let state = unsafe { self.state.as_ref() };
        let is_right = state.load(Ordering::Relaxed) == from.to_byte();
        if is_right {
            state.store(to.to_byte(), Ordering::Relaxed);
        }
        is_right
    }
}

/// The part of a section that a CPU has freed pages in lately, with what a free needs to know.
#[derive(Clone, Copy)]
pub(super) struct Recent {
    start: usize,
    /// Pages from `start` up to the frontier, as far as that had come.
    pages: usize,
    states: NonNull<AtomicU8>,
    /// Blocks from here belong on the stacks for low memory.
    low: bool,
}

impl Recent {
    /// Contains nothing.
    const NONE: Self = Self {
        start: 0,
        pages: 0,
        states: NonNull::dangling(),
        low: false,
    };

    pub(super) fn new(section: SectionRef, has_normal: bool) -> Self {
        Self {
            start: section.start(),
            pages: section.frontier().since(section.first()),
            states: section.states(),
            low: has_normal && section.zone() != Zone::Normal,
        }
    }

    /// The state of the page at `addr`, if that is a page of this part.
    #[inline]
    pub(super) fn state<const PAGE_SIZE: usize>(&self, addr: usize) -> Option<&AtomicU8> {
        // What is no multiple of the page size becomes a huge number.
        let page = addr
            .wrapping_sub(self.start)
            .rotate_right(PAGE_SIZE.trailing_zeros());
        if page >= self.pages {
            return None;
        }
        // SAFETY: there is a byte for every page.
        let state = unsafe { self.states.add(page) };
        // SAFETY: it is initialised below the frontier, and the section is there as long as its
        // CPU has not been made to forget it.
        Some(unsafe { state.as_ref() })
    }

    #[inline]
    pub(super) const fn is_low(&self) -> bool {
        self.low
    }
}

/// What only the holder of a CPU's lock touches.
#[repr(C)]
pub(super) struct Held {
    pub(super) recent: Recent,
    entries: [Entry; ENTRIES],
}

// SAFETY: the pointers refer to section metadata, which any CPU may use.
unsafe impl Send for Held {}

impl Held {
    /// Makes the CPU forget the section it knows.
    pub(super) const fn forget(&mut self) {
        self.recent = Recent::NONE;
    }
}

/// How many blocks a stack has, and may have.
struct Level {
    /// Written under the lock of the CPU, read by statistics. At most the capacity.
    count: AtomicU32,
    /// Written under the lock of the tree. At most the capacity.
    limit: AtomicU32,
}

/// A CPU's page caches.
#[repr(C, align(64))]
pub(crate) struct CpuPages {
    levels: [Level; STACKS],
    /// A context on this CPU has pages on their way from a cache to the tree.
    pub(super) moving: AtomicBool,
    /// This CPU is in the reclaim callback.
    pub(super) reclaiming: AtomicBool,
    /// How often an empty stack was filled.
    pub(super) refills: AtomicUsize,
    /// How often a full one was emptied to a half.
    pub(super) drains: AtomicUsize,
    pub(super) lock: BiasedLock<Held>,
}

// One page, with 4 KiB pages and 64-bit addresses.
#[cfg(not(loom))]
const _: () = assert!(size_of::<usize>() != 8 || size_of::<CpuPages>() <= 4096);

impl CpuPages {
    pub(super) fn new() -> Self {
        Self {
            levels: [const {
                Level {
                    count: AtomicU32::new(0),
                    limit: AtomicU32::new(0),
                }
            }; STACKS],
            moving: AtomicBool::new(false),
            reclaiming: AtomicBool::new(false),
            refills: AtomicUsize::new(0),
            drains: AtomicUsize::new(0),
            lock: BiasedLock::new(Held {
                recent: Recent::NONE,
                entries: [Entry::NONE; ENTRIES],
            }),
        }
    }

    /// Sets how much of the `free` pages this CPU, one of `cpus`, may keep in a stack.
    pub(super) fn set_limit(&self, stack: Stack, free: usize, cpus: usize) {
        #[expect(clippy::cast_possible_truncation, reason = "a capacity is below 100")]
        let limit = stack.limit(free, cpus) as u32;
        self.levels[stack.index]
            .limit
            .store(limit, Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn count(&self, stack: Stack) -> usize {
        self.levels[stack.index].count.load(Ordering::Relaxed) as usize
    }

    #[inline]
    fn limit(&self, stack: Stack) -> usize {
        self.levels[stack.index].limit.load(Ordering::Relaxed) as usize
    }

    #[inline]
    fn set_count(&self, stack: Stack, count: usize) {
        #[expect(clippy::cast_possible_truncation, reason = "a capacity is below 100")]
        let count = count as u32;
        self.levels[stack.index]
            .count
            .store(count, Ordering::Relaxed);
    }

    /// How many blocks are moved when the stack is empty or full.
    pub(super) fn batch(&self, stack: Stack) -> usize {
        self.limit(stack).div_ceil(2)
    }

    /// Pages in all stacks.
    pub(super) fn pages(&self) -> usize {
        Stack::all()
            .map(|stack| self.count(stack) << stack.order().log2())
            .sum()
    }

    /// Takes the topmost entry off.
    #[inline]
    pub(super) fn pop(&self, held: &Held, stack: Stack) -> Option<Entry> {
        let count = self.count(stack).checked_sub(1)?;
        self.set_count(stack, count);
        // SAFETY: a count is at most the capacity, so this is one of the stack's entries.
        Some(unsafe { *held.entries.get_unchecked(stack.base() + count) })
    }

    /// Pops as many entries as `out` takes, and returns how many those are.
    pub(super) fn pop_many(&self, held: &Held, stack: Stack, out: &mut [Entry]) -> usize {
        let mut popped = 0;
        for slot in out {
            let Some(entry) = self.pop(held, stack) else {
                break;
            };
            *slot = entry;
            popped += 1;
        }
        popped
    }

    #[inline]
    pub(super) fn is_full(&self, stack: Stack) -> bool {
        self.count(stack) >= self.limit(stack)
    }

    /// Adds an entry to a stack that is not full.
    #[inline]
    pub(super) fn push(&self, held: &mut Held, stack: Stack, entry: Entry) {
        let count = self.count(stack);
        debug_assert!(count < self.limit(stack));
        // SAFETY: a count is below the limit here, and that is at most the capacity, so this is
        // one of the stack's entries.
        unsafe { *held.entries.get_unchecked_mut(stack.base() + count) = entry };
        self.set_count(stack, count + 1);
    }

    /// Moves up to `limit` of the oldest entries of a stack out, and returns how many.
    pub(super) fn take_oldest(
        &self,
        held: &mut Held,
        stack: Stack,
        limit: usize,
        out: &mut [Entry; BATCH],
    ) -> usize {
        let count = self.count(stack);
        let moved = count.min(limit).min(BATCH);
        let entries = &mut held.entries[stack.base()..stack.base() + count];
        out[..moved].copy_from_slice(&entries[..moved]);
        entries.copy_within(moved.., 0);
        self.set_count(stack, count - moved);
        moved
    }

    /// The entries of a stack, for validation.
    pub(super) fn entries<'a>(&self, held: &'a Held, stack: Stack) -> &'a [Entry] {
        &held.entries[stack.base()..stack.base() + self.count(stack)]
    }
}

/// The state that a block of `order` has in a cache.
#[inline]
pub(super) const fn cached(order: Order) -> PageState {
    PageState::new(Kind::Cached, order)
}

/// The state that it has outside.
#[inline]
pub(super) const fn allocated(order: Order) -> PageState {
    PageState::new(Kind::Block, order)
}

/// An entry for a block of a section.
pub(super) fn entry<const PAGE_SIZE: usize>(section: SectionRef, pfn: Pfn) -> Entry {
    Entry::new(section.addr::<PAGE_SIZE>(pfn), section.state_byte(pfn))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_keeps_a_small_share_of_what_is_free() {
        let limit = |order, pages, cpus| {
            Stack::of(Order::new(order).unwrap(), false)
                .unwrap()
                .limit(pages, cpus)
        };
        // 16 MiB: nothing of 2 MiB, some single pages.
        assert_eq!((limit(9, 1 << 12, 1), limit(0, 1 << 12, 1)), (0, 64));
        assert_eq!(limit(0, 1 << 12, 32), 8);
        // 16 GiB: everything.
        assert_eq!((limit(9, 1 << 22, 4), limit(0, 1 << 22, 4)), (8, 64));
        for stack in Stack::all() {
            assert!(stack.limit(usize::MAX, 1) <= BASES[stack.index + 1] - BASES[stack.index]);
        }
    }
}
