//! The object allocator that is usable alone.

use core::alloc::Layout;
use core::ptr::NonNull;

use super::alone::Nodes;
use super::heap::SlabHeap;
use super::size_class::SizeClass;
use super::slab::{Arena, SlabRef};
use super::stats::ClassStats;
use super::tree::AddressTree;
use crate::{AllocError, AllocResult};

/// What [`SlabAllocator::alloc`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum SlabAllocResult {
    /// Here is an object.
    Allocated(NonNull<u8>),
    /// The allocator wants memory: fetch `pages` pages, pass them to
    /// [`add_slab`](SlabAllocator::add_slab) with this class, and call `alloc` again until it
    /// answers `Allocated`.
    NeedsSlab {
        /// The class to pass on.
        size_class: SizeClass,
        /// How many pages to fetch; any page-aligned place will do.
        pages: usize,
    },
}

/// What [`SlabAllocator::dealloc`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum SlabDeallocResult {
    /// The object is free.
    Done,
    /// The object is free, and this memory is the caller's again.
    FreeSlab {
        /// Its first byte, as passed to [`SlabAllocator::add_slab`].
        base: usize,
        /// Its length.
        pages: usize,
    },
}

/// When fewer descriptors than this are left, the allocator asks for memory to make more, at a
/// moment when it can serve the request at hand without it.
const FEW: usize = 6;

/// Fixed-size objects inside slabs that the caller supplies. One owner, no locks, no other memory.
///
/// Descriptors lie apart from the slabs, so a 16 KiB slab of 2048-byte objects holds eight of them.
/// The first 28 are part of this value, enough for a slab of every class. When they run short,
/// [`alloc`](Self::alloc) asks for memory as it does for a slab, and turns it into room for more; so
/// a caller has to be ready for a second `NeedsSlab` in a row. [`reclaim`](Self::reclaim) gives that
/// memory back too.
///
/// Every free is checked, in every build: the object's slab is found by its address in a balanced
/// tree, never by reading memory near the object.
///
/// All operations but [`validate`](Self::validate) take time logarithmic in the number of slabs.
pub struct SlabAllocator<const PAGE_SIZE: usize = 0x1000> {
    nodes: Nodes,
    heap: SlabHeap,
    tree: AddressTree,
    /// The latest `NeedsSlab` was a request for descriptor memory, of this class.
    wants_chunk: Option<SizeClass>,
    /// A slab was added since the latest allocation: no request for descriptor memory now.
    fresh: bool,
}

impl<const PAGE_SIZE: usize> SlabAllocator<PAGE_SIZE> {
    const PAGE_SIZE_IS_USABLE: () = assert!(
        PAGE_SIZE.is_power_of_two() && PAGE_SIZE >= 0x1000,
        "PAGE_SIZE is a power of two of at least 4096"
    );

    /// An allocator without memory.
    #[must_use]
    pub const fn new() -> Self {
        () = Self::PAGE_SIZE_IS_USABLE;
        Self {
            nodes: Nodes::new(),
            heap: SlabHeap::new(),
            tree: AddressTree::new(),
            wants_chunk: None,
            fresh: false,
        }
    }

    /// Allocates an object for `layout`.
    ///
    /// # Errors
    ///
    /// `InvalidParam` if the size or the alignment is above 2048 bytes.
    pub fn alloc(&mut self, layout: Layout) -> AllocResult<SlabAllocResult> {
        let class = SizeClass::from_layout(layout).ok_or(AllocError::InvalidParam)?;
        let pages = class.slab_pages(PAGE_SIZE);
        let has_free = self.heap.has_free(class);
        let short = if has_free {
            self.nodes.spare() < FEW && !self.fresh
        } else {
            !self.nodes.has_spare(class.objects_in(pages * PAGE_SIZE))
        };
        let mut object = None;
        if has_free && !short {
            self.fresh = false;
            self.heap.take(&mut self.nodes, class, 1, |addr| {
                object = NonNull::new(core::ptr::with_exposed_provenance_mut(addr));
            });
        }
        self.wants_chunk = short.then_some(class);
        Ok(match object {
            Some(object) => SlabAllocResult::Allocated(object),
            None => SlabAllocResult::NeedsSlab {
                size_class: class,
                pages,
            },
        })
    }

    /// Frees the object at `ptr`.
    ///
    /// # Errors
    ///
    /// Nothing changes if the free is refused: `NotFound` if no slab covers `ptr`; `InvalidParam` if
    /// the object's class is not the one that `layout` selects; `NotAllocated` if `ptr` is not the
    /// first byte of an object or the object is free.
    ///
    /// # Safety
    ///
    /// If `ptr` is an object of this allocator, nobody uses it any more.
    pub unsafe fn dealloc(
        &mut self,
        ptr: NonNull<u8>,
        layout: Layout,
    ) -> AllocResult<SlabDeallocResult> {
        let class = SizeClass::from_layout(layout).ok_or(AllocError::InvalidParam)?;
        let addr = ptr.addr().get();
        let slab = self.find(addr).ok_or(AllocError::NotFound)?;
        let emptied = self.heap.put(&mut self.nodes, slab, class, addr)?;
        Ok(emptied.map_or(SlabDeallocResult::Done, |slab| self.retire(slab)))
    }

    /// Takes `bytes` bytes at `base` as a slab of `size_class`. `owner_cpu` is kept as a label.
    ///
    /// # Errors
    ///
    /// Nothing changes if the memory is refused: `InvalidParam` if `base` is not page-aligned, or
    /// `bytes` is no whole number of pages, or the range wraps; `MemoryOverlap` if it overlaps a
    /// slab.
    ///
    /// # Safety
    ///
    /// The range is readable and writable memory, and belongs to this allocator until a `FreeSlab`
    /// with this `base` hands it back.
    pub unsafe fn add_slab(
        &mut self,
        size_class: SizeClass,
        base: usize,
        bytes: usize,
        owner_cpu: u16,
    ) -> AllocResult {
        let end = base.checked_add(bytes).ok_or(AllocError::InvalidParam)?;
        let whole = base.is_multiple_of(PAGE_SIZE) && bytes.is_multiple_of(PAGE_SIZE);
        if base == 0 || bytes == 0 || !whole {
            return Err(AllocError::InvalidParam);
        }
        let before = self.tree.floor(&mut self.nodes, base);
        let after = self.tree.ceiling(&mut self.nodes, base);
        if before.is_some_and(|slab| self.nodes.node(slab).covers(base))
            || after.is_some_and(|slab| self.nodes.slab(slab).base() < end)
        {
            return Err(AllocError::MemoryOverlap);
        }
        let objects = size_class.objects_in(bytes);
        let wanted_as_chunk = self.wants_chunk.take() == Some(size_class);
        let taken = if wanted_as_chunk {
            None
        } else {
            self.nodes.take(objects)
        };
        let Some(slab) = taken else {
            // SAFETY: the caller gives the memory; it is page-aligned and at least a page.
            unsafe { self.nodes.add_chunk(base, bytes) };
            return Ok(());
        };
        let node = self.nodes.node(slab);
        node.bytes = bytes;
        node.owner = owner_cpu;
        node.slab.describe(size_class, base, objects);
        self.tree.insert(&mut self.nodes, slab);
        self.heap.add(&mut self.nodes, slab);
        self.fresh = true;
        Ok(())
    }

    /// Gives back memory that no live object needs: an empty slab, or descriptor memory. `None` when
    /// there is none left.
    pub fn reclaim(&mut self) -> Option<SlabDeallocResult> {
        if let Some(slab) = self.heap.take_empty(&mut self.nodes) {
            return Some(self.retire(slab));
        }
        let (base, bytes) = self.nodes.take_unused_chunk()?;
        Some(SlabDeallocResult::FreeSlab {
            base,
            pages: bytes / PAGE_SIZE,
        })
    }

    /// The `owner_cpu` that came with the slab of this object; `None` if no slab covers `ptr`.
    pub fn owner(&mut self, ptr: NonNull<u8>) -> Option<u16> {
        let slab = self.find(ptr.addr().get())?;
        Some(self.nodes.node(slab).owner)
    }

    /// What is known about `class`.
    #[must_use]
    pub fn stats(&self, class: SizeClass) -> ClassStats {
        self.heap.stats(class)
    }

    /// Checks every invariant by walking everything.
    ///
    /// # Errors
    ///
    /// What is wrong first, in words.
    pub fn validate(&mut self) -> Result<(), &'static str> {
        let tree = &self.tree;
        self.heap
            .validate(&mut self.nodes, |descriptors, base, slab| {
                tree.floor(descriptors, base) == Some(slab)
            })
    }

    /// The slab whose pages cover `addr`.
    fn find(&mut self, addr: usize) -> Option<SlabRef> {
        let slab = self.tree.floor(&mut self.nodes, addr)?;
        self.nodes.node(slab).covers(addr).then_some(slab)
    }

    /// Lets go of a slab that is on no list.
    fn retire(&mut self, slab: SlabRef) -> SlabDeallocResult {
        self.tree.remove(&mut self.nodes, slab);
        let node = self.nodes.node(slab);
        let base = node.slab.base();
        let pages = node.bytes / PAGE_SIZE;
        self.nodes.give(slab);
        SlabDeallocResult::FreeSlab { base, pages }
    }
}

impl<const PAGE_SIZE: usize> Default for SlabAllocator<PAGE_SIZE> {
    fn default() -> Self {
        Self::new()
    }
}
