//! What the object layer says about itself.

use super::super::size_class::SizeClass;
use super::super::slab::Arena;
use super::super::stats::{ClassStats, CpuClassStats};
use super::activity::Activity;
use super::allocator::ObjectAllocator;
use super::descriptor::{Owned, SharedRef};
use super::entry::Entry;
use crate::Platform;
use crate::pages::{FrameAllocator, PageFlags};
use crate::patience::Patience;
use crate::sync::Pinned;

impl<P: Platform, const PAGE_SIZE: usize> ObjectAllocator<P, PAGE_SIZE> {
    /// The state of a class over all CPUs. Exact while nothing else is going on.
    pub(crate) fn stats(
        &self,
        frames: &FrameAllocator<P, PAGE_SIZE>,
        class: SizeClass,
    ) -> ClassStats {
        let mut sum = ClassStats::default();
        for (_, cpu) in self.cpus.iter(P::MAX_CPUS) {
            self.collect_all(frames, cpu);
            sum.add(&cpu.heap.lock().stats(class));
        }
        let mut cached = 0;
        // No claim can end while this is held; if it cannot be had, magazines are being emptied.
        if let Some(_exclusive) = self.try_exclusive() {
            let cpus = self.cpus.iter(P::MAX_CPUS);
            // SAFETY: see above.
            let magazines = cpus.filter_map(|(_, cpu)| unsafe { cpu.peek() });
            cached = magazines
                .map(|magazines| magazines.len(class) + magazines.reserve.len(class))
                .sum();
        }
        cached += self.depots().map(|depot| depot.len(class)).sum::<usize>();
        sum.live = sum.live.saturating_sub(cached + self.quarantined(class));
        sum
    }

    /// What a CPU has of a class, and what it did; `None` for a CPU that has not called yet. Exact while
    /// nothing else is going on.
    pub(crate) fn cpu_stats(
        &self,
        frames: &FrameAllocator<P, PAGE_SIZE>,
        cpu: usize,
        class: SizeClass,
    ) -> Option<CpuClassStats> {
        let cpu = self.cpus.get(cpu)?;
        self.collect_all(frames, cpu);
        let slabs = cpu.heap.lock().stats(class);
        let exclusive = self.try_exclusive();
        let magazines = exclusive.as_ref().and_then(|_| {
            // SAFETY: no claim can end while that is held.
            unsafe { cpu.peek() }
        });
        let activity = cpu.activity.read(class, magazines);
        Some(CpuClassStats {
            active: slabs.live,
            objects: slabs.objects,
            slabs: slabs.slabs,
            partial: slabs.partial,
            full: slabs.full,
            empty: slabs.empty,
            cached: activity.cached,
            allocations: activity.allocations,
            frees: activity.frees,
            local_frees: slabs.frees - slabs.remote_frees,
            remote_frees: slabs.remote_frees,
            refills: activity.refills,
            drains: activity.drains,
        })
    }

    /// Counts what this CPU does past its magazine. Where there was no memory for a CPU's state, another
    /// one's counts: sums are right.
    pub(super) fn count_directly(&self, count: impl FnOnce(&Activity)) {
        let _pinned = Pinned::<P>::new();
        let own = self.cpus.get(P::cpu_id());
        let first = || self.cpus.iter(P::MAX_CPUS).next().map(|(_, cpu)| cpu);
        if let Some(cpu) = own.or_else(first) {
            count(&cpu.activity);
        }
    }

    /// Walks all slabs of all CPUs, all magazines and the depots.
    ///
    /// # Errors
    ///
    /// What is wrong first, in words.
    pub(crate) fn validate(
        &self,
        frames: &FrameAllocator<P, PAGE_SIZE>,
    ) -> Result<(), &'static str> {
        for (_, cpu) in self.cpus.iter(P::MAX_CPUS) {
            self.collect_all(frames, cpu);
            let heap = cpu.heap.lock();
            // SAFETY: this is the heap's lock.
            let mut owned = unsafe { Owned::<PAGE_SIZE>::new() };
            heap.validate(&mut owned, |_, addr, slab| {
                let descriptor = SharedRef::from_slab_ref(slab);
                let entry = Entry::new(descriptor, descriptor.class()).addr();
                frames.page_flags(addr) == Ok(PageFlags::Slab)
                    && frames.slab_of(addr).map(core::ptr::NonNull::addr) == entry
            })?;
        }
        self.validate_caches(frames)
    }

    /// What lies in magazines and in the depots is free, and out of its slab.
    fn validate_caches(&self, frames: &FrameAllocator<P, PAGE_SIZE>) -> Result<(), &'static str> {
        let mut result = Ok(());
        let mut check = |addr: usize, class: SizeClass| {
            if result.is_ok() {
                result = self.validate_cached(frames, addr, class);
            }
        };
        for class in SizeClass::ALL {
            for depot in self.depots() {
                depot.inspect(class, |addr| check(addr, class));
            }
        }
        // Whoever has this is emptying the magazines: there is nothing to see.
        let mut patience = Patience::much().unless(self.is_nested());
        if let Some(exclusive) = self.try_exclusive() {
            self.visit_claimed(&exclusive, &mut patience, |_, claimed| {
                // SAFETY: they are claimed, and the CPU is in no turn.
                if let Some(magazines) = unsafe { claimed.as_ref() } {
                    for class in SizeClass::ALL {
                        magazines.inspect(class, |addr| check(addr, class));
                        let reserve = &magazines.reserve;
                        reserve.inspect::<PAGE_SIZE>(class, |addr| check(addr, class));
                    }
                }
                claimed
            });
        }
        result
    }

    fn validate_cached(
        &self,
        frames: &FrameAllocator<P, PAGE_SIZE>,
        addr: usize,
        class: SizeClass,
    ) -> Result<(), &'static str> {
        let entry = frames.slab_of(addr).map(|entry| Entry(entry.as_ptr()));
        let slab = entry.and_then(|entry| entry.check::<PAGE_SIZE>(addr, class).ok());
        let slab = slab.ok_or("a cached object is in no slab of its class")?;
        if !self.is_marked(addr) {
            return Err("a cached object is not marked as free");
        }
        let owner = self.cpus.get(slab.owner());
        let owner = owner.ok_or("a slab belongs to a CPU that there is not")?;
        let _heap = owner.heap.lock();
        // SAFETY: this is the heap's lock.
        let mut owned = unsafe { Owned::<PAGE_SIZE>::new() };
        if owned.slab(slab.slab_ref()).is_free(addr) {
            return Err("a cached object is free in its slab as well");
        }
        Ok(())
    }
}
