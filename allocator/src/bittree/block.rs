//! Blocks of a chunk, as numbers.

use core::alloc::Layout;

/// The smallest block, in bytes: room for the links of a free one.
pub const SMALLEST_BLOCK: usize = 16;

/// The largest chunk, in bytes.
pub const LARGEST_CHUNK: usize = SMALLEST_BLOCK << LARGEST_ORDER;

pub(super) const LARGEST_ORDER: u32 = 17;

/// How many orders there are.
pub(super) const ORDERS: usize = LARGEST_ORDER as usize + 1;

const _: () = assert!(LARGEST_CHUNK == 2 << 20);

/// A block: `SMALLEST_BLOCK << order` bytes, from the smallest block number `unit` of its chunk on.
///
/// Invariant: `unit` is a multiple of `1 << order`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) order: u32,
    pub(super) unit: u32,
}

impl Block {
    /// All of a chunk.
    pub(super) const fn whole(order: u32) -> Self {
        Self { order, unit: 0 }
    }

    /// The block of this order with that unit in it.
    pub(super) const fn around(order: u32, unit: u32) -> Self {
        Self {
            order,
            unit: unit >> order << order,
        }
    }

    pub(super) const fn bytes(self) -> usize {
        SMALLEST_BLOCK << self.order
    }

    /// Where it begins in the chunk, in bytes.
    pub(super) const fn offset(self) -> usize {
        self.unit as usize * SMALLEST_BLOCK
    }

    /// The other half of the block above.
    pub(super) const fn buddy(self) -> Self {
        Self {
            unit: self.unit ^ 1 << self.order,
            ..self
        }
    }

    /// The block above: this and its buddy.
    pub(super) const fn parent(self) -> Self {
        Self::around(self.order + 1, self.unit)
    }

    /// The first half. The second is its buddy.
    pub(super) const fn first_half(self) -> Self {
        Self {
            order: self.order - 1,
            ..self
        }
    }

    /// The bit of the pair that are the halves of this block, in a chunk of order `top`.
    pub(super) const fn pair_below(self, top: u32) -> usize {
        (1 << (top - self.order)) + (self.unit >> self.order) as usize
    }

    /// The bit of the pair that this block and its buddy are; `None` for a whole chunk.
    pub(super) fn pair(self, top: u32) -> Option<usize> {
        (self.order < top).then(|| self.parent().pair_below(top))
    }
}

/// The order of the block for `layout` in a chunk whose first byte is aligned to `base_align`, if
/// there is one.
///
/// Blocks are aligned to their size or to the chunk, whichever is less. Where a layout wants
/// more, its block is so large that an aligned address with enough space behind it lies inside.
pub(super) fn order_for(layout: Layout, base_align: usize) -> Option<u32> {
    let bytes = if layout.align() <= base_align {
        layout.size().max(layout.align()).max(SMALLEST_BLOCK)
    } else {
        layout
            .size()
            .max(SMALLEST_BLOCK)
            .checked_add(layout.align())?
    };
    let order = bytes.checked_next_power_of_two()?.ilog2() - SMALLEST_BLOCK.ilog2();
    (order <= LARGEST_ORDER).then_some(order)
}

/// The largest power of two that divides an address.
pub(super) const fn alignment(addr: usize) -> usize {
    if addr == 0 {
        return 1 << (usize::BITS - 1);
    }
    1 << addr.trailing_zeros()
}
