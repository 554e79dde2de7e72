//! A CPU's own pages: stacks of blocks, so that the usual allocation and the usual free take no
//! lock.

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicUsize, Ordering};

use super::cut::cut;
use super::entry::{Entry, cached};
use super::frame::Order;
use super::held::Held;
use super::lane::{Bank, LANES, Lane, blank};
use super::share::Share;
use super::stack::{BASES, BY_USE, ENTRIES, Group, STACKS, Stack, VACANT};
use super::state::PageState;
use crate::percpu::{BiasedLock, Claim, OwnerGuard, PerCpu};

/// The most blocks that move between a cache and the tree under one hold of the lock.
pub(super) const BATCH: usize = 32;

/// The lock of a CPU's caches, whose gates lead to the stacks.
pub(super) type Lock = BiasedLock<Held, Lane, Bank, STACKS>;

/// A claim on them.
pub(super) type Claimed<'a> = Claim<'a, Held, Lane, Bank, STACKS>;

/// What the CPU itself has when it has them.
pub(super) type Own<'a> = OwnerGuard<'a, Held, Lane, Bank, STACKS>;

/// A CPU's page caches.
#[repr(C, align(64))]
pub(crate) struct CpuPages {
    // First, as a CPU that has none has nothing else.
    pub(super) lock: Lock,
    /// How often a context on this CPU began or ended to have pages on their way from a cache to the tree,
    /// or a section that is not to be allocated from: odd while there is one.
    pub(super) moves: AtomicU32,
    /// This CPU is in the reclaim callback.
    pub(super) reclaiming: AtomicBool,
    /// How often an empty stack was filled.
    pub(super) refills: AtomicUsize,
    /// How often a full one was emptied to a half.
    pub(super) drains: AtomicUsize,
    /// The lanes for which there is no room in the bank beside the lock.
    banks: [Bank; BANKS],
    /// The entries of all stacks. Those from a stack's base to its top are initialised, and the one below the base.
    entries: UnsafeCell<[MaybeUninit<Aligned>; ENTRIES]>,
}

/// Both words of an entry are stored at once: they are to lie on one line.
#[repr(align(16))]
struct Aligned(#[expect(dead_code, reason = "used as what it has")] Entry);
const _: () = assert!(size_of::<Aligned>() == size_of::<Entry>() || size_of::<usize>() != 8);

/// How many banks of lanes there are apart from the one beside the lock.
const BANKS: usize = (STACKS - 1) / LANES;

/// The state of what lies below all entries of a stack: never that of a cached block. Never written to.
static NOTHING: AtomicU8 = AtomicU8::new(PageState::NOTHING.to_byte());

// Two pages, with 4 KiB pages and 64-bit addresses.
#[cfg(not(loom))]
const _: () = assert!(size_of::<usize>() != 8 || size_of::<CpuPages>() <= 8192);

// SAFETY: the entries and the ends of the stacks belong to the holder of the lock, the other pointers never
// change; what all of them lead to may be used from any CPU.
unsafe impl Sync for CpuPages {}

// SAFETY: the lock comes first, and in that its presence.
unsafe impl PerCpu for CpuPages {}

impl CpuPages {
    /// Makes the caches of a CPU, empty.
    ///
    /// Where they are to be, because two pages are more than the stack of an interrupt may have left.
    ///
    /// # Safety
    ///
    /// `memory` is aligned for them, long enough, and the caller's for ever.
    pub(super) unsafe fn create(memory: NonNull<Self>) {
        let cpu = memory.as_ptr();
        macro_rules! set {
            ($field:ident, $value:expr) => {{
                let value = $value;
                // SAFETY: the caller says that there is room.
                let field = unsafe { &raw mut (*cpu).$field };
                // SAFETY: as above, and it is the caller's.
                unsafe { field.write(value) };
            }};
        }
        set!(moves, AtomicU32::new(0));
        set!(reclaiming, AtomicBool::new(false));
        set!(refills, AtomicUsize::new(0));
        set!(drains, AtomicUsize::new(0));
        set!(banks, [const { blank() }; BANKS]);
        // SAFETY: as above.
        let entries = unsafe { &raw mut (*cpu).entries }.cast::<Entry>();
        // SAFETY: as above.
        let banks = unsafe { &raw const (*cpu).banks }.cast::<Bank>();
        let make = |beside: *const Bank| {
            let mut lanes = [core::ptr::null(); STACKS];
            for (place, stack) in BY_USE.into_iter().enumerate() {
                let bank = match place / LANES {
                    0 => beside,
                    further => banks.wrapping_add(further - 1),
                };
                let base = entries.wrapping_add(BASES[stack] as usize);
                let below = Entry::new(0, &NOTHING);
                // SAFETY: behind the entries of the stack below there is room for one more.
                unsafe { base.wrapping_sub(1).write(below) };
                // SAFETY: each place is one lane's, and an entry is below the base.
                lanes[stack] = unsafe { Lane::create(bank, place % LANES, base) };
            }
            (lanes, lanes[VACANT])
        };
        let held = Held::new();
        // It comes first.
        let lock = memory.cast::<Lock>();
        // SAFETY: the lanes are as much a part of the CPU's state as the lock. Nobody changes that of a stack
        // without room.
        unsafe { Lock::create(lock, held, blank(), make) };
    }

    #[inline]
    fn lane(&self, stack: Stack) -> &Lane {
        // SAFETY: the index of a stack is below `STACKS`.
        unsafe { self.lock.part(stack.index()) }
    }

    /// Where the first entry of a stack is.
    #[inline]
    fn base(&self, stack: Stack) -> *mut Entry {
        let entries = self.entries.get().cast::<Entry>();
        entries.wrapping_add(BASES[stack.index()] as usize)
    }

    /// Sets how many blocks this CPU may keep in a stack.
    #[inline]
    pub(super) fn set_limit(&self, _held: &mut Held, stack: Stack, share: Share) {
        let limit = share.kept(stack, self.count(stack));
        let end = self.base(stack).wrapping_add(limit as usize);
        // SAFETY: the caller has what is locked, and the limit is at most the stack's capacity.
        unsafe { self.lane(stack).set_end(end) };
    }

    /// Lets this CPU keep nothing in a stack until it has asked how much that may be: it may be much less by now.
    pub(super) fn close(&self, _held: &mut Held, stack: Stack) {
        // SAFETY: the caller has what is locked, and the base is in the range of the stack.
        unsafe { self.lane(stack).set_end(self.base(stack)) };
    }

    #[inline]
    pub(super) fn count(&self, stack: Stack) -> usize {
        entries_between(self.base(stack), self.lane(stack).top(Ordering::Relaxed))
    }

    /// Pages in all stacks.
    pub(super) fn pages(&self) -> usize {
        Stack::all()
            .map(|stack| self.count(stack) << stack.order().log2())
            .sum()
    }

    /// Whether there are pages in any stack. Where a drain has left none, what it did before is seen.
    pub(super) fn has_pages(&self) -> bool {
        Stack::all().any(|stack| self.lane(stack).top(Ordering::Acquire) != self.base(stack))
    }

    /// Takes the topmost entry off.
    pub(super) fn pop(&self, _held: &mut Held, stack: Stack) -> Option<Entry> {
        if self.count(stack) == 0 {
            return None;
        }
        // SAFETY: the caller has what is locked.
        unsafe { self.lane(stack).pop_if(|_| true) }
    }

    /// Pops as many entries as `out` takes, and returns how many those are.
    pub(super) fn pop_many(&self, held: &mut Held, stack: Stack, out: &mut [Entry]) -> usize {
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
    pub(super) fn is_full(&self, _held: &Held, stack: Stack) -> bool {
        let lane = self.lane(stack);
        // SAFETY: the caller has what is locked.
        lane.top(Ordering::Relaxed) >= unsafe { lane.end() }
    }

    /// Adds a block that is allocated and lies in the part that the CPU knows for that group, if there is room.
    #[inline]
    pub(super) fn push_known<const PAGE_SIZE: usize>(
        &self,
        held: &mut Held,
        addr: usize,
        stack: Stack,
        group: Group,
    ) -> bool {
        let (recent, cached) = (held.recents.of(group), cached(stack.order()));
        let lane = self.lane(stack.within(group));
        // SAFETY: the caller has what is locked.
        unsafe { lane.push_if(|| recent.take_in::<PAGE_SIZE>(addr, cached)) }
    }

    /// How many blocks a stack may hold, as was last asked.
    #[inline]
    fn limit(&self, _held: &Held, stack: Stack) -> usize {
        // SAFETY: the caller has what is locked.
        entries_between(self.base(stack), unsafe { self.lane(stack).end() })
    }

    /// How many more blocks a stack has than it may hold.
    pub(super) fn excess(&self, held: &Held, stack: Stack) -> usize {
        self.count(stack).saturating_sub(self.limit(held, stack))
    }

    /// How many blocks of a full stack to give back, so that it has about half of what it may have.
    ///
    /// An odd number, while fills bring powers of two: by equal steps down and up, a CPU that uses almost as
    /// many blocks as it may keep would have too many and too few of them by turns for ever.
    #[inline]
    pub(super) fn surplus(&self, held: &Held, stack: Stack) -> usize {
        let surplus = self
            .count(stack)
            .saturating_sub(self.limit(held, stack) / 2);
        surplus.saturating_sub(1) | 1
    }

    /// How many of the oldest blocks to give back of a stack that has a surplus, for which it is noted. Where it happens once more
    /// before the stack is filled again, many blocks are being freed: then whole groups are cut off.
    #[inline]
    pub(super) fn to_drain<const PAGE_SIZE: usize>(
        &self,
        held: &mut Held,
        stack: Stack,
        surplus: usize,
    ) -> usize {
        if !held.is_drained(stack) {
            held.note_drained(stack);
            return surplus;
        }
        let log2 = stack.order().log2() + PAGE_SIZE.ilog2();
        cut(self.entries(held, stack), surplus, log2)
    }

    /// Room for up to `wanted` entries in an empty stack, as far as its end allows.
    #[inline]
    pub(super) fn vacant(&self, _held: &Held, stack: Stack, wanted: u32) -> Vacant {
        debug_assert_eq!(self.count(stack), 0);
        // SAFETY: the caller has what is locked.
        let (base, end) = (self.base(stack), unsafe { self.lane(stack).end() });
        // It may lie beyond the end, and is not used then.
        let top = end.min(base.wrapping_add(wanted as usize));
        Vacant {
            base,
            next: top,
            top,
        }
    }

    /// Makes what was put into the room of an empty stack the stack's.
    #[inline]
    pub(super) fn occupy(&self, held: &mut Held, stack: Stack, room: &Vacant) {
        held.note_filled(stack);
        let count = entries_between(room.next, room.top);
        if room.next != room.base {
            // SAFETY: there is room for these entries, which belong to the holder of the lock, below as well.
            unsafe { core::ptr::copy(room.next, room.base, count) };
        }
        // SAFETY: the same room.
        let top = unsafe { room.base.add(count) };
        self.lane(stack).set_top(top, Ordering::Relaxed);
    }

    /// Moves up to `limit` of the oldest entries of a stack out, and returns how many.
    pub(super) fn take_oldest(
        &self,
        held: &mut Held,
        stack: Stack,
        limit: usize,
        out: &mut [Entry; BATCH],
    ) -> usize {
        let moved = self.count(stack).min(limit).min(BATCH);
        out[..moved].copy_from_slice(&self.entries(held, stack)[..moved]);
        self.drop_oldest(held, stack, moved);
        moved
    }

    /// Takes so many of the oldest entries of a stack, which has them, off.
    #[inline]
    pub(super) fn drop_oldest(&self, held: &mut Held, stack: Stack, gone: usize) {
        self.drop_entries(held, stack, 0, gone);
    }

    /// Where in a stack the block at `addr` is, if it is there.
    pub(super) fn find(&self, held: &Held, stack: Stack, addr: usize) -> Option<usize> {
        let mut entries = self.entries(held, stack).iter();
        entries.position(|entry| entry.addr == addr)
    }

    /// Takes the block at `addr` out of a stack, if it is there.
    pub(super) fn take(&self, held: &mut Held, stack: Stack, addr: usize) -> Option<Entry> {
        let found = self.find(held, stack, addr)?;
        let entry = self.entries(held, stack)[found];
        self.drop_entries(held, stack, found, 1);
        Some(entry)
    }

    /// Takes `gone` entries of a stack, which has them, off, and leaves the `older` ones below them.
    #[inline]
    fn drop_entries(&self, _held: &mut Held, stack: Stack, older: usize, gone: usize) {
        let newer = self.count(stack) - older - gone;
        // SAFETY: the stack has them.
        let hole = unsafe { self.base(stack).add(older) };
        // SAFETY: as above.
        let first = unsafe { hole.add(gone) };
        // SAFETY: these are the entries of the stack, and belong to the holder of the lock.
        unsafe { core::ptr::copy(first, hole, newer) };
        // SAFETY: there is room for more than these.
        let top = unsafe { hole.add(newer) };
        self.lane(stack).set_top(top, Ordering::Release);
    }

    /// The entries of a stack, oldest first.
    #[inline]
    pub(super) fn entries<'a>(&'a self, _held: &'a Held, stack: Stack) -> &'a [Entry] {
        // SAFETY: from the base of a stack to its top there are entries, and who has the lock changes none as long as
        // this borrows it.
        unsafe { core::slice::from_raw_parts(self.base(stack), self.count(stack)) }
    }
}

/// How many entries there are from one place in a stack to another one above.
#[inline]
fn entries_between(low: *mut Entry, high: *mut Entry) -> usize {
    (high.addr() - low.addr()) / size_of::<Entry>()
}

/// Room in a stack that is filled from the top down, so that what comes first is taken first.
pub(super) struct Vacant {
    base: *mut Entry,
    /// One past the entry that is filled next. From `base` to `top`.
    next: *mut Entry,
    top: *mut Entry,
}

impl Vacant {
    /// How many entries there is room for.
    #[inline]
    pub(super) fn len(&self) -> usize {
        entries_between(self.base, self.next)
    }

    /// Puts `count` blocks of `order` that follow each other, from `first` on, below those that are there; there is room. They
    /// get the state that they have in a cache.
    ///
    /// # Safety
    ///
    /// They lie in one section, below its frontier.
    #[inline]
    pub(super) unsafe fn put_many<const PAGE_SIZE: usize>(
        &mut self,
        _held: &mut Held,
        first: Entry,
        order: Order,
        count: usize,
    ) {
        debug_assert!(count <= self.len());
        for n in 0..count {
            // SAFETY: passed on to the caller.
            let entry = unsafe { first.behind::<PAGE_SIZE>(order, n) };
            entry.set(cached(order));
            // SAFETY: there is room.
            self.next = unsafe { self.next.sub(1) };
            // SAFETY: what is at or above a base and below an end is the lock holder's.
            unsafe { self.next.write(entry) };
        }
    }
}
