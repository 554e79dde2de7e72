//! A CPU's own pages: stacks of blocks, so that the usual allocation and the usual free take no
//! lock.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicUsize, Ordering};

use super::entry::Entry;
use super::section::SectionRef;
use super::stack::{BASES, ENTRIES, Group, STACKS, Share, Stack};
use super::zone::Zone;
use crate::percpu::{BiasedLock, PerCpu};

/// The most blocks that move between a cache and the tree under one hold of the lock.
pub(super) const BATCH: usize = 32;

/// The part of a section that a CPU has freed pages in lately, with what a free needs to know.
#[derive(Clone, Copy)]
pub(super) struct Recent {
    start: usize,
    /// Pages from `start` up to the frontier, as far as that had come.
    pages: usize,
    states: *const AtomicU8,
    /// The stacks that blocks from here belong on.
    pub(super) group: Group,
}

impl Recent {
    /// Contains nothing.
    const NONE: Self = Self {
        start: 0,
        pages: 0,
        states: core::ptr::null(),
        group: Group::ANY,
    };

    pub(super) fn new(section: SectionRef, has_normal: bool) -> Self {
        Self {
            start: section.start(),
            pages: section.frontier().since(section.first()),
            states: section.states().as_ptr(),
            group: if has_normal && section.zone() != Zone::Normal {
                Group::LOW
            } else {
                Group::ANY
            },
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
        Some(unsafe { &*state })
    }
}

/// What only the holder of a CPU's lock touches.
#[repr(C)]
pub(super) struct Held {
    pub(super) recent: Recent,
    /// One past the last entry of each stack that may be used now. In the same range as the top.
    ends: [u32; STACKS],
    addrs: [usize; ENTRIES],
    /// Null where there has never been an entry.
    states: [*const AtomicU8; ENTRIES],
}

// SAFETY: the pointers refer to section metadata, which any CPU may use.
unsafe impl Send for Held {}

impl Held {
    /// Makes the CPU forget the section it knows.
    pub(super) const fn forget(&mut self) {
        self.recent = Recent::NONE;
    }

    /// One past the last entry of a stack that may be used now.
    #[inline]
    fn end(&self, stack: Stack) -> u32 {
        // SAFETY: the index of a stack is below `STACKS`.
        *unsafe { self.ends.get_unchecked(stack.index()) }
    }

    /// # Safety
    ///
    /// `index` is below `ENTRIES`, and that of an entry.
    #[inline]
    unsafe fn entry(&self, index: u32) -> Entry {
        // SAFETY: the caller promised it.
        let addr = unsafe { *self.addrs.get_unchecked(index as usize) };
        // SAFETY: as above.
        let state = unsafe { *self.states.get_unchecked(index as usize) };
        // SAFETY: an entry has a state.
        let state = unsafe { NonNull::new_unchecked(state.cast_mut()) };
        Entry { addr, state }
    }

    /// # Safety
    ///
    /// `index` is below `ENTRIES`.
    #[inline]
    unsafe fn set_entry(&mut self, index: u32, entry: Entry) {
        // SAFETY: the caller promised it.
        *unsafe { self.addrs.get_unchecked_mut(index as usize) } = entry.addr;
        // SAFETY: as above.
        *unsafe { self.states.get_unchecked_mut(index as usize) } = entry.state.as_ptr();
    }
}

/// A CPU's page caches.
#[repr(C, align(64))]
pub(crate) struct CpuPages {
    // What the stacks have, and may have, as indices of the entries.
    /// One past the topmost entry. Written under the lock of the CPU, read by statistics. From
    /// the base to the base and the capacity.
    tops: [AtomicU32; STACKS],
    /// The first entry.
    bases: [u32; STACKS],
    /// How often a context on this CPU began or ended to have pages on their way from a cache to the tree,
    /// or a section that is not to be allocated from: odd while there is one.
    pub(super) moves: AtomicU32,
    /// This CPU is in the reclaim callback.
    pub(super) reclaiming: AtomicBool,
    /// How often an empty stack was filled.
    pub(super) refills: AtomicUsize,
    /// How often a full one was emptied to a half.
    pub(super) drains: AtomicUsize,
    pub(super) lock: BiasedLock<Held>,
}

// Two pages, with 4 KiB pages and 64-bit addresses.
#[cfg(not(loom))]
const _: () = assert!(size_of::<usize>() != 8 || size_of::<CpuPages>() <= 8192);

impl PerCpu for CpuPages {
    const ABSENT: *const Self = core::ptr::null();
}

impl CpuPages {
    /// Makes the caches of a CPU, empty.
    ///
    /// Where they are to be, because two pages are more than the stack of an interrupt may have left.
    ///
    /// # Safety
    ///
    /// `memory` is aligned to a page, long enough, and the caller's.
    #[cfg(not(loom))]
    pub(super) unsafe fn create(mut memory: NonNull<Self>) {
        // SAFETY: the caller says so.
        unsafe { memory.write_bytes(0, 1) };
        // SAFETY: zeroes are numbers, null pointers, and flags that are not set: a value of every field.
        let cpu = unsafe { memory.as_mut() };
        let held = cpu.lock.get_mut();
        for (stack, base) in BASES[..STACKS].iter().enumerate() {
            *cpu.tops[stack].get_mut() = *base;
            cpu.bases[stack] = *base;
            held.ends[stack] = *base;
        }
    }

    /// The same for the model checker, whose values are never zeroes.
    ///
    /// # Safety
    ///
    /// As there.
    #[cfg(loom)]
    pub(super) unsafe fn create(memory: NonNull<Self>) {
        let cpu = Self {
            tops: core::array::from_fn(|i| AtomicU32::new(BASES[i])),
            bases: core::array::from_fn(|i| BASES[i]),
            moves: AtomicU32::new(0),
            reclaiming: AtomicBool::new(false),
            refills: AtomicUsize::new(0),
            drains: AtomicUsize::new(0),
            lock: BiasedLock::new(Held {
                recent: Recent::NONE,
                ends: core::array::from_fn(|i| BASES[i]),
                addrs: [0; ENTRIES],
                states: [core::ptr::null(); ENTRIES],
            }),
        };
        // SAFETY: the caller says so.
        unsafe { memory.write(cpu) };
    }

    #[inline]
    fn top(&self, stack: Stack) -> &AtomicU32 {
        // SAFETY: the index of a stack is below `STACKS`.
        unsafe { self.tops.get_unchecked(stack.index()) }
    }

    #[inline]
    fn base(&self, stack: Stack) -> u32 {
        // SAFETY: as above.
        unsafe { *self.bases.get_unchecked(stack.index()) }
    }

    /// Sets how many blocks this CPU may keep in a stack, and returns that.
    #[inline]
    pub(super) fn set_limit(&self, held: &mut Held, stack: Stack, share: Share) -> u32 {
        let limit = stack.limit(share);
        held.ends[stack.index()] = self.base(stack) + limit;
        limit
    }

    #[inline]
    pub(super) fn count(&self, stack: Stack) -> usize {
        (self.top(stack).load(Ordering::Relaxed) - self.base(stack)) as usize
    }

    /// Pages in all stacks.
    pub(super) fn pages(&self) -> usize {
        Stack::all()
            .map(|stack| self.count(stack) << stack.order().log2())
            .sum()
    }

    /// Whether there are pages in any stack. Where a drain has left none, what it did before is seen.
    pub(super) fn has_pages(&self) -> bool {
        Stack::all().any(|stack| self.top(stack).load(Ordering::Acquire) != self.base(stack))
    }

    /// Takes the topmost entry off.
    pub(super) fn pop(&self, held: &Held, stack: Stack) -> Option<Entry> {
        self.pop_if(held, stack, |_| true)
    }

    /// Takes the topmost entry off if `check`, which may change its block, agrees.
    #[inline(always)]
    pub(super) fn pop_if(
        &self,
        held: &Held,
        stack: Stack,
        check: impl FnOnce(&Entry) -> bool,
    ) -> Option<Entry> {
        let top = self.top(stack).load(Ordering::Relaxed);
        if top == self.base(stack) {
            return None;
        }
        // SAFETY: a top above the base is above one of the stack's entries.
        let entry = unsafe { held.entry(top - 1) };
        if !check(&entry) {
            return None;
        }
        self.top(stack).store(top - 1, Ordering::Relaxed);
        Some(entry)
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
    pub(super) fn is_full(&self, held: &Held, stack: Stack) -> bool {
        self.top(stack).load(Ordering::Relaxed) >= held.end(stack)
    }

    /// Adds an entry, if the stack is not full and `check`, which may change its block, agrees.
    #[inline(always)]
    pub(super) fn push_if(
        &self,
        held: &mut Held,
        stack: Stack,
        entry: Entry,
        check: impl FnOnce(&Entry) -> bool,
    ) -> bool {
        let top = self.top(stack).load(Ordering::Relaxed);
        if top >= held.end(stack) || !check(&entry) {
            return false;
        }
        // SAFETY: a top below an end is one of the stack's entries.
        unsafe { held.set_entry(top, entry) };
        self.top(stack).store(top + 1, Ordering::Relaxed);
        true
    }

    /// How many blocks of a full stack to give back, so that it has about half of what it may have.
    ///
    /// An odd number, while fills bring powers of two: by equal steps down and up, a CPU that uses almost as
    /// many blocks as it may keep would have too many and too few of them by turns for ever.
    #[inline]
    pub(super) fn surplus(&self, held: &Held, stack: Stack) -> usize {
        let limit = (held.end(stack) - self.base(stack)) as usize;
        let surplus = self.count(stack).saturating_sub(limit / 2);
        surplus.saturating_sub(1) | 1
    }

    /// Room for up to `wanted` entries in an empty stack, as far as its end allows.
    #[inline]
    pub(super) fn vacant(&self, held: &Held, stack: Stack, wanted: u32) -> Vacant {
        debug_assert_eq!(self.count(stack), 0);
        let base = self.base(stack);
        let top = held.end(stack).min(base + wanted);
        Vacant {
            base,
            next: top,
            top,
        }
    }

    /// Makes what was put into the room of an empty stack the stack's.
    #[inline]
    pub(super) fn occupy(&self, held: &mut Held, stack: Stack, room: &Vacant) {
        let used = room.next as usize..room.top as usize;
        if room.next != room.base {
            held.addrs.copy_within(used.clone(), room.base as usize);
            held.states.copy_within(used, room.base as usize);
        }
        let top = room.base + (room.top - room.next);
        self.top(stack).store(top, Ordering::Relaxed);
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
        for (slot, entry) in out[..moved].iter_mut().zip(self.entries(held, stack)) {
            *slot = entry;
        }
        self.drop_oldest(held, stack, moved);
        moved
    }

    /// Takes so many of the oldest entries of a stack, which has them, off.
    #[inline]
    pub(super) fn drop_oldest(&self, held: &mut Held, stack: Stack, gone: usize) {
        let (base, top) = (self.base(stack), self.top(stack).load(Ordering::Relaxed));
        #[expect(clippy::cast_possible_truncation, reason = "no more than there are")]
        let (rest, new_top) = (base as usize + gone..top as usize, top - gone as u32);
        held.addrs.copy_within(rest.clone(), base as usize);
        held.states.copy_within(rest, base as usize);
        self.top(stack).store(new_top, Ordering::Release);
    }

    /// The entries of a stack, oldest first.
    #[inline]
    pub(super) fn entries(&self, held: &Held, stack: Stack) -> impl Iterator<Item = Entry> {
        let used = self.base(stack)..self.top(stack).load(Ordering::Relaxed);
        // SAFETY: from the base of a stack to its top there are entries.
        used.map(|index| unsafe { held.entry(index) })
    }
}

/// Room in a stack that is filled from the top down, so that what comes first is taken first.
pub(super) struct Vacant {
    base: u32,
    /// One past the entry that is filled next. From `base` to `top`.
    next: u32,
    top: u32,
}

impl Vacant {
    /// How many entries there is room for.
    #[inline]
    pub(super) const fn len(&self) -> u32 {
        self.next - self.base
    }

    /// Puts an entry below those that are there; there is room.
    #[inline]
    pub(super) fn put(&mut self, held: &mut Held, entry: Entry) {
        debug_assert_ne!(self.len(), 0);
        self.next -= 1;
        // SAFETY: what is at or above a base and below an end is one of the stack's entries.
        unsafe { held.set_entry(self.next, entry) };
    }
}
