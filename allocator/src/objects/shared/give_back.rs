//! Free objects on their way back to their slabs.

use super::super::heap::SlabHeap;
use super::super::size_class::SizeClass;
use super::allocator::ObjectAllocator;
use super::descriptor::{Owned, SharedRef};
use super::entry::Entry;
use super::remote::RemoteBatch;
use crate::pages::{FrameAllocator, SlabView};
use crate::sync::Pinned;
use crate::{AllocError, Misuse, Platform};

impl<P: Platform, const PAGE_SIZE: usize> ObjectAllocator<P, PAGE_SIZE> {
    /// Brings free objects back to their slabs, and leaves them in another order. Waits for nobody: what
    /// the own heap's lock does not admit goes the way of a remote free.
    pub(super) fn give_back(
        &self,
        frames: &FrameAllocator<P, PAGE_SIZE>,
        objects: &mut [usize],
        class: SizeClass,
    ) {
        let Some(first) = objects.first() else { return };
        let _pinned = Pinned::<P>::new();
        let mut slabs = Slabs {
            frames,
            view: frames.slab_view(*first),
        };
        let mut twice = None;
        let id = P::cpu_id();
        let own = self.cpus.get(id).and_then(|cpu| cpu.heap.try_lock());
        let others = match own {
            Some(mut heap) => self.give_back_own(&mut slabs, &mut heap, objects, class, &mut twice),
            None => objects.len(),
        };
        let mut batch = RemoteBatch::<PAGE_SIZE, _>::new(|slab| {
            if let Some(owner) = self.cpus.get(slab.owner()) {
                owner.queue.push(slab);
            }
        });
        for addr in &objects[..others] {
            let index = Entry::index::<PAGE_SIZE>(*addr, class);
            let is_back = slabs
                .of(*addr)
                .is_some_and(|descriptor| batch.add(descriptor, index));
            if !is_back {
                twice = Some(*addr);
            }
        }
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

    /// Brings those objects back that belong to this CPU's slabs. Moves the others to the front; returns
    /// how many they are.
    fn give_back_own(
        &self,
        slabs: &mut Slabs<'_, P, PAGE_SIZE>,
        heap: &mut SlabHeap,
        objects: &mut [usize],
        class: SizeClass,
        twice: &mut Option<usize>,
    ) -> usize {
        let id = P::cpu_id();
        // SAFETY: used for slabs of this CPU only, and the caller holds its heap's lock.
        let mut owned = unsafe { Owned::<PAGE_SIZE>::new() };
        let mut others = 0;
        for at in 0..objects.len() {
            let addr = objects[at];
            match slabs.of(addr) {
                Some(slab) if slab.owner() == id => {
                    let index = Entry::index::<PAGE_SIZE>(addr, class);
                    match heap.put_at(&mut owned, slab.slab_ref(), class, index) {
                        Ok(None) => {}
                        Ok(Some(emptied)) => {
                            self.retire(slabs.frames, emptied);
                        }
                        Err(_) => *twice = Some(addr),
                    }
                }
                _ => {
                    objects[others] = addr;
                    others += 1;
                }
            }
        }
        others
    }
}

/// From objects that are on their way back to their slabs.
struct Slabs<'a, P: Platform, const PAGE_SIZE: usize> {
    frames: &'a FrameAllocator<P, PAGE_SIZE>,
    /// Where the last slab was found.
    view: Option<SlabView>,
}

impl<P: Platform, const PAGE_SIZE: usize> Slabs<'_, P, PAGE_SIZE> {
    /// The slab of an object that was on its way when this value was made.
    #[inline]
    fn of(&mut self, addr: usize) -> Option<SharedRef> {
        let slab = |view: SlabView| {
            // SAFETY: the object has not been back in its slab since the view was taken, so that slab is
            // still there, and with it the section.
            Entry(unsafe { view.slab(addr) }).descriptor()
        };
        self.view.and_then(slab).or_else(|| {
            self.view = self.frames.slab_view(addr);
            self.view.and_then(slab)
        })
    }
}
