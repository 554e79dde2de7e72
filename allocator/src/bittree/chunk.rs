//! One chunk: splitting, and merging.

use core::alloc::Layout;
use core::ptr::NonNull;
use core::sync::atomic::AtomicBool;

use super::bits::{Bits, words};
use super::block::{Block, ORDERS, SMALLEST_BLOCK, alignment, order_for};
use super::free_list::{Arena, FreeList};
use crate::{AllocError, AllocResult};

/// What is known about a chunk beside its memory and its bits.
///
/// Invariant: `arena` has `1 << top` units, and `bits` leads to their [`words`]; both belong to the
/// chunk, are apart from it, and stay as long as it is in a tree. A block is on the list of its order
/// exactly if it is free and its buddy is not; each bit of a pair says whether one of the two is on
/// the list.
pub(super) struct Chunk {
    pub(super) next: Option<NonNull<Chunk>>,
    pub(super) arena: Arena,
    bits: NonNull<u64>,
    pub(super) top: u32,
    pub(super) lists: [FreeList; ORDERS],
    /// Bytes in allocated blocks.
    pub(super) used: usize,
    /// Where it came from.
    pub(super) origin: Origin,
}

/// To whom a chunk goes back.
#[derive(Debug, Clone, Copy)]
pub(super) enum Origin {
    /// All the memory that was handed over, metadata included.
    Memory(NonNull<[u8]>),
    /// The flag of a static chunk that is in use.
    Static(&'static AtomicBool),
}

impl Chunk {
    /// A chunk with all its memory free.
    ///
    /// # Safety
    ///
    /// `SMALLEST_BLOCK << top` bytes at `memory` and `words` of that many at `bits` are aligned to
    /// their elements, writable, and belong to the chunk from now on.
    pub(super) unsafe fn new(
        memory: NonNull<u8>,
        bits: NonNull<u64>,
        top: u32,
        origin: Origin,
    ) -> Self {
        let arena = Arena {
            start: memory,
            units: 1 << top,
        };
        // SAFETY: by the caller, as many words are there. Nothing is free beside something that is
        // not, so they are all zero.
        unsafe { bits.write_bytes(0, words(SMALLEST_BLOCK << top)) };
        let mut chunk = Self {
            next: None,
            arena,
            bits,
            top,
            lists: [FreeList::EMPTY; ORDERS],
            used: 0,
            origin,
        };
        chunk.list(top).push(arena, Block::whole(top));
        chunk
    }

    pub(super) const fn bytes(&self) -> usize {
        SMALLEST_BLOCK << self.top
    }

    pub(super) fn bits(&mut self) -> Bits<'_> {
        let words = words(self.bytes());
        // SAFETY: by the invariant, the words are there and belong to the chunk, which is borrowed.
        let words = unsafe { core::slice::from_raw_parts_mut(self.bits.as_ptr(), words) };
        Bits {
            words,
            top: self.top,
        }
    }

    pub(super) fn list(&mut self, order: u32) -> &mut FreeList {
        &mut self.lists[order as usize]
    }

    /// Whether an address lies in one of the blocks.
    pub(super) fn contains(&self, addr: usize) -> bool {
        addr.wrapping_sub(self.arena.start.addr().get()) < self.bytes()
    }

    /// Whether a range of addresses has something in common with it.
    pub(super) fn overlaps(&self, start: usize, end: usize) -> bool {
        let (first, bytes) = match self.origin {
            Origin::Memory(memory) => (memory.cast::<u8>(), memory.len()),
            Origin::Static(_) => (self.arena.start, self.bytes()),
        };
        let first = first.addr().get();
        start < first + bytes && first < end
    }

    /// Whether nothing of it is allocated.
    pub(super) const fn is_free(&self) -> bool {
        self.used == 0
    }

    fn order_for(&self, layout: Layout) -> Option<u32> {
        order_for(layout, alignment(self.arena.start.addr().get()))
            .filter(|order| *order <= self.top)
    }

    /// The address inside a block that is handed out for an alignment.
    fn place(&self, block: Block, align: usize) -> NonNull<u8> {
        // SAFETY: blocks lie inside the arena.
        let start = unsafe { self.arena.start.add(block.offset()) };
        let padding = start.addr().get().next_multiple_of(align) - start.addr().get();
        // SAFETY: a block is larger than the padding before an aligned address in it.
        unsafe { start.add(padding) }
    }

    /// Takes a block for `layout`. Costs a split for each order between the block found and the one
    /// needed.
    pub(super) fn alloc(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        let wanted = self.order_for(layout)?;
        let arena = self.arena;
        let (order, unit) = (wanted..=self.top)
            .find_map(|order| Some((order, self.lists[order as usize].first()?)))?;
        let mut block = Block { order, unit };
        self.list(order).remove(arena, block);
        self.bits().flip(block);
        while block.order > wanted {
            block = block.first_half();
            self.list(block.order).push(arena, block.buddy());
            self.bits().flip(block);
        }
        arena.clear_mark(block.unit);
        self.used += block.bytes();
        Some(self.place(block, layout.align()))
    }

    /// Whether a block is free, or part of one that is.
    ///
    /// A set bit on the way up says that either the block around or its buddy is free. If it is the
    /// buddy, as it should, then that has a mark; so nothing is read that anybody uses.
    fn lies_free(&mut self, block: Block) -> bool {
        let (arena, top) = (self.arena, self.top);
        let mut around = block;
        while around.order < top {
            let is_one_free = self.bits().get(around);
            if is_one_free && arena.marked_order(around.buddy().unit) != Some(around.order) {
                return true;
            }
            around = around.parent();
        }
        self.list(top).first().is_some()
    }

    /// Frees the block at `ptr`, which lies in this chunk. Costs a bit for each smallest block in it,
    /// to see that none of them is free, and a look at each order above, to see that it is not free
    /// itself.
    ///
    /// # Errors
    ///
    /// `InvalidParam`: no block for `layout` begins there; `NotAllocated`: the block, or a part of
    /// it, is free.
    ///
    /// # Safety
    ///
    /// If the block is allocated, nobody uses it any more.
    pub(super) unsafe fn dealloc(&mut self, ptr: NonNull<u8>, layout: Layout) -> AllocResult {
        let order = self.order_for(layout).ok_or(AllocError::InvalidParam)?;
        let offset = ptr.addr().get() - self.arena.start.addr().get();
        let unit = u32::try_from(offset / SMALLEST_BLOCK).map_err(|_| AllocError::InvalidParam)?;
        let mut block = Block::around(order, unit);
        if self.place(block, layout.align()) != ptr {
            return Err(AllocError::InvalidParam);
        }
        let arena = self.arena;
        if self.lies_free(block) || !self.bits().is_plain(block) {
            return Err(AllocError::NotAllocated);
        }
        self.used -= block.bytes();
        while self.bits().flip(block) == Some(true) {
            self.list(block.order).remove(arena, block.buddy());
            block = block.parent();
        }
        self.list(block.order).push(arena, block);
        Ok(())
    }
}
