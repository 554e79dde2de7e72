//! Pages that become slabs, slabs whose objects come back, and slabs that become pages again.

#[cfg(all(test, loom))]
mod models;

use super::super::heap::SlabHeap;
use super::super::size_class::SizeClass;
use super::super::slab::{Arena, SlabRef};
use super::allocator::ObjectAllocator;
use super::cpu::CpuState;
use super::descriptor::{Owned, SharedRef};
use super::entry::Entry;
use super::remote::{self, RemoteQueue};
use crate::pages::{FrameAllocator, PageRequest};
use crate::sync::Pinned;
use crate::{AllocError, AllocResult, Platform};

impl<P: Platform, const PAGE_SIZE: usize> ObjectAllocator<P, PAGE_SIZE> {
    /// Makes the block at `base`, which was allocated for this, a slab of this CPU. If there is no
    /// memory for a descriptor, the block is given back.
    pub(super) fn add_slab(
        &self,
        frames: &FrameAllocator<P, PAGE_SIZE>,
        class: SizeClass,
        base: usize,
    ) -> AllocResult {
        let _pinned = Pinned::<P>::new();
        let count = class.grid::<PAGE_SIZE>().bytes() / PAGE_SIZE;
        let id = P::cpu_id();
        let Some(cpu) = self.cpus.get(id) else {
            give_pages(frames, base, count);
            return Err(AllocError::NoMemory);
        };
        let known = self.descriptors.lock().take(class, base, id);
        let descriptor = match known {
            Some(descriptor) => descriptor,
            None => match frames.try_allocate_quietly(&PageRequest::new(1)) {
                Ok(page) => {
                    let mut descriptors = self.descriptors.lock();
                    // SAFETY: the page was just allocated for this.
                    unsafe { descriptors.add_page(class, page) };
                    // At once, before a handler takes it, or drains and gives the page back.
                    descriptors
                        .take(class, base, id)
                        .ok_or(AllocError::NoMemory)?
                }
                Err(error) => {
                    give_pages(frames, base, count);
                    return Err(error);
                }
            },
        };
        self.prepare(base, class);
        let mut heap = cpu.heap.lock();
        // SAFETY: this is the heap's lock.
        let mut owned = unsafe { Owned::<PAGE_SIZE>::new() };
        heap.add(&mut owned, descriptor.slab_ref());
        // SAFETY: the block is allocated and stays a slab until `retire`, and so does its descriptor.
        let marked = unsafe { frames.describe_slab(base, Entry::new(descriptor, class).0) };
        debug_assert_eq!(marked, Ok(()));
        Ok(())
    }

    /// Gives the pages of a slab back that is on no list and empty. Returns how many.
    pub(super) fn retire(&self, frames: &FrameAllocator<P, PAGE_SIZE>, slab: SlabRef) -> usize {
        let descriptor = SharedRef::from_slab_ref(slab);
        let bytes = descriptor.class().grid::<PAGE_SIZE>().bytes();
        // SAFETY: the slab is on no list, so this is the only way to it.
        let mut owned = unsafe { Owned::<PAGE_SIZE>::new() };
        let slab = owned.slab(slab);
        let (base, gone) = (slab.base(), slab.gone());
        let given = if gone == 0 {
            Self::give_block(frames, base, bytes)
        } else {
            Self::give_pieces(frames, base, bytes, !gone)
        };
        // SAFETY: the slab is empty, so no other CPU is about to touch it (see `remote`).
        unsafe { self.descriptors.lock().give(descriptor) };
        given
    }

    /// Gives a block of a slab back in which no object is in use, or will be. Returns how many pages it has.
    pub(super) fn give_block(
        frames: &FrameAllocator<P, PAGE_SIZE>,
        addr: usize,
        bytes: usize,
    ) -> usize {
        // SAFETY: nothing of the block is in use.
        let unmarked = unsafe { frames.describe_slab(addr, core::ptr::null_mut()) };
        debug_assert_eq!(unmarked, Ok(()));
        give_pages(frames, addr, bytes / PAGE_SIZE);
        bytes / PAGE_SIZE
    }

    /// Takes in what other CPUs have freed of this heap's objects: of some slabs, so that interrupts are not
    /// masked for long. Returns how many pages that gave back, and whether there are more slabs.
    pub(super) fn collect(
        &self,
        frames: &FrameAllocator<P, PAGE_SIZE>,
        cpu: &CpuState<P>,
        heap: &mut SlabHeap,
        owned: &mut Owned<PAGE_SIZE>,
    ) -> (usize, bool) {
        const MOST: usize = 16;
        if cpu.queue.is_empty() {
            return (0, false);
        }
        let mut given = 0;
        let has_more = take_in(&cpu.queue, MOST, heap, owned, |emptied| {
            given += self.retire(frames, emptied);
        });
        (given, has_more)
    }

    /// Takes in all that other CPUs have freed of a heap's objects up to now. Returns how many pages that gave
    /// back.
    pub(super) fn collect_all(
        &self,
        frames: &FrameAllocator<P, PAGE_SIZE>,
        cpu: &CpuState<P>,
    ) -> usize {
        let mut all = 0;
        // What an earlier call had left, and what has come since: not what still comes, for that may have
        // no end.
        for _ in 0..2 {
            let mut has_more = true;
            while has_more {
                let mut heap = cpu.heap.lock();
                // SAFETY: this is the heap's lock.
                let mut owned = unsafe { Owned::<PAGE_SIZE>::new() };
                let given;
                (given, has_more) = self.collect(frames, cpu, &mut heap, &mut owned);
                all += given;
            }
        }
        all
    }
}

/// Takes in the remote frees of up to `most` slabs in their owner's queue. Passes those on that are on no list
/// any more: their pages can go. Returns whether there are more slabs.
fn take_in<const PAGE_SIZE: usize>(
    queue: &RemoteQueue,
    most: usize,
    heap: &mut SlabHeap,
    owned: &mut Owned<PAGE_SIZE>,
    mut emptied: impl FnMut(SlabRef),
) -> bool {
    queue.take(most, |descriptor| {
        let slab = owned.slab(descriptor.slab_ref());
        let freed = remote::absorb::<PAGE_SIZE>(descriptor, slab);
        if let Some(slab) = heap.settle(owned, descriptor.slab_ref(), freed) {
            emptied(slab);
        }
    })
}

/// Frees pages of the object layer.
pub(super) fn give_pages<P: Platform, const PAGE_SIZE: usize>(
    frames: &FrameAllocator<P, PAGE_SIZE>,
    base: usize,
    count: usize,
) {
    // SAFETY: the object layer allocated them, and nothing in them is in use.
    let given = unsafe { frames.dealloc_pages(base, count) };
    debug_assert_eq!(given, Ok(()));
}
