//! What the object layer says about itself.

use core::sync::atomic::Ordering;

use super::super::size_class::SizeClass;
use super::super::stats::ClassStats;
use super::allocator::{Entry, ObjectAllocator};
use super::descriptor::{Owned, SharedRef};
use crate::Platform;
use crate::pages::{FrameAllocator, PageFlags};

impl<P: Platform, const PAGE_SIZE: usize> ObjectAllocator<P, PAGE_SIZE> {
    /// The state of a class over all CPUs. Exact while nothing else is going on.
    pub(crate) fn stats(
        &self,
        frames: &FrameAllocator<P, PAGE_SIZE>,
        class: SizeClass,
    ) -> ClassStats {
        let mut sum = ClassStats::default();
        for (_, cpu) in self.cpus.iter(P::MAX_CPUS) {
            let mut heap = cpu.heap.lock();
            // SAFETY: this is the heap's lock.
            let mut owned = unsafe { Owned::<PAGE_SIZE>::new() };
            self.collect(frames, cpu, &mut heap, &mut owned);
            sum.add(&heap.stats(class));
        }
        let mut cached = 0;
        // No claim can end while this is held; if it cannot be had, magazines are being emptied.
        if !self.draining.swap(true, Ordering::Acquire) {
            let cpus = self.cpus.iter(P::MAX_CPUS);
            cached = cpus.map(|(_, cpu)| cpu.peek(class)).sum();
            self.draining.store(false, Ordering::Release);
        }
        cached += self.depot().map_or(0, |depot| depot.len(class));
        sum.live = sum.live.saturating_sub(cached);
        sum
    }

    /// Walks all slabs of all CPUs.
    ///
    /// # Errors
    ///
    /// What is wrong first, in words.
    pub(crate) fn validate(
        &self,
        frames: &FrameAllocator<P, PAGE_SIZE>,
    ) -> Result<(), &'static str> {
        for (_, cpu) in self.cpus.iter(P::MAX_CPUS) {
            let mut heap = cpu.heap.lock();
            // SAFETY: this is the heap's lock.
            let mut owned = unsafe { Owned::<PAGE_SIZE>::new() };
            self.collect(frames, cpu, &mut heap, &mut owned);
            heap.validate(&mut owned, |_, base, slab| {
                let descriptor = SharedRef::from_slab_ref(slab);
                let entry = Entry::new(descriptor, descriptor.class()).addr();
                frames.page_flags(base) == Ok(PageFlags::Slab)
                    && frames.slab_of(base).map(core::ptr::NonNull::addr) == entry
            })?;
        }
        Ok(())
    }
}
