//! A free that the magazine does not take, and where its oldest objects go.

use core::ptr::null_mut;
use core::sync::atomic::{AtomicUsize, Ordering};

use super::super::size_class::SizeClass;
use super::allocator::ObjectAllocator;
use super::cpu::{CpuState, Turn};
use super::entry::Entry;
use super::magazine::MOST_BATCH;
use super::slabs::give_pages;
use crate::pages::{FrameAllocator, PageRequest};
use crate::sync::Pinned;
use crate::{AllocResult, Platform};

/// All CPUs together keep objects behind their magazines for at most this part of the free memory.
const SHARE: usize = 4;

impl<P: Platform, const PAGE_SIZE: usize> ObjectAllocator<P, PAGE_SIZE> {
    /// A free that the magazine did not take.
    #[cold]
    #[inline(never)]
    pub(crate) fn free_slowly(
        &self,
        frames: &FrameAllocator<P, PAGE_SIZE>,
        addr: usize,
        class: SizeClass,
    ) -> AllocResult {
        if self.shed(frames, class) && self.push(addr, class) {
            return Ok(());
        }
        self.check(frames, addr, class)?;
        if let Some(cpu) = self.cpu(frames) {
            if self.extend(frames, cpu, class) {
                self.shed(frames, class);
            }
            self.bring_back(frames, cpu, addr, class);
            if self.push(addr, class) {
                return Ok(());
            }
        }
        self.mark(addr);
        self.count_directly(|activity| activity.freed_directly(class));
        self.give_back(frames, &mut [addr], class);
        Ok(())
    }

    /// Moves the oldest batch of this CPU's magazine behind it or into the depot; `false` if that cannot be, or
    /// the magazine is not full.
    fn shed(&self, frames: &FrameAllocator<P, PAGE_SIZE>, class: SizeClass) -> bool {
        let _pinned = Pinned::<P>::new();
        let Some(cpu) = self.cpus.own::<P>() else {
            return false;
        };
        // SAFETY: this is the CPU of that state, and it is pinned.
        let Some(turn) = (unsafe { cpu.enter() }) else {
            return false;
        };
        let Some(magazines) = turn.magazines() else {
            return false;
        };
        let Some(batch) = magazines.surplus(class) else {
            return false;
        };
        let is_moved = self.depot().is_some_and(|depot| depot.put(class, batch))
            || self.stays(frames, &turn, batch) && magazines.reserve.put::<PAGE_SIZE>(class, batch);
        if is_moved {
            let moved = batch.len();
            magazines.forget_oldest(class, moved);
            cpu.activity.drained(class, moved);
        }
        is_moved
    }

    /// Whether a batch may stay with this CPU. What comes from other CPUs' slabs is more likely to be wanted
    /// there.
    fn stays(
        &self,
        frames: &FrameAllocator<P, PAGE_SIZE>,
        turn: &Turn<'_>,
        batch: &[usize],
    ) -> bool {
        let Some(object) = batch.first() else {
            return false;
        };
        // SAFETY: the object comes from the turn's magazines.
        let mut entry = Entry(unsafe { turn.entry(*object) });
        if entry.addr().is_none() {
            // SAFETY: the section of a free object that is in a turn's magazine does not go.
            let window = unsafe { frames.slab_window(*object) };
            entry = Entry(window.map_or(null_mut(), |window| window.slab(*object)));
        }
        let slab = entry.descriptor();
        slab.is_some_and(|slab| slab.owner() == P::cpu_id())
    }

    /// Gets a page for more batches behind this CPU's magazine, if it is full of what may stay, and not too
    /// much is there already. Returns whether it is worth while to try again.
    fn extend(
        &self,
        frames: &FrameAllocator<P, PAGE_SIZE>,
        cpu: &CpuState<P>,
        class: SizeClass,
    ) -> bool {
        let wanted = {
            let pinned = Pinned::<P>::new();
            self.own_turn(cpu, &pinned).and_then(|turn| {
                let magazines = turn.magazines()?;
                let batch = magazines.surplus(class)?;
                self.stays(frames, &turn, batch)
                    .then(|| magazines.reserve.wants_another::<PAGE_SIZE>(class))?
            })
        };
        let Some(wanted) = wanted else { return false };
        let most = frames.free_bytes_per_cpu() / SHARE;
        if wanted > most {
            return false;
        }
        let Ok(page) = frames.try_allocate_quietly(&PageRequest::new(1)) else {
            return false;
        };
        let unused = {
            let pinned = Pinned::<P>::new();
            if let Some(turn) = self.own_turn(cpu, &pinned)
                && let Some(magazines) = turn.magazines()
            {
                magazines.reserve.allow(most);
                // SAFETY: the page was just allocated for this.
                unsafe { magazines.reserve.add_blank(page) }.err()
            } else {
                Some(page)
            }
        };
        // There may be one already, and now it may be used.
        if let Some(page) = unused {
            give_pages(frames, page, 1);
        }
        true
    }

    /// Makes room in this CPU's magazine for the object at `addr`, if need be by bringing a batch back to its
    /// slabs.
    fn bring_back(
        &self,
        frames: &FrameAllocator<P, PAGE_SIZE>,
        cpu: &CpuState<P>,
        addr: usize,
        class: SizeClass,
    ) {
        let mut objects = [0; MOST_BATCH];
        let _moving = Moving::new(self);
        let moved = {
            let pinned = Pinned::<P>::new();
            if let Some(turn) = self.own_turn(cpu, &pinned)
                && let Some(magazines) = turn.magazines()
            {
                // SAFETY: it is kept for turns only; see `ObjectAllocator::forget_views`.
                if let Some(window) = unsafe { frames.slab_window(addr) } {
                    // SAFETY: the turn has magazines.
                    unsafe { turn.set_view(window.view()) };
                }
                let count = magazines.surplus(class).map_or(0, <[usize]>::len);
                let moved = magazines.take_oldest(class, count, &mut objects);
                if moved != 0 {
                    // In the turn: a handler behind it, or whoever claims, counts in the same place.
                    cpu.activity.drained(class, moved);
                }
                moved
            } else {
                0
            }
        };
        self.give_back(frames, &mut objects[..moved], class);
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
