//! An allocation that the magazine cannot serve.

use core::ptr::NonNull;
use core::sync::atomic::Ordering;

use super::super::size_class::SizeClass;
use super::allocator::{ObjectAllocator, hand_out};
use super::cpu::CpuState;
use super::descriptor::Owned;
use super::magazine::batch;
use super::overflow::Moving;
use super::slabs::give_pages;
use crate::pages::{FrameAllocator, PageRequest};
use crate::sync::Pinned;
use crate::{AllocError, AllocResult, Platform};

impl<P: Platform, const PAGE_SIZE: usize> ObjectAllocator<P, PAGE_SIZE> {
    /// An allocation that the magazine could not serve.
    #[cold]
    #[inline(never)]
    pub(crate) fn alloc_slowly(
        &self,
        frames: &FrameAllocator<P, PAGE_SIZE>,
        class: SizeClass,
    ) -> AllocResult<NonNull<u8>> {
        /// What a drain finds may be taken by others before this CPU comes to it.
        const ROUNDS: usize = 8;
        let slab = PageRequest::new(class.grid::<PAGE_SIZE>().bytes() / PAGE_SIZE);
        for _ in 0..ROUNDS {
            let added = match self.cpu(frames) {
                Some(cpu) => {
                    if let Some(object) = self.refill(frames, cpu, class) {
                        return Ok(hand_out::<P>(object));
                    }
                    frames
                        .try_allocate(&slab)
                        .and_then(|base| self.add_slab(frames, class, base))
                }
                None => Err(AllocError::NoMemory),
            };
            match added {
                Ok(()) => {}
                Err(AllocError::NoMemory) if frames.section_count() == 0 => {
                    return Err(AllocError::NotInitialized);
                }
                Err(AllocError::NoMemory) => {
                    let given = self.drain(frames);
                    if let Some(object) = self.take_anywhere(frames, class) {
                        return Ok(hand_out::<P>(object));
                    }
                    // Free objects of this class are not among the pages that this gives.
                    if given == 0
                        && self.trim(frames) == 0
                        && self.moving.load(Ordering::SeqCst) == 0
                    {
                        break;
                    }
                }
                Err(error) => return Err(error),
            }
        }
        self.ask(frames, class, &slab)
            .map(hand_out::<P>)
            .ok_or(AllocError::NoMemory)
    }

    /// The last resort: the owner of the pages asks its reclaim callback. What that frees may be objects; and a slab may not be all that
    /// is missing, but a page to describe it, or the state of a CPU that is new.
    fn ask(
        &self,
        frames: &FrameAllocator<P, PAGE_SIZE>,
        class: SizeClass,
        slab: &PageRequest,
    ) -> Option<usize> {
        let make = || {
            // A CPU that has a state needs no magazines for this, which would take the pages.
            if self.cpus.get(P::cpu_id()).is_none() {
                self.cpu(frames)?;
            }
            let base = frames.try_allocate_quietly(slab).ok()?;
            self.add_slab(frames, class, base).ok()?;
            self.take_anywhere(frames, class)
        };
        let mut object = None;
        // Until there is the object, or room for more than the slab.
        let room = PageRequest::new(2 * slab.count);
        let found = frames.allocate_below(&room, &mut |_| {
            self.drain(frames);
            object = self.take_anywhere(frames, class);
            if object.is_none() {
                self.trim(frames);
                object = make();
            }
            object.is_none()
        });
        if let Ok(base) = found {
            give_pages(frames, base, room.count);
        }
        object.or_else(make)
    }

    /// Fills this CPU's magazine from what is kept for it, else from its slabs, and takes one object more than
    /// is left in it. In a handler that interrupted the magazines, takes just one, from the slabs.
    fn refill(
        &self,
        frames: &FrameAllocator<P, PAGE_SIZE>,
        cpu: &CpuState<P>,
        class: SizeClass,
    ) -> Option<usize> {
        let pinned = Pinned::<P>::new();
        if let Some(object) = self.refill_at_once(frames, cpu, class, &pinned) {
            return Some(object);
        }
        let mut heap = cpu.heap.lock();
        // SAFETY: this is the heap's lock.
        let mut owned = unsafe { Owned::<PAGE_SIZE>::new() };
        self.collect(frames, cpu, &mut heap, &mut owned);
        if let Some(turn) = self.own_turn(cpu, &pinned)
            && let Some(magazines) = turn.magazines()
        {
            let mut room = magazines.room(class);
            let limit = batch(class).min(room.len());
            let taken = heap.take(&mut owned, class, limit, |addr| room.put(addr));
            drop(room);
            if taken != 0 {
                cpu.activity.refilled(class, taken);
            }
            self.shuffle(magazines, class);
            magazines.pop(class)
        } else {
            let mut object = None;
            heap.take(&mut owned, class, 1, |addr| object = Some(addr));
            if object.is_some() {
                cpu.activity.allocated_directly(class);
            }
            object
        }
    }

    /// Fills this CPU's magazine with a batch that is there: its own latest one, else one from the depot.
    fn refill_at_once(
        &self,
        frames: &FrameAllocator<P, PAGE_SIZE>,
        cpu: &CpuState<P>,
        class: SizeClass,
        pinned: &Pinned<P>,
    ) -> Option<usize> {
        let turn = self.own_turn(cpu, pinned)?;
        let magazines = turn.magazines()?;
        let mut room = magazines.room(class);
        if room.len() < batch(class) {
            return None;
        }
        let reserve = &magazines.reserve;
        let (mut taken, unused) = reserve.take::<PAGE_SIZE>(class, |objects| room.put_all(objects));
        if taken == 0
            && let Some(depot) = self.depot()
            && depot.take(class, |object| room.put(object))
        {
            taken = batch(class);
        }
        drop(room);
        let mut object = None;
        if taken != 0 {
            cpu.activity.refilled(class, taken);
            self.shuffle(magazines, class);
            object = magazines.pop(class);
        }
        // Until it is back in the tree it is only here: nobody gives up for want of it.
        let unused = unused.map(|page| (page, Moving::new(self)));
        drop(turn);
        if let Some((page, _moving)) = unused {
            give_pages(frames, page, 1);
        }
        object
    }

    /// Takes one object from any CPU's slabs.
    pub(super) fn take_anywhere(
        &self,
        frames: &FrameAllocator<P, PAGE_SIZE>,
        class: SizeClass,
    ) -> Option<usize> {
        let object = self.cpus.iter(P::MAX_CPUS).find_map(|(_, cpu)| {
            self.collect_all(frames, cpu);
            let mut heap = cpu.heap.lock();
            // SAFETY: this is the heap's lock.
            let mut owned = unsafe { Owned::<PAGE_SIZE>::new() };
            let mut object = None;
            heap.take(&mut owned, class, 1, |addr| object = Some(addr));
            object
        });
        if object.is_some() {
            self.count_directly(|activity| activity.allocated_directly(class));
        }
        object
    }
}
