//! The slabs of one owner, by class and by how full they are.

use super::list::SlabList;
use super::pieces::Pieces;
use super::size_class::SizeClass;
use super::slab::{Arena, Place, SlabRef};
use super::stats::ClassStats;
use crate::{AllocError, AllocResult};

/// The slabs of one class, each on the list that its number of free objects calls for.
struct ClassSlabs {
    partial: SlabList,
    full: SlabList,
    empty: SlabList,
    /// All objects of all slabs.
    objects: usize,
    taken: u64,
    put: u64,
    /// What other CPUs brought back.
    put_remotely: u64,
}

impl ClassSlabs {
    const fn new() -> Self {
        Self {
            partial: SlabList::new(),
            full: SlabList::new(),
            empty: SlabList::new(),
            objects: 0,
            taken: 0,
            put: 0,
            put_remotely: 0,
        }
    }

    fn list(&mut self, place: Place) -> Option<&mut SlabList> {
        match place {
            Place::Partial => Some(&mut self.partial),
            Place::Full => Some(&mut self.full),
            Place::Empty => Some(&mut self.empty),
            Place::Nowhere => None,
        }
    }

    /// Moves a slab to another list.
    #[inline]
    fn transfer(&mut self, arena: &mut impl Arena, class: SizeClass, slab: SlabRef, to: Place) {
        let from = core::mem::replace(&mut arena.slab_of_class(slab, class).place, to);
        if let Some(list) = self.list(from) {
            list.remove(arena, class, slab);
        }
        if let Some(list) = self.list(to) {
            list.push(arena, class, slab);
        }
    }
}

/// An owner's slabs. Descriptors are reached through the arena that comes with every call.
pub(crate) struct SlabHeap {
    classes: [ClassSlabs; SizeClass::COUNT],
}

impl SlabHeap {
    pub(crate) const fn new() -> Self {
        Self {
            classes: [const { ClassSlabs::new() }; SizeClass::COUNT],
        }
    }

    /// Whether [`take`](Self::take) would find an object.
    pub(crate) fn has_free(&self, class: SizeClass) -> bool {
        let slabs = &self.classes[class.index()];
        slabs.partial.first().is_some() || slabs.empty.first().is_some()
    }

    /// Takes up to `limit` objects out of partial slabs, then out of empty ones, and passes their
    /// addresses to `sink`. Returns how many.
    pub(crate) fn take(
        &mut self,
        arena: &mut impl Arena,
        class: SizeClass,
        limit: usize,
        mut sink: impl FnMut(usize),
    ) -> usize {
        let slabs = &mut self.classes[class.index()];
        let mut taken = 0;
        while taken < limit {
            let Some(slab) = slabs.partial.first().or(slabs.empty.first()) else {
                break;
            };
            let descriptor = arena.slab_of_class(slab, class);
            taken += descriptor.take(limit - taken, &mut sink);
            let place = descriptor.place_by_count();
            if place != descriptor.place {
                slabs.transfer(arena, class, slab, place);
            }
        }
        slabs.taken += taken as u64;
        taken
    }

    /// Gives an object of `class` back to `slab`. Returns the slab if all of it is free now, and
    /// another such slab is kept already: it is on no list any more, and its pages can go.
    ///
    /// # Errors
    ///
    /// As [`Slab::put`](super::slab::Slab::put); `InvalidParam` if the slab is of another class.
    pub(crate) fn put(
        &mut self,
        arena: &mut impl Arena,
        slab: SlabRef,
        class: SizeClass,
        addr: usize,
    ) -> AllocResult<Option<SlabRef>> {
        let descriptor = arena.slab(slab);
        if descriptor.class() != class {
            return Err(AllocError::InvalidParam);
        }
        let index = descriptor.index_of(addr).ok_or(AllocError::NotAllocated)?;
        self.put_at(arena, slab, class, index)
    }

    /// [`put`](Self::put) for a caller that knows that the slab is of that class, and the number of the
    /// object.
    ///
    /// # Errors
    ///
    /// `NotAllocated` if the object is free.
    #[inline]
    pub(crate) fn put_at(
        &mut self,
        arena: &mut impl Arena,
        slab: SlabRef,
        class: SizeClass,
        index: usize,
    ) -> AllocResult<Option<SlabRef>> {
        let descriptor = arena.slab_of_class(slab, class);
        descriptor.put(index)?;
        self.classes[class.index()].put += 1;
        // Only the first free object and the last one bring the slab to another list.
        if descriptor.free() != 1 && descriptor.free() != descriptor.objects() {
            debug_assert!(descriptor.place_by_count() == descriptor.place);
            return Ok(None);
        }
        Ok(self.place(arena, class, slab))
    }

    /// Finds the right list for a slab to which others have brought `freed` objects back. Returns what
    /// [`put`](Self::put) returns.
    pub(crate) fn settle(
        &mut self,
        arena: &mut impl Arena,
        slab: SlabRef,
        freed: usize,
    ) -> Option<SlabRef> {
        let class = arena.slab(slab).class();
        self.classes[class.index()].put_remotely += freed as u64;
        self.place(arena, class, slab)
    }

    /// Puts a slab on the list that its number of free objects calls for.
    fn place(
        &mut self,
        arena: &mut impl Arena,
        class: SizeClass,
        slab: SlabRef,
    ) -> Option<SlabRef> {
        let descriptor = arena.slab_of_class(slab, class);
        let (was, now) = (descriptor.place, descriptor.place_by_count());
        let slabs = &mut self.classes[class.index()];
        if was == now {
            return None;
        }
        if now == Place::Empty && slabs.empty.first().is_some() {
            self.remove(arena, class, slab);
            return Some(slab);
        }
        slabs.transfer(arena, class, slab, now);
        None
    }

    /// Enters a slab that is on no list.
    pub(crate) fn add(&mut self, arena: &mut impl Arena, slab: SlabRef) {
        let descriptor = arena.slab(slab);
        let class = descriptor.class();
        let slabs = &mut self.classes[class.index()];
        slabs.objects += descriptor.objects();
        let place = descriptor.place_by_count();
        slabs.transfer(arena, class, slab, place);
    }

    /// Takes out a slab all of whose objects are free, of whatever class.
    pub(crate) fn take_empty(&mut self, arena: &mut impl Arena) -> Option<SlabRef> {
        let slab = self.classes.iter().find_map(|slabs| slabs.empty.first())?;
        let class = arena.slab(slab).class();
        self.remove(arena, class, slab);
        Some(slab)
    }

    /// How many slabs of `class` have free objects and live ones.
    pub(crate) fn partial(&self, class: SizeClass) -> usize {
        self.classes[class.index()].partial.len()
    }

    /// Looks at up to `most` partial slabs of `class`, which are the last to be looked at again, and passes the
    /// pieces that have gone of them to `gone`: the slab's first byte, all pieces that are gone now, and
    /// those that went with this call.
    pub(crate) fn trim(
        &mut self,
        arena: &mut impl Arena,
        class: SizeClass,
        most: usize,
        mut gone: impl FnMut(usize, Pieces, Pieces),
    ) {
        let slabs = &mut self.classes[class.index()];
        for _ in 0..most.min(slabs.partial.len()) {
            let Some(slab) = slabs.partial.first() else {
                break;
            };
            slabs.partial.remove(arena, class, slab);
            let descriptor = arena.slab_of_class(slab, class);
            let (pieces, lost) = descriptor.trim();
            descriptor.place = descriptor.place_by_count();
            if pieces != 0 {
                slabs.objects -= lost;
                gone(descriptor.base(), descriptor.gone(), pieces);
            }
            match descriptor.place {
                Place::Full => slabs.full.push(arena, class, slab),
                _ => slabs.partial.push_last(arena, class, slab),
            }
        }
    }

    fn remove(&mut self, arena: &mut impl Arena, class: SizeClass, slab: SlabRef) {
        let slabs = &mut self.classes[class.index()];
        slabs.objects -= arena.slab_of_class(slab, class).objects();
        slabs.transfer(arena, class, slab, Place::Nowhere);
    }

    /// What is known about `class`.
    pub(crate) fn stats(&self, class: SizeClass) -> ClassStats {
        let slabs = &self.classes[class.index()];
        let (partial, full, empty) = (slabs.partial.len(), slabs.full.len(), slabs.empty.len());
        #[expect(clippy::cast_possible_truncation, reason = "at most `objects`")]
        let live = (slabs.taken - slabs.put - slabs.put_remotely) as usize;
        ClassStats {
            live,
            objects: slabs.objects,
            slabs: partial + full + empty,
            partial,
            full,
            empty,
            allocations: slabs.taken,
            frees: slabs.put + slabs.put_remotely,
            remote_frees: slabs.put_remotely,
        }
    }

    /// Walks every slab; `known` says whether the lookup by an address in it leads to it.
    ///
    /// # Errors
    ///
    /// What is wrong first.
    pub(crate) fn validate<A: Arena>(
        &self,
        arena: &mut A,
        mut known: impl FnMut(&mut A, usize, SlabRef) -> bool,
    ) -> Result<(), &'static str> {
        for class in SizeClass::ALL {
            let slabs = &self.classes[class.index()];
            let mut objects = 0;
            let mut free = 0;
            for (list, place) in [
                (&slabs.partial, Place::Partial),
                (&slabs.full, Place::Full),
                (&slabs.empty, Place::Empty),
            ] {
                let mut next = list.first();
                let mut length = 0;
                while let Some(here) = next {
                    let slab = arena.slab(here);
                    if slab.class() != class {
                        return Err("a slab is on the list of another class");
                    }
                    if slab.place != place || slab.place_by_count() != place {
                        return Err("a slab is on the wrong list for its free count");
                    }
                    if !slab.is_consistent() {
                        return Err("a slab's free count is not the number of its free objects");
                    }
                    length += 1;
                    if length > list.len() {
                        return Err("a list is longer than it says");
                    }
                    objects += slab.objects();
                    free += slab.free();
                    let addr = slab.somewhere();
                    next = slab.next;
                    if next.is_none() && !list.ends_with(here) {
                        return Err("a list ends before its end");
                    }
                    if !known(arena, addr, here) {
                        return Err("a slab is not found by its address");
                    }
                }
                if length != list.len() {
                    return Err("a list is shorter than it says");
                }
            }
            let out = slabs.taken - slabs.put - slabs.put_remotely;
            if objects != slabs.objects || (objects - free) as u64 != out {
                return Err("the statistics of a class are not what its slabs say");
            }
        }
        Ok(())
    }
}
