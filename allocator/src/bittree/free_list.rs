//! Links between free blocks, inside of them.

use core::ptr::NonNull;

use super::block::{Block, LARGEST_ORDER, SMALLEST_BLOCK};

/// What a free block begins with.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Node {
    /// The unit of the block before, in the circle.
    before: u32,
    /// The unit of the block behind.
    behind: u32,
    /// Says that a free block of some order begins here.
    mark: u64,
}

const _: () = assert!(size_of::<Node>() <= SMALLEST_BLOCK);

/// The bits of a mark that tell the order.
const ORDER: u64 = 0x1f;

const _: () = assert!(LARGEST_ORDER as u64 <= ORDER);

/// The memory of a chunk, as free blocks use it.
///
/// Invariant: `units` smallest blocks from `start` on belong to the chunk; those that are allocated
/// are not touched but by the call that frees them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arena {
    pub(super) start: NonNull<u8>,
    pub(super) units: u32,
}

impl Arena {
    /// The order of the free block that begins with this unit, if one does. A block that has merged
    /// with the one before it keeps its mark until it is allocated.
    pub(super) fn marked_order(self, unit: u32) -> Option<u32> {
        let node = self.node(unit).as_ptr();
        // SAFETY: in bounds.
        let mark = unsafe { &raw const (*node).mark };
        // SAFETY: a unit of the chunk. After a mistake of the caller it may belong to somebody who
        // writes to it; whatever is read then is only compared.
        let mark = unsafe { mark.read_volatile() };
        let order = (mark & ORDER) as u32;
        (mark == self.mark(unit, order)).then_some(order)
    }

    /// Takes the mark off a block that is about to be allocated.
    pub(super) fn clear_mark(self, unit: u32) {
        self.edit(unit, |node| node.mark = 0);
    }

    /// Differs from block to block, and is nothing that users write often. (Fibonacci hashing; Knuth,
    /// volume 3, section 6.4.)
    fn mark(self, unit: u32, order: u32) -> u64 {
        let addr = self.start.addr().get() as u64 + u64::from(unit);
        !addr.wrapping_mul(0x9e37_79b9_7f4a_7c15) & !ORDER | u64::from(order)
    }

    fn edit(self, unit: u32, edit: impl FnOnce(&mut Node)) {
        let at = self.node(unit);
        // SAFETY: a unit of the chunk that is free or changes hands; aligned to 16 bytes.
        let mut node = unsafe { at.read() };
        edit(&mut node);
        // SAFETY: as above.
        unsafe { at.write(node) };
    }

    /// # Panics
    ///
    /// There is no such unit, because a free block was written to.
    fn node(self, unit: u32) -> NonNull<Node> {
        assert!(unit < self.units, "a free block was written to");
        // SAFETY: inside the chunk, by the check.
        unsafe { self.start.add(unit as usize * SMALLEST_BLOCK) }.cast()
    }

    fn links(self, unit: u32) -> (u32, u32) {
        let node = self.node(unit);
        // SAFETY: a unit of the chunk that is on a list.
        let node = unsafe { node.read() };
        (node.before, node.behind)
    }
}

/// The free blocks of one order: a circle, entered at the block that was freed last.
#[derive(Debug, Clone, Copy)]
pub(super) struct FreeList {
    first: Option<u32>,
}

impl FreeList {
    pub(super) const EMPTY: Self = Self { first: None };

    pub(super) fn first(self) -> Option<u32> {
        self.first
    }

    /// Puts a free block in front, and marks it.
    pub(super) fn push(&mut self, arena: Arena, block: Block) {
        let unit = block.unit;
        let (before, behind) = match self.first {
            Some(first) => (arena.links(first).0, first),
            None => (unit, unit),
        };
        arena.edit(unit, |node| (node.before, node.behind) = (before, behind));
        arena.edit(before, |node| node.behind = unit);
        arena.edit(behind, |node| node.before = unit);
        let mark = arena.mark(unit, block.order);
        arena.edit(unit, |node| node.mark = mark);
        self.first = Some(unit);
    }

    /// Takes a block out of the circle, wherever it is.
    ///
    /// # Panics
    ///
    /// A free block was written to, so that the circle is broken.
    pub(super) fn remove(&mut self, arena: Arena, block: Block) {
        let unit = block.unit;
        let (before, behind) = arena.links(unit);
        let is_whole = arena.links(before).1 == unit && arena.links(behind).0 == unit;
        assert!(is_whole, "a free block was written to");
        arena.edit(before, |node| node.behind = behind);
        arena.edit(behind, |node| node.before = before);
        if self.first == Some(unit) {
            self.first = (behind != unit).then_some(behind);
        }
    }

    /// The units of the blocks, once around, as long as the links lead on; at most `limit`.
    pub(super) fn walk(self, arena: Arena, limit: usize) -> impl Iterator<Item = u32> {
        let mut next = self.first;
        let first = self.first;
        core::iter::from_fn(move || {
            let unit = next?;
            let (_, behind) = arena.links(unit);
            next = (Some(behind) != first && behind < arena.units).then_some(behind);
            Some(unit)
        })
        .take(limit)
    }

    /// Whether the links of a block of the circle agree with its neighbours'.
    pub(super) fn is_linked(arena: Arena, unit: u32) -> bool {
        let (before, behind) = arena.links(unit);
        before < arena.units
            && behind < arena.units
            && arena.links(before).1 == unit
            && arena.links(behind).0 == unit
    }
}
