//! The allocator: a list of chunks.

use core::alloc::Layout;
use core::ptr::NonNull;
use core::sync::atomic::Ordering;

use super::chunk::{Chunk, Origin};
use super::place::Place;
use super::static_chunk::StaticChunk;
use super::validate::Flaw;
use crate::{AllocError, AllocResult};

/// A chunk that left the tree because nothing of it is allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum FreeChunk {
    /// This memory is the caller's again.
    Memory(NonNull<[u8]>),
    /// The static chunk may be added again, to any tree.
    Static,
}

/// A buddy allocator over a list of chunks, for one owner. See the [module](super).
///
/// A layout takes a block of its size or alignment, whichever is more, rounded up to a power of two
/// and to [`SMALLEST_BLOCK`](super::SMALLEST_BLOCK); where the alignment is beyond that of the
/// chunk's first byte (4096 in a [`StaticChunk`]), of their sum. An allocation costs a step for
/// each order in each chunk that has to be looked at; a free the same, and a look at one bit for
/// each 32 bytes freed.
///
/// Every free is checked as well as this structure can. What is refused changes nothing:
///
/// - an address in no chunk ([`NotFound`](AllocError::NotFound)), or where no block for the layout
///   begins ([`InvalidParam`](AllocError::InvalidParam));
/// - a block of which anything is free, or that is part of a larger free one
///   ([`NotAllocated`](AllocError::NotAllocated)): the bits tell, and where a bit leaves open which
///   of two buddies it means, a mark inside the free one.
///
/// How large a block was is not recorded. So these are not seen: a layout with a smaller block than
/// the one of the allocation, or with a larger one all of which is allocated; and a second free of a
/// block after its memory was allocated again.
///
/// # Panics
///
/// Where a free block turns out to have been written to, which breaks the lists.
///
/// ```
/// use core::alloc::Layout;
/// use twinframe::AllocError;
/// use twinframe::bittree::BitTree;
///
/// let mut tree = BitTree::with_default_chunk()?;
/// let layout = Layout::new::<[u8; 100]>();
/// let block = tree.alloc(layout)?;
/// assert_eq!((tree.used_bytes(), tree.total_bytes()), (128, 2 << 20));
/// // SAFETY: allocated above, and not used any more.
/// unsafe { tree.dealloc(block, layout) }?;
/// // SAFETY: the block is free, and refused.
/// assert_eq!(unsafe { tree.dealloc(block, layout) }, Err(AllocError::NotAllocated));
/// # Ok::<(), AllocError>(())
/// ```
pub struct BitTree {
    /// Invariant: every chunk of the list is initialised, and reached through this list only.
    first: Option<NonNull<Chunk>>,
    total: usize,
    used: usize,
}

// SAFETY: the chunks belong to the tree alone.
unsafe impl Send for BitTree {}

impl Default for BitTree {
    fn default() -> Self {
        Self::new()
    }
}

impl BitTree {
    /// A tree without memory.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            first: None,
            total: 0,
            used: 0,
        }
    }

    /// A tree with the crate's own static chunk of 2 MiB, which is in the program only if this is.
    ///
    /// # Errors
    ///
    /// [`MemoryOverlap`](AllocError::MemoryOverlap): another tree has the chunk.
    pub fn with_default_chunk() -> AllocResult<Self> {
        static CHUNK: StaticChunk = StaticChunk::new();
        let mut tree = Self::new();
        tree.add_static(&CHUNK)?;
        Ok(tree)
    }

    /// Adds a static chunk.
    ///
    /// # Errors
    ///
    /// [`MemoryOverlap`](AllocError::MemoryOverlap): it is in a tree already.
    pub fn add_static<const KIB: usize>(
        &mut self,
        chunk: &'static StaticChunk<KIB>,
    ) -> AllocResult {
        let chunk = chunk.claim().ok_or(AllocError::MemoryOverlap)?;
        self.link(chunk);
        Ok(())
    }

    /// Adds memory, as chunks from 2 MiB down to 1 KiB, each with its bits (1/128 of it) and some
    /// 200 bytes. The chunks are searched in the order in which they were added.
    ///
    /// # Errors
    ///
    /// [`InvalidParam`](AllocError::InvalidParam): there is no room for a chunk;
    /// [`MemoryOverlap`](AllocError::MemoryOverlap): a part of it is in the tree.
    ///
    /// # Safety
    ///
    /// The memory is writable, and belongs to the tree as long as the tree exists or until
    /// [`take_free_chunk`](Self::take_free_chunk) gives it back.
    pub unsafe fn add_chunks(&mut self, memory: NonNull<[u8]>) -> AllocResult {
        let base = memory.cast::<u8>();
        let mut start = base.addr().get();
        let end = start
            .checked_add(memory.len())
            .ok_or(AllocError::InvalidParam)?;
        let mut place = Place::find(start, end).ok_or(AllocError::InvalidParam)?;
        if self.chunks().any(|chunk| chunk.overlaps(start, end)) {
            return Err(AllocError::MemoryOverlap);
        }
        let at = |addr: usize| {
            // SAFETY: `place` lies between `start` and `end`.
            unsafe { base.add(addr - base.addr().get()) }
        };
        loop {
            let next = Place::find(place.end, end);
            // What no chunk has room in goes with the last one.
            let whole = next.map_or(end, |_| place.end) - start;
            let origin = Origin::Memory(NonNull::slice_from_raw_parts(at(start), whole));
            let bits = at(place.bits).cast();
            // SAFETY: the place has room for both, and the memory is the tree's.
            let chunk = unsafe { Chunk::new(at(place.memory), bits, place.order, origin) };
            let described = at(place.chunk).cast::<Chunk>();
            // SAFETY: the place has room for it too.
            unsafe { described.write(chunk) };
            self.link(described);
            let Some(next) = next else { return Ok(()) };
            (start, place) = (place.end, next);
        }
    }

    /// Takes a chunk out of the tree of which nothing is allocated; `None` if there is none.
    pub fn take_free_chunk(&mut self) -> Option<FreeChunk> {
        let mut before: Option<NonNull<Chunk>> = None;
        let mut at = self.first;
        while let Some(mut place) = at {
            // SAFETY: by the invariant, initialised and ours.
            let chunk = unsafe { place.as_mut() };
            let next = chunk.next;
            if chunk.is_free() {
                let (bytes, origin) = (chunk.bytes(), chunk.origin);
                match before {
                    // SAFETY: by the invariant; another chunk than the one above.
                    Some(mut before) => unsafe { before.as_mut() }.next = next,
                    None => self.first = next,
                }
                self.total -= bytes;
                return Some(match origin {
                    Origin::Memory(memory) => FreeChunk::Memory(memory),
                    Origin::Static(claimed) => {
                        claimed.store(false, Ordering::Release);
                        FreeChunk::Static
                    }
                });
            }
            before = at;
            at = next;
        }
        None
    }

    /// Allocates memory for `layout`, out of the first chunk that has a block for it.
    ///
    /// # Errors
    ///
    /// [`NoMemory`](AllocError::NoMemory).
    pub fn alloc(&mut self, layout: Layout) -> AllocResult<NonNull<u8>> {
        let found = self.chunks_mut().find_map(|chunk| {
            let before = chunk.used;
            let memory = chunk.alloc(layout)?;
            Some((memory, chunk.used - before))
        });
        let (memory, taken) = found.ok_or(AllocError::NoMemory)?;
        self.used += taken;
        Ok(memory)
    }

    /// Frees what was allocated for `layout`.
    ///
    /// # Errors
    ///
    /// See the [type](Self).
    ///
    /// # Safety
    ///
    /// If `ptr` lies in an allocated block, that block was allocated with this layout, and nobody
    /// uses it any more.
    pub unsafe fn dealloc(&mut self, ptr: NonNull<u8>, layout: Layout) -> AllocResult {
        let chunk = self
            .chunks_mut()
            .find(|chunk| chunk.contains(ptr.addr().get()))
            .ok_or(AllocError::NotFound)?;
        let before = chunk.used;
        // SAFETY: passed on to the caller.
        unsafe { chunk.dealloc(ptr, layout) }?;
        let freed = before - chunk.used;
        self.used -= freed;
        Ok(())
    }

    /// Bytes in all chunks, without their metadata.
    #[must_use]
    pub fn total_bytes(&self) -> usize {
        self.total
    }

    /// Bytes in allocated blocks.
    #[must_use]
    pub fn used_bytes(&self) -> usize {
        self.used
    }

    /// Bytes in free blocks.
    #[must_use]
    pub fn available_bytes(&self) -> usize {
        self.total - self.used
    }

    /// How many chunks there are.
    #[must_use]
    pub fn chunk_count(&self) -> usize {
        self.chunks().count()
    }

    /// The first address and the length of every chunk's blocks, in the order in which the chunks are
    /// searched.
    pub fn layout_of_chunks(&self) -> impl Iterator<Item = (usize, usize)> {
        self.chunks()
            .map(|chunk| (chunk.arena.start.addr().get(), chunk.bytes()))
    }

    /// Walks everything and checks every invariant. Costs time in proportion to the memory.
    ///
    /// # Errors
    ///
    /// What is wrong first.
    pub fn validate(&mut self) -> Result<(), Flaw> {
        let (mut total, mut used) = (0, 0);
        for chunk in self.chunks_mut() {
            chunk.validate()?;
            total += chunk.bytes();
            used += chunk.used;
        }
        if (total, used) == (self.total, self.used) {
            Ok(())
        } else {
            Err(Flaw::Sum)
        }
    }

    /// Puts a chunk behind the others.
    fn link(&mut self, mut added: NonNull<Chunk>) {
        // SAFETY: initialised by the caller, and on no list.
        self.total += unsafe { added.as_mut() }.bytes();
        let last = self.chunks_mut().last();
        match last {
            Some(last) => last.next = Some(added),
            None => self.first = Some(added),
        }
    }

    fn chunks(&self) -> impl Iterator<Item = &Chunk> {
        // SAFETY: by the invariant, initialised and reached through this borrow only.
        let chunk = |place: NonNull<Chunk>| unsafe { place.as_ref() };
        core::iter::successors(self.first.map(chunk), move |last| last.next.map(chunk))
    }

    fn chunks_mut(&mut self) -> impl Iterator<Item = &mut Chunk> {
        let mut next = self.first;
        core::iter::from_fn(move || {
            let mut place = next?;
            // SAFETY: by the invariant, and each chunk is visited once in this borrow.
            let chunk = unsafe { place.as_mut() };
            next = chunk.next;
            Some(chunk)
        })
    }
}
