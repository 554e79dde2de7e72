//! Free objects that are not to be used again yet.
//!
//! A ring of addresses in a block of pages that is allocated with the first of them and given back
//! with the last. It is shared by all CPUs: whoever wants a quarantine is not in a hurry.

use core::ptr::NonNull;

use super::super::size_class::SizeClass;
use super::allocator::ObjectAllocator;
use super::freed;
use super::overflow::Moving;
use super::slabs::give_pages;
use crate::pages::{FrameAllocator, PageRequest};
use crate::sync::IrqLock;
use crate::{AllocResult, Platform};

/// Objects that a quarantine has room for.
const ROOM: usize = 1000;

#[derive(Clone, Copy)]
struct Entry {
    addr: usize,
    class: SizeClass,
}

/// The ring; `None` while nothing is in it.
pub(super) struct Ring {
    entries: Option<NonNull<Entry>>,
    /// The oldest entry.
    first: usize,
    len: usize,
    bytes: usize,
}

const RING_BYTES: usize = ROOM * size_of::<Entry>();

impl Ring {
    const fn new() -> Self {
        Self {
            entries: None,
            first: 0,
            len: 0,
            bytes: 0,
        }
    }

    /// Takes the oldest entry out.
    fn pop(&mut self) -> Option<Entry> {
        let entries = self.entries.filter(|_| self.len != 0)?;
        // SAFETY: below `ROOM`.
        let oldest = unsafe { entries.add(self.first) };
        // SAFETY: the `len` entries from `first` on were written.
        let oldest = unsafe { oldest.read() };
        self.first = (self.first + 1) % ROOM;
        self.len -= 1;
        self.bytes -= oldest.class.size();
        Some(oldest)
    }

    /// Puts an entry in, if there is room.
    fn push(&mut self, entry: Entry) -> bool {
        let Some(entries) = self.entries.filter(|_| self.len < ROOM) else {
            return false;
        };
        // SAFETY: below `ROOM`.
        let place = unsafe { entries.add((self.first + self.len) % ROOM) };
        // SAFETY: the block belongs to the ring, and has room for so many entries.
        unsafe { place.write(entry) };
        self.len += 1;
        self.bytes += entry.class.size();
        true
    }

    fn count(&self, class: SizeClass) -> usize {
        let Some(entries) = self.entries else {
            return 0;
        };
        let is_of_class = |at: &usize| {
            // SAFETY: below `ROOM`.
            let entry = unsafe { entries.add((self.first + at) % ROOM) };
            // SAFETY: the `len` entries from `first` on were written.
            unsafe { entry.read() }.class == class
        };
        (0..self.len).filter(is_of_class).count()
    }
}

pub(super) type Quarantine<P> = IrqLock<P, Ring>;

/// A quarantine with nothing in it.
pub(super) const fn quarantine<P: Platform>() -> Quarantine<P> {
    IrqLock::new(Ring::new())
}

impl<P: Platform, const PAGE_SIZE: usize> ObjectAllocator<P, PAGE_SIZE> {
    /// Frees an object later, and instead of it those that have waited long enough.
    ///
    /// # Errors
    ///
    /// As [`free`](Self::free).
    ///
    /// # Safety
    ///
    /// As there; `addr` was checked to be a live object of `class`.
    pub(super) unsafe fn free_later(
        &self,
        frames: &FrameAllocator<P, PAGE_SIZE>,
        addr: usize,
        class: SizeClass,
    ) -> AllocResult {
        let most = P::HARDENING.quarantine;
        if class.size() > most || !self.has_ring(frames) {
            // SAFETY: passed on to the caller.
            return unsafe { self.free(frames, addr, class) };
        }
        self.mark(addr);
        self.count_directly(|activity| activity.freed_directly(class));
        loop {
            let mut ring = self.quarantine.lock();
            let fits = ring.len < ROOM && ring.bytes + class.size() <= most;
            let oldest = if fits { None } else { ring.pop() };
            if oldest.is_none() {
                // Without one to make room, the ring is empty, or went while the lock was free.
                let kept = ring.push(Entry { addr, class });
                drop(ring);
                if !kept {
                    self.release(frames, Entry { addr, class });
                }
                return Ok(());
            }
            let moving = Moving::new(self);
            drop(ring);
            if let Some(oldest) = oldest {
                self.release(frames, oldest);
            }
            drop(moving);
        }
    }

    /// Makes sure that there is a ring, if there is memory for it.
    fn has_ring(&self, frames: &FrameAllocator<P, PAGE_SIZE>) -> bool {
        if self.quarantine.lock().entries.is_some() {
            return true;
        }
        let count = RING_BYTES.div_ceil(PAGE_SIZE);
        let Ok(addr) = frames.try_allocate_quietly(&PageRequest::new(count).exact()) else {
            return false;
        };
        let fresh = NonNull::new(core::ptr::with_exposed_provenance_mut(addr));
        let mut ring = self.quarantine.lock();
        if ring.entries.is_none() {
            ring.entries = fresh;
            return true;
        }
        drop(ring);
        give_pages(frames, addr, count);
        true
    }

    /// Brings an object back to its slab, for good.
    fn release(&self, frames: &FrameAllocator<P, PAGE_SIZE>, entry: Entry) {
        if P::HARDENING.keeps_marks() {
            freed::inspect::<P>(entry.addr, entry.class, self.mark_of(entry.addr));
        }
        self.mark(entry.addr);
        self.give_back(frames, &mut [entry.addr], entry.class);
    }

    /// Frees all that waits: memory is short, or somebody wants to see none of it in use. What
    /// handlers free meanwhile may wait: else they could keep this going for ever.
    pub(super) fn end_quarantine(&self, frames: &FrameAllocator<P, PAGE_SIZE>) {
        if P::HARDENING.quarantine == 0 {
            return;
        }
        let waiting = self.quarantine.lock().len;
        for _ in 0..waiting {
            let mut ring = self.quarantine.lock();
            let Some(oldest) = ring.pop() else { break };
            let moving = Moving::new(self);
            drop(ring);
            self.release(frames, oldest);
            drop(moving);
        }
        let mut ring = self.quarantine.lock();
        let unused = if ring.len == 0 {
            ring.entries.take()
        } else {
            None
        };
        drop(ring);
        if let Some(entries) = unused {
            let count = RING_BYTES.div_ceil(PAGE_SIZE);
            give_pages(frames, entries.expose_provenance().get(), count);
        }
    }

    /// How many objects of a class wait.
    pub(super) fn quarantined(&self, class: SizeClass) -> usize {
        if P::HARDENING.quarantine == 0 {
            return 0;
        }
        self.quarantine.lock().count(class)
    }
}
