//! A doubly linked list of slabs.

use super::size_class::SizeClass;
use super::slab::{Arena, SlabRef};

/// The slabs of one class in one state. The links are in the arena.
pub(crate) struct SlabList {
    head: Option<SlabRef>,
    tail: Option<SlabRef>,
    len: usize,
}

impl SlabList {
    pub(crate) const fn new() -> Self {
        Self {
            head: None,
            tail: None,
            len: 0,
        }
    }

    pub(crate) const fn first(&self) -> Option<SlabRef> {
        self.head
    }

    /// Whether `slab` is the last one.
    pub(crate) fn ends_with(&self, slab: SlabRef) -> bool {
        self.tail == Some(slab)
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Puts `slab`, which is on no list, at the front.
    #[inline]
    pub(crate) fn push(&mut self, arena: &mut impl Arena, class: SizeClass, slab: SlabRef) {
        let entered = arena.slab_of_class(slab, class);
        entered.prev = None;
        entered.next = self.head;
        match self.head {
            Some(second) => arena.slab_of_class(second, class).prev = Some(slab),
            None => self.tail = Some(slab),
        }
        self.head = Some(slab);
        self.len += 1;
    }

    /// Puts `slab`, which is on no list, at the end.
    pub(crate) fn push_last(&mut self, arena: &mut impl Arena, class: SizeClass, slab: SlabRef) {
        let Some(last) = self.tail else {
            return self.push(arena, class, slab);
        };
        arena.slab_of_class(last, class).next = Some(slab);
        let entered = arena.slab_of_class(slab, class);
        entered.prev = Some(last);
        entered.next = None;
        self.tail = Some(slab);
        self.len += 1;
    }

    /// Takes `slab`, which is on this list, out of it.
    #[inline]
    pub(crate) fn remove(&mut self, arena: &mut impl Arena, class: SizeClass, slab: SlabRef) {
        let left = arena.slab_of_class(slab, class);
        let prev = left.prev.take();
        let next = left.next.take();
        match prev {
            Some(prev) => arena.slab_of_class(prev, class).next = next,
            None => self.head = next,
        }
        match next {
            Some(next) => arena.slab_of_class(next, class).prev = prev,
            None => self.tail = prev,
        }
        self.len -= 1;
    }
}
