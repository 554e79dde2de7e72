//! The two words of a stack that change all the time, laid out for the processor.
//!
//! A store takes a cycle of its own when it reaches the first-level cache, unless the one before it went to the same
//! line; and a pair of calls has little but stores to wait for. So the tops of those stacks that are used most lie
//! on the line of the flag that is written before and after them (as [`beside`](crate::percpu::BiasedLock) the lock
//! of the CPU).

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicPtr, Ordering};

use super::entry::Entry;

/// How many lanes a bank has: as many pointers as fit on a line beside the flag.
pub(super) const LANES: usize = 7;

/// The lanes of some stacks: first all of their tops, then all of their ends.
pub(super) type Bank = [UnsafeCell<MaybeUninit<*mut Entry>>; 2 * LANES + 1];

/// A bank whose lanes are not made yet.
pub(super) const fn blank() -> Bank {
    [const { UnsafeCell::new(MaybeUninit::uninit()) }; 2 * LANES + 1]
}

/// Where the topmost entry of a stack is, and how far it may rise. What is between belongs to others.
#[repr(C)]
pub(super) struct Lane {
    /// One past the topmost entry. Written by the holder of the CPU's lock, read by statistics. In the range of the
    /// stack.
    top: AtomicPtr<Entry>,
    between: [UnsafeCell<MaybeUninit<*mut Entry>>; LANES],
    /// One past the last entry that may be used now, in the same range. Only the holder of the CPU's lock looks
    /// at it.
    end: UnsafeCell<*mut Entry>,
}

// The last lane of a bank ends where the bank does.
const _: () = assert!(size_of::<Lane>() + (LANES - 1) * size_of::<usize>() == size_of::<Bank>());

// SAFETY: what it leads to belongs to the holder of the CPU's lock, too.
unsafe impl Send for Lane {}

impl Lane {
    /// Makes a lane of a bank: that of a stack that may have nothing, and whose first entry is to be at `base`.
    ///
    /// # Safety
    ///
    /// The bank stays where it is, `index` is below [`LANES`], and nobody else uses that lane. Right below the base there
    /// is an entry whose block is never in the state of a cached one.
    pub(super) unsafe fn create(bank: *const Bank, index: usize, base: *mut Entry) -> *const Self {
        let lane = bank.cast::<*mut Entry>().wrapping_add(index).cast::<Self>();
        // SAFETY: the caller says that it is there.
        let this = unsafe { &*lane };
        this.top.store(base, Ordering::Relaxed);
        // SAFETY: nobody else uses it.
        unsafe { *this.end.get() = base };
        lane
    }

    #[inline]
    pub(super) fn top(&self, order: Ordering) -> *mut Entry {
        self.top.load(order)
    }

    /// Sets the top to one past an entry of the stack.
    #[inline]
    pub(super) fn set_top(&self, top: *mut Entry, order: Ordering) {
        self.top.store(top, order);
    }

    /// One past the last entry that may be used now.
    ///
    /// # Safety
    ///
    /// The caller holds the CPU's lock, or this is the lane of a stack that never holds anything.
    #[inline]
    pub(super) unsafe fn end(&self) -> *mut Entry {
        // SAFETY: whoever holds the lock has it alone; and in the other case nobody changes it.
        unsafe { *self.end.get() }
    }

    /// # Safety
    ///
    /// The caller holds the CPU's lock, and `end` is in the range of the stack.
    pub(super) unsafe fn set_end(&self, end: *mut Entry) {
        // SAFETY: whoever holds the lock has it alone.
        unsafe { *self.end.get() = end };
    }

    /// Takes the topmost entry off if `check`, which may change its block, agrees. It has to be one that agrees to no
    /// block that is not in a cache: an empty stack has such a one on top.
    ///
    /// # Safety
    ///
    /// As for [`end`](Self::end).
    #[inline(always)]
    pub(super) unsafe fn pop_if(&self, check: impl FnOnce(&Entry) -> bool) -> Option<Entry> {
        // SAFETY: there is an entry below each top.
        let topmost = unsafe { self.top(Ordering::Relaxed).sub(1) };
        // SAFETY: it belongs to the holder of the lock, or nobody changes it.
        let entry = unsafe { *topmost };
        if !check(&entry) {
            return None;
        }
        self.set_top(topmost, Ordering::Relaxed);
        Some(entry)
    }

    /// Adds an entry, if the stack is not full and `find` has one.
    ///
    /// # Safety
    ///
    /// As for [`end`](Self::end).
    #[inline(always)]
    pub(super) unsafe fn push_if(&self, find: impl FnOnce() -> Option<Entry>) -> bool {
        let top = self.top(Ordering::Relaxed);
        // SAFETY: the caller says so.
        if top >= unsafe { self.end() } {
            return false;
        }
        let Some(entry) = find() else {
            return false;
        };
        // SAFETY: a top below an end is where an entry may be, and the holder of the lock has it alone.
        unsafe { top.write(entry) };
        // SAFETY: it is at most one past the last one.
        let above = unsafe { top.add(1) };
        self.set_top(above, Ordering::Relaxed);
        true
    }
}
