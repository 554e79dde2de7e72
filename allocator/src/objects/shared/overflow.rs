//! A free that the magazine does not take, and where its oldest objects go.

use core::sync::atomic::{AtomicUsize, Ordering};

use super::super::size_class::SizeClass;
use super::allocator::ObjectAllocator;
use super::cpu::{CpuState, Turn};
use super::entry::Entry;
use super::magazine::{MOST_BATCH, batch};
use super::slabs::give_pages;
use crate::pages::{FrameAllocator, PageRequest};
use crate::sync::Pinned;
use crate::{AllocResult, Platform};

/// All CPUs together keep objects behind their magazines for at most this part of the free memory.
const SHARE: usize = 8;

impl<P: Platform, const PAGE_SIZE: usize> ObjectAllocator<P, PAGE_SIZE> {
    /// A free that the magazine did not take.
    #[cold]
    #[inline(never)]
    pub(super) fn free_slowly(
        &self,
        frames: &FrameAllocator<P, PAGE_SIZE>,
        addr: usize,
        class: SizeClass,
    ) -> AllocResult {
        self.check(frames, addr, class)?;
        if let Some(cpu) = self.cpu(frames) {
            let mut objects = [0; MOST_BATCH];
            let moving = Moving::new(self);
            let moved = self.make_room(frames, cpu, addr, class, &mut objects);
            let objects = &mut objects[..moved];
            if !self.keep(frames, cpu, objects, class) {
                self.give_back(frames, objects, class);
            }
            drop(moving);
            if self.push(addr, class) {
                return Ok(());
            }
        }
        self.mark(addr);
        self.count_directly(|activity| activity.freed_directly(class));
        self.give_back(frames, &mut [addr], class);
        Ok(())
    }

    /// Makes room for the object at `addr` in this CPU's magazine. Returns how many objects that left for the
    /// caller to bring away: none, or a whole batch.
    fn make_room(
        &self,
        frames: &FrameAllocator<P, PAGE_SIZE>,
        cpu: &CpuState<P>,
        addr: usize,
        class: SizeClass,
        objects: &mut [usize; MOST_BATCH],
    ) -> usize {
        let pinned = Pinned::<P>::new();
        let Some(turn) = self.own_turn(cpu, &pinned) else {
            return 0;
        };
        // SAFETY: it is kept for turns only; see `ObjectAllocator::forget_windows`.
        if let Some(window) = unsafe { frames.slab_window(addr) } {
            turn.set_window(window);
        }
        let magazines = turn.magazines;
        if !magazines.is_full(class) {
            return 0;
        }
        let moved = magazines.take_oldest(class, batch(class), objects);
        cpu.activity.drained(class, moved);
        let objects = &objects[..moved];
        let is_kept = self.depot().is_some_and(|depot| depot.put(class, objects))
            || self.stays(frames, objects[0]) && magazines.reserve.put::<PAGE_SIZE>(class, objects);
        if is_kept { 0 } else { moved }
    }

    /// Keeps a batch behind this CPU's magazine, on a page that is allocated for it and its successors; `false`
    /// if there is nothing to keep, or it had better go back to its slabs.
    fn keep(
        &self,
        frames: &FrameAllocator<P, PAGE_SIZE>,
        cpu: &CpuState<P>,
        objects: &[usize],
        class: SizeClass,
    ) -> bool {
        let Some(first) = objects.first() else {
            return true;
        };
        if !self.stays(frames, *first) || !self.may_grow(frames, cpu, class) {
            return false;
        }
        let Ok(page) = frames.try_allocate(&PageRequest::new(1)) else {
            return false;
        };
        let mut unused = Some(page);
        let is_kept = {
            let pinned = Pinned::<P>::new();
            self.own_turn(cpu, &pinned).is_some_and(|turn| {
                let reserve = &turn.magazines.reserve;
                // SAFETY: the page was just allocated for this.
                unused = unsafe { reserve.add_blank(page) }.err();
                reserve.put::<PAGE_SIZE>(class, objects)
            })
        };
        if let Some(page) = unused {
            give_pages(frames, page, 1);
        }
        is_kept
    }

    /// Whether a batch may stay with this CPU, from one of its objects. Those of other CPUs' slabs are more
    /// likely to be wanted there.
    fn stays(&self, frames: &FrameAllocator<P, PAGE_SIZE>, addr: usize) -> bool {
        let entry = frames.slab_of(addr).map(|entry| Entry(entry.as_ptr()));
        let slab = entry.and_then(Entry::descriptor);
        slab.is_some_and(|slab| slab.owner() == P::cpu_id())
    }

    /// Whether a CPU may keep more of a class: in all, objects for an eighth of what is free, shared with the
    /// other CPUs.
    fn may_grow(
        &self,
        frames: &FrameAllocator<P, PAGE_SIZE>,
        cpu: &CpuState<P>,
        class: SizeClass,
    ) -> bool {
        let pinned = Pinned::<P>::new();
        let wanted = self
            .own_turn(cpu, &pinned)
            .and_then(|turn| turn.magazines.reserve.wants_another::<PAGE_SIZE>(class));
        wanted.is_some_and(|bytes| bytes <= frames.free_bytes_per_cpu() / SHARE)
    }

    /// A turn of this CPU, if that is its state, and it is in no turn.
    pub(super) fn own_turn<'a>(&self, cpu: &'a CpuState<P>, _: &'a Pinned<P>) -> Option<Turn<'a>> {
        let own = self.cpus.get(P::cpu_id())?;
        // SAFETY: this is the CPU of that state, and pinned for as long as the turn can last.
        core::ptr::eq(own, cpu).then(|| unsafe { cpu.enter() })?
    }
}

/// While this exists, free objects may be in the caller's hands only, so nobody gives up for want
/// of them.
pub(super) struct Moving<'a>(&'a AtomicUsize);

impl<'a> Moving<'a> {
    pub(super) fn new<P: Platform, const PAGE_SIZE: usize>(
        objects: &'a ObjectAllocator<P, PAGE_SIZE>,
    ) -> Self {
        objects.moving.fetch_add(1, Ordering::SeqCst);
        Self(&objects.moving)
    }
}

impl Drop for Moving<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
