//! A free that the magazine does not take, and where its oldest objects go.

use core::sync::atomic::{AtomicUsize, Ordering};

use super::super::size_class::SizeClass;
use super::allocator::ObjectAllocator;
use super::descriptor::Owned;
use super::entry::Entry;
use super::magazine::{MOST_BATCH, batch};
use super::remote::RemoteBatch;
use crate::pages::FrameAllocator;
use crate::sync::Pinned;
use crate::{AllocError, AllocResult, Misuse, Platform};

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
            let moved = {
                let _pinned = Pinned::<P>::new();
                let own = self
                    .cpus
                    .get(P::cpu_id())
                    .filter(|own| core::ptr::eq(*own, cpu));
                // SAFETY: this is the CPU of that state, and it is pinned.
                own.and_then(|own| unsafe { own.enter() })
                    .map_or(0, |turn| {
                        // SAFETY: it is kept for turns only; see `ObjectAllocator::forget_windows`.
                        if let Some(window) = unsafe { frames.slab_window(addr) } {
                            turn.set_window(window);
                        }
                        if !turn.magazines.is_full(class) {
                            return 0;
                        }
                        let moved = turn
                            .magazines
                            .take_oldest(class, batch(class), &mut objects);
                        cpu.activity.drained(class, moved);
                        match self.depot() {
                            Some(depot) if depot.put(class, &objects[..moved]) => 0,
                            _ => moved,
                        }
                    })
            };
            self.give_back(frames, &objects[..moved], class);
            drop(moving);
            if self.push(addr, class) {
                return Ok(());
            }
        }
        self.mark(addr);
        self.count_directly(|activity| activity.freed_directly(class));
        self.give_back(frames, &[addr], class);
        Ok(())
    }

    /// Brings free objects back to their slabs. Waits for nobody: what the own heap's lock does
    /// not admit goes the way of a remote free.
    pub(super) fn give_back(
        &self,
        frames: &FrameAllocator<P, PAGE_SIZE>,
        objects: &[usize],
        class: SizeClass,
    ) {
        if objects.is_empty() {
            return;
        }
        let _pinned = Pinned::<P>::new();
        let id = P::cpu_id();
        let cpu = self.cpus.get(id);
        let mut heap = cpu.and_then(|cpu| cpu.heap.try_lock());
        // SAFETY: used for slabs of this CPU only, and only while its heap's lock is held.
        let mut owned = unsafe { Owned::<PAGE_SIZE>::new() };
        let mut batch = RemoteBatch::<PAGE_SIZE, _>::new(|slab| {
            if let Some(owner) = self.cpus.get(slab.owner()) {
                owner.queue.push(slab);
            }
        });
        let mut twice = None;
        for addr in objects {
            let entry = frames.slab_of(*addr).map(|entry| Entry(entry.as_ptr()));
            let Some(descriptor) = entry.and_then(Entry::descriptor) else {
                twice = Some(*addr);
                continue;
            };
            match &mut heap {
                Some(heap) if descriptor.owner() == id => {
                    match heap.put(&mut owned, descriptor.slab_ref(), class, *addr) {
                        Ok(Some(emptied)) => {
                            self.retire(frames, emptied);
                        }
                        Ok(None) => {}
                        Err(_) => twice = Some(*addr),
                    }
                }
                _ => {
                    if !batch.add(descriptor, Entry::index::<PAGE_SIZE>(*addr, class)) {
                        twice = Some(*addr);
                    }
                }
            }
        }
        drop(heap);
        batch.finish();
        if let Some(addr) = twice {
            P::misuse(&Misuse::Free {
                addr,
                size: class.size(),
                align: 1,
                error: AllocError::NotAllocated,
            });
        }
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
