//! A free that the magazine does not take, and where its oldest objects go.

use core::sync::atomic::{AtomicUsize, Ordering};

use super::super::size_class::SizeClass;
use super::allocator::ObjectAllocator;
use super::magazine::{MOST_BATCH, batch};
use crate::pages::FrameAllocator;
use crate::sync::Pinned;
use crate::{AllocResult, Platform};

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
            self.give_back(frames, &mut objects[..moved], class);
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
