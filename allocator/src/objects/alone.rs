//! Where a [`SlabAllocator`](super::SlabAllocator) keeps its descriptors: in its own value first,
//! then in memory it was given.

use core::num::NonZeroUsize;
use core::ptr::NonNull;

use super::bits::{self, MOST_WORDS, Word};
use super::chunk::{ChunkRef, Chunks};
use super::size_class::SizeClass;
use super::slab::{Arena, Slab, SlabRef};

const FEW_OBJECTS: usize = 512;
const FEW_WORDS: usize = bits::words(FEW_OBJECTS);

/// How many classes have slabs with more than `FEW_OBJECTS` objects.
const LARGE: usize = 3;
const SMALL: usize = SizeClass::COUNT - LARGE + 2;

/// A descriptor, and what finding it by address takes.
#[repr(C)]
pub(super) struct Node<B: ?Sized = [Word]> {
    pub(super) left: Option<SlabRef>,
    pub(super) right: Option<SlabRef>,
    /// The chunk this node came from; `None` for one inside [`Nodes`].
    home: Option<ChunkRef>,
    /// The next node that is not in use, for one inside [`Nodes`].
    next: Option<SlabRef>,
    pub(super) bytes: usize,
    /// The CPU that the caller named as the owner.
    pub(super) owner: u16,
    pub(super) slab: Slab<B>,
}

impl<const WORDS: usize> Node<[Word; WORDS]> {
    const UNUSED: Self = Self {
        left: None,
        right: None,
        home: None,
        next: None,
        bytes: 0,
        owner: 0,
        slab: Slab::<[Word; WORDS]>::UNUSED,
    };
}

impl Node {
    /// Whether `addr` lies in the slab's memory.
    pub(super) fn covers(&self, addr: usize) -> bool {
        addr.wrapping_sub(self.slab.base()) < self.bytes
    }
}

/// The nodes of one allocator. A name up to `SMALL + LARGE` is a position in this value, so that the
/// value can be moved; any other is an address.
///
/// Invariant: every name that [`take`](Self::take) handed out and [`give`](Self::give) has not got
/// back leads to a node that only this value reaches.
pub(super) struct Nodes {
    small: [Node<[Word; FEW_WORDS]>; SMALL],
    large: [Node<[Word; MOST_WORDS]>; LARGE],
    /// How many of `small` and of `large` were ever in use.
    begun: [usize; 2],
    /// Those that were in use and are not.
    free: [Option<SlabRef>; 2],
    spare_inside: usize,
    chunks: Chunks,
}

impl Nodes {
    pub(super) const fn new() -> Self {
        Self {
            small: [const { Node::<[Word; FEW_WORDS]>::UNUSED }; SMALL],
            large: [const { Node::<[Word; MOST_WORDS]>::UNUSED }; LARGE],
            begun: [0; 2],
            free: [None; 2],
            spare_inside: SMALL + LARGE,
            chunks: Chunks::new(),
        }
    }

    /// How many nodes can be handed out, whatever slabs they are for.
    pub(super) const fn spare(&self) -> usize {
        self.spare_inside + self.chunks.spare()
    }

    /// Whether there is a node for a slab with that many objects.
    pub(super) fn has_spare(&self, objects: usize) -> bool {
        let large_inside = self.begun[1] < LARGE || self.free[1].is_some();
        self.chunks.spare() != 0 || large_inside || (objects <= FEW_OBJECTS && self.spare() != 0)
    }

    /// The node that `slab` names.
    pub(super) fn node(&mut self, slab: SlabRef) -> &mut Node {
        let name = slab.0.get();
        if name <= SMALL {
            return &mut self.small[name - 1];
        }
        if name <= SMALL + LARGE {
            return &mut self.large[name - SMALL - 1];
        }
        let node = core::ptr::with_exposed_provenance_mut::<Node<[Word; MOST_WORDS]>>(name);
        // SAFETY: by the invariant, a name that is an address leads to a node of a chunk; those
        // have `MOST_WORDS` words, and the reference borrows this value.
        unsafe { &mut *node }
    }

    /// Hands out a node for a slab with that many objects.
    pub(super) fn take(&mut self, objects: usize) -> Option<SlabRef> {
        let kind = usize::from(objects > FEW_OBJECTS);
        self.take_inside(kind)
            .or_else(|| self.take_outside())
            .or_else(|| (kind == 0).then(|| self.take_inside(1))?)
    }

    fn take_inside(&mut self, kind: usize) -> Option<SlabRef> {
        let (first, room) = [(1, SMALL), (SMALL + 1, LARGE)][kind];
        let taken = if let Some(freed) = self.free[kind] {
            self.free[kind] = self.node(freed).next;
            freed
        } else if self.begun[kind] < room {
            self.begun[kind] += 1;
            SlabRef(NonZeroUsize::new(first + self.begun[kind] - 1)?)
        } else {
            return None;
        };
        self.spare_inside -= 1;
        Some(taken)
    }

    fn take_outside(&mut self) -> Option<SlabRef> {
        let (slot, home) = self.chunks.take()?;
        let node = Node {
            home: Some(home),
            ..Node::<[Word; MOST_WORDS]>::UNUSED
        };
        // SAFETY: the slot is ours, and slots are made for such nodes.
        unsafe { slot.cast().write(node) };
        NonZeroUsize::new(slot.as_ptr().expose_provenance()).map(SlabRef)
    }

    /// Takes a node back.
    pub(super) fn give(&mut self, slab: SlabRef) {
        if let Some(home) = self.node(slab).home {
            let slot = core::ptr::with_exposed_provenance_mut(slab.0.get());
            if let Some(slot) = NonNull::new(slot) {
                // SAFETY: a node with a home is a slot of that chunk.
                unsafe { self.chunks.give(slot, home) };
            }
            return;
        }
        let kind = usize::from(slab.0.get() > SMALL);
        self.node(slab).next = self.free[kind];
        self.free[kind] = Some(slab);
        self.spare_inside += 1;
    }

    /// Makes nodes of `bytes` bytes at `base`.
    ///
    /// # Safety
    ///
    /// The range is page-aligned, at least a page long, writable, and belongs to this value until
    /// [`take_unused_chunk`](Self::take_unused_chunk) hands it back.
    pub(super) unsafe fn add_chunk(&mut self, base: usize, bytes: usize) {
        const STRIDE: usize = size_of::<Node<[Word; MOST_WORDS]>>().next_multiple_of(64);
        if let Some(memory) = NonNull::new(core::ptr::with_exposed_provenance_mut(base)) {
            // SAFETY: passed on to the caller.
            unsafe { self.chunks.add(memory, bytes, STRIDE) };
        }
    }

    /// Takes memory out in which no node is in use, and returns its address and length.
    pub(super) fn take_unused_chunk(&mut self) -> Option<(usize, usize)> {
        self.chunks.take_unused()
    }
}

impl Arena for Nodes {
    fn slab(&mut self, slab: SlabRef) -> &mut Slab {
        &mut self.node(slab).slab
    }
}
