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
    /// The allocator wants memory, and has allocated nothing: fetch `pages` pages, pass them to
    /// [`add_slab`](SlabAllocator::add_slab) with this class, and call `alloc` again until it
    /// answers `Allocated`. Without memory to give, call `alloc` once more: free objects are handed
    /// out then, and a second `NeedsSlab` says that there are none. Nothing has to be taken back.
    NeedsSlab {
        /// The class to pass on.
        size_class: SizeClass,
        /// How many pages of `PAGE_SIZE` bytes to fetch; any page-aligned place will do. `add_slab`
        /// takes bytes: `pages * PAGE_SIZE`.
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
        /// Its length in pages: all that was passed there.
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
/// a caller has to be ready for a second `NeedsSlab` in a row. While there are free objects it asks
/// once, and not again before memory was added. [`reclaim`](Self::reclaim) gives that memory back too.
///
/// A free hands a slab back if no object of it is live any more, and another such slab of its class
/// is kept already; [`reclaim`](Self::reclaim) hands the kept ones back.
///
/// Every free is checked, in every build: the object's slab is found by its address in a balanced
/// tree, never by reading memory near the object.
///
/// All operations but [`validate`](Self::validate) take time logarithmic in the number of slabs.
///
/// ```
/// use std::alloc::Layout;
/// use std::ptr::NonNull;
///
/// use twinframe::{AllocError, AllocResult, BuddyAllocator};
/// use twinframe::{SlabAllocResult, SlabAllocator, SlabDeallocResult};
///
/// const PAGE_SIZE: usize = 0x1000;
///
/// struct Heap {
///     slabs: SlabAllocator<PAGE_SIZE>,
///     pages: BuddyAllocator<PAGE_SIZE>,
/// }
///
/// impl Heap {
///     fn alloc(&mut self, layout: Layout) -> AllocResult<NonNull<u8>> {
///         // It may ask twice: for a slab, and for memory to describe it with.
///         loop {
///             match self.slabs.alloc(layout)? {
///                 SlabAllocResult::Allocated(object) => return Ok(object),
///                 SlabAllocResult::NeedsSlab { size_class, pages } => {
///                     let base = self.pages.alloc_pages(pages, 0)?;
///                     let bytes = pages * PAGE_SIZE;
///                     // SAFETY: pages that nobody else has, until they come back.
///                     unsafe { self.slabs.add_slab(size_class, base, bytes, 0) }?;
///                 }
///             }
///         }
///     }
///
///     /// # Safety
///     ///
///     /// Nobody uses the object any more.
///     unsafe fn free(&mut self, object: NonNull<u8>, layout: Layout) -> AllocResult {
///         // SAFETY: the caller's duties are the same.
///         let freed = unsafe { self.slabs.dealloc(object, layout) }?;
///         self.take_back(freed)
///     }
///
///     fn take_back(&mut self, freed: SlabDeallocResult) -> AllocResult {
///         match freed {
///             SlabDeallocResult::Done => Ok(()),
///             SlabDeallocResult::FreeSlab { base, pages } => self.pages.dealloc_pages(base, pages),
///         }
///     }
/// }
///
/// # let mut memory = vec![0u8; 1 << 20];
/// let mut heap = Heap { slabs: SlabAllocator::new(), pages: BuddyAllocator::new() };
/// // SAFETY: the memory outlives the heap, and is used through it only.
/// unsafe { heap.pages.init(&mut memory) }?;
///
/// // Eight objects fill the first slab; the ninth is in another one.
/// let layout = Layout::new::<[u8; 2048]>();
/// let mut objects = Vec::new();
/// for _ in 0..9 {
///     objects.push(heap.alloc(layout)?);
/// }
/// for object in &objects {
///     // SAFETY: it is not used any more.
///     unsafe { heap.free(*object, layout) }?;
/// }
/// // The second slab came back with the ninth object, and is not this allocator's any more.
/// // SAFETY: nobody uses the object; that it is free already is for the allocator to see.
/// assert_eq!(unsafe { heap.free(objects[8], layout) }, Err(AllocError::NotFound));
/// // SAFETY: as above. The first slab is kept.
/// assert_eq!(unsafe { heap.free(objects[0], layout) }, Err(AllocError::NotAllocated));
///
/// assert_eq!(heap.pages.allocated_bytes(), 8 * 2048);
/// while let Some(freed) = heap.slabs.reclaim() {
///     heap.take_back(freed)?;
/// }
/// assert_eq!(heap.pages.allocated_bytes(), 0);
/// # Ok::<(), AllocError>(())
/// ```
pub struct SlabAllocator<const PAGE_SIZE: usize = 0x1000> {
    nodes: Nodes,
    heap: SlabHeap,
    tree: AddressTree,
    /// The latest `NeedsSlab` was a request for descriptor memory, of this class.
    wants_chunk: Option<SizeClass>,
    /// A slab was added since the latest allocation: no request for descriptor memory now.
    fresh: bool,
    /// Descriptor memory was asked for while there were free objects, and nothing was added since.
    asked: bool,
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
            asked: false,
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
            // A caller without memory comes back, and has a right to what is free.
            self.nodes.spare() < FEW && !self.fresh && !self.asked
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
        self.asked |= short && has_free;
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

    /// Takes `bytes` bytes at `base` as a slab of `size_class`, or as memory for descriptors if that is
    /// what the latest [`alloc`](Self::alloc) asked for, or none is left to describe a slab with.
    ///
    /// `bytes` may be any whole number of pages; `NeedsSlab` names the best one. A slab has as many
    /// objects as fit into it, 2048 at most: what is behind those is of no use until the slab is handed
    /// back. So one page would do for any class, and of pages larger than 16 KiB slabs of the smallest
    /// classes use a part only.
    ///
    /// `owner_cpu` is a label that [`owner`](Self::owner) answers with, nothing else: any number will do. It is
    /// not kept with memory for descriptors.
    ///
    /// # Errors
    ///
    /// Nothing changes if the memory is refused: `InvalidParam` if `base` is 0 or not page-aligned, if
    /// `bytes` is 0 or no whole number of pages, or if the range reaches or passes the end of the address space; `MemoryOverlap` if it overlaps a slab. (Whether it overlaps memory for
    /// descriptors is not checked.)
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
        self.asked = false;
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
