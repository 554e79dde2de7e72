//! Bringing back what lies in caches.

use core::ptr::null_mut;
use core::sync::atomic::Ordering;

use super::super::size_class::SizeClass;
use super::allocator::ObjectAllocator;
use super::cpu::CpuState;
use super::descriptor::Owned;
use super::exclusive::Exclusive;
use super::magazine::{MOST_BATCH, Magazines, batch};
use super::reserve::Reserve;
use super::slabs::give_pages;
use crate::Platform;
use crate::pages::FrameAllocator;
use crate::patience::Patience;
use crate::sync::Pinned;

impl<P: Platform, const PAGE_SIZE: usize> ObjectAllocator<P, PAGE_SIZE> {
    /// Empties the magazines of all CPUs and the depots into the slabs and gives every page back that no live
    /// object needs, also those of the magazines themselves. Returns how many
    /// pages that were; not 0 if another context did so meanwhile.
    ///
    /// Finds whatever is free at the call, also if another context drains already, or has some of it in hand.
    /// Waits for that, and for turns of other CPUs, with no lock held; a handler that interrupted a turn of its
    /// own CPU does not wait, and leaves out what it cannot have. So does, in the end, everybody.
    pub(crate) fn drain(&self, frames: &FrameAllocator<P, PAGE_SIZE>) -> usize {
        self.end_quarantine(frames);
        let _pinned = Pinned::<P>::new();
        // Who waits for the pages may be waiting for this CPU, and be waited for by who is at it here.
        if self.is_nested() || frames.is_nested() {
            // It leaves something out, so it is no pass.
            return self.drain_once(frames, true, &mut Patience::none());
        }
        // If others do it, what they bring back is not known.
        let mut given = 1;
        let mut patience = Patience::more();
        let is_joined = self.passes.join::<P>(&mut patience, |patience| {
            given = self.drain_once(frames, false, patience);
        });
        if is_joined { given } else { 0 }
    }

    /// The same for one context at a time, which waits for the right to claim with patience: others have it to look at
    /// magazines.
    fn drain_once(
        &self,
        frames: &FrameAllocator<P, PAGE_SIZE>,
        is_nested: bool,
        patience: &mut Patience,
    ) -> usize {
        let Some(exclusive) = self.exclusive(patience) else {
            return 0;
        };
        let mut given = 0;
        let mut patience = Patience::much().unless(is_nested);
        self.visit_claimed(&exclusive, &mut patience, |cpu, claimed| {
            // SAFETY: they are claimed, and the CPU is in no turn that has them.
            unsafe { cpu.forget_view() };
            // SAFETY: as above.
            let Some(magazines) = (unsafe { claimed.as_ref() }) else {
                return claimed;
            };
            self.empty(frames, cpu, magazines);
            cpu.activity.retire(magazines);
            let count = Magazines::BYTES.div_ceil(PAGE_SIZE);
            give_pages(frames, claimed.expose_provenance(), count);
            given += count;
            null_mut()
        });
        self.empty_depots(frames);
        // What was taken out of magazines before the visits is in its slabs when this is over. Not for long: who interrupted
        // that on its own CPU is not known to be nested.
        let mut patience = Patience::little().unless(is_nested);
        patience.wait::<P>(|| self.moving.load(Ordering::SeqCst) == 0);
        for (_, cpu) in self.cpus.iter(P::MAX_CPUS) {
            given += self.collect_all(frames, cpu);
            let mut heap = cpu.heap.lock();
            // SAFETY: this is the heap's lock.
            let mut owned = unsafe { Owned::<PAGE_SIZE>::new() };
            while let Some(slab) = heap.take_empty(&mut owned) {
                given += self.retire(frames, slab);
            }
        }
        loop {
            let unused = self.descriptors.lock().take_unused();
            let Some(page) = unused else { break };
            give_pages(frames, page, 1);
            given += 1;
        }
        drop(exclusive);
        given
    }

    /// Makes all CPUs forget where they found slabs described, because a section is not managed any
    /// more. Not for interrupt handlers.
    pub(crate) fn forget_views(&self) {
        let exclusive = loop {
            if let Some(exclusive) = self.try_exclusive() {
                break exclusive;
            }
            P::relax();
        };
        self.visit_claimed(&exclusive, &mut Patience::endless(), |cpu, claimed| {
            // SAFETY: they are claimed, and the CPU is in no turn that has them.
            unsafe { cpu.forget_view() };
            claimed
        });
    }

    /// Claims the magazines of all CPUs, and passes each CPU with what it has to `visit`, which
    /// returns what it has from then on. A CPU that is in a turn is
    /// waited for with patience, and then left out.
    pub(super) fn visit_claimed(
        &self,
        _: &Exclusive<'_, P>,
        patience: &mut Patience,
        mut visit: impl FnMut(&CpuState<P>, *mut Magazines) -> *mut Magazines,
    ) {
        let mut has_magazines = false;
        for (_, cpu) in self.cpus.iter(P::MAX_CPUS) {
            has_magazines |= cpu.claim();
        }
        // A CPU without magazines is in no turn that has any, and cannot get some now.
        if has_magazines {
            P::heavy_barrier();
        }
        for (_, cpu) in self.cpus.iter(P::MAX_CPUS) {
            let Some(claimed) = cpu.claimed() else {
                continue;
            };
            let mut is_out = leaves(cpu, claimed, patience);
            // Its turns end at the claim, unless it had magazines installed just then.
            if is_out && cpu.vacate() {
                P::heavy_barrier();
                is_out = leaves(cpu, claimed, patience);
            }
            cpu.release(if is_out { visit(cpu, claimed) } else { claimed });
        }
    }

    fn empty(
        &self,
        frames: &FrameAllocator<P, PAGE_SIZE>,
        cpu: &CpuState<P>,
        magazines: &Magazines,
    ) {
        let mut objects = [0; MOST_BATCH];
        for class in SizeClass::ALL {
            loop {
                let moved = magazines.take_oldest(class, batch(class).max(1), &mut objects);
                if moved == 0 {
                    break;
                }
                cpu.activity.drained(class, moved);
                self.give_back(frames, &mut objects[..moved], class);
            }
            self.empty_reserve(frames, &magazines.reserve, class);
        }
        if let Some(page) = magazines.reserve.take_blank() {
            give_pages(frames, page, 1);
        }
    }

    fn empty_reserve(
        &self,
        frames: &FrameAllocator<P, PAGE_SIZE>,
        reserve: &Reserve,
        class: SizeClass,
    ) {
        loop {
            let mut objects = [0; MOST_BATCH];
            let (taken, unused) = reserve.take::<PAGE_SIZE>(class, |batch| {
                objects[..batch.len()].copy_from_slice(batch);
            });
            if let Some(page) = unused {
                give_pages(frames, page, 1);
            }
            if taken == 0 {
                break;
            }
            self.give_back(frames, &mut objects[..taken], class);
        }
    }

    /// As many batches as there are at first: else those who fill the depots could keep this going
    /// for ever.
    fn empty_depots(&self, frames: &FrameAllocator<P, PAGE_SIZE>) {
        let all = self.depots();
        for (depot, class) in all.flat_map(|depot| SizeClass::ALL.map(|class| (depot, class))) {
            let batches = depot.len(class).div_ceil(batch(class).max(1));
            for _ in 0..batches {
                let mut objects = [0; MOST_BATCH];
                let mut slots = objects.iter_mut();
                let is_taken = depot.take(class, |object| {
                    if let Some(slot) = slots.next() {
                        *slot = object;
                    }
                });
                if !is_taken {
                    break;
                }
                self.give_back(frames, &mut objects[..batch(class)], class);
            }
        }
    }
}

/// Whether a CPU whose magazines are claimed is in no turn that has them; waits for that with patience.
fn leaves<P: Platform>(
    cpu: &CpuState<P>,
    claimed: *mut Magazines,
    patience: &mut Patience,
) -> bool {
    claimed.is_null() || patience.wait::<P>(|| !cpu.is_active())
}
