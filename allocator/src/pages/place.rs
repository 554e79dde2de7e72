//! Where a block is in the tree, as arithmetic: see [`tree`](super::tree).

use super::frame::{Order, Pfn};

/// Children of a node.
pub(super) const FANOUT: usize = 64;
pub(super) const FANOUT_LOG2: u32 = FANOUT.trailing_zeros();

/// Bits of a node's heap.
const BITS: usize = 2 * FANOUT;

/// Orders index arrays of this length: then the compiler sees that they fit.
pub(super) const SLOTS: usize = 32;
const _: () = assert!(Order::MAX.index() < SLOTS);

/// Where the blocks of an order are in the tree.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    /// In nodes of this level.
    pub(super) level: usize,
    /// The binary logarithm of the pages of the node's smallest blocks.
    pub(super) unit_log2: u32,
    /// The order within the node's heap.
    pub(super) heap_order: u32,
    /// The word of the heap.
    pub(super) word: usize,
    /// The order's bits in that word.
    pub(super) field: u64,
}

const SHAPES: [Shape; SLOTS] = {
    let mut shapes = [Shape {
        level: 0,
        unit_log2: 0,
        heap_order: 0,
        word: 0,
        field: 0,
    }; SLOTS];
    let mut order = 0;
    while order <= Order::MAX.log2() {
        let heap_order = order % FANOUT_LOG2;
        let blocks = 64 >> heap_order;
        shapes[order as usize] = Shape {
            level: (order / FANOUT_LOG2) as usize,
            unit_log2: order - heap_order,
            heap_order,
            word: (heap_order == 0) as usize,
            field: (u64::MAX >> (64 - blocks)) << (blocks % 64),
        };
        order += 1;
    }
    shapes
};

impl Shape {
    #[inline]
    pub(super) const fn of(order: Order) -> &'static Self {
        &SHAPES[order.index() % SLOTS]
    }
}

/// A bit of a node's heap: a block.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) level: usize,
    pub(super) node: usize,
    pub(super) bit: usize,
}

impl Place {
    /// The place of the block of `order` at `pfn`.
    #[inline]
    pub(super) const fn of(pfn: Pfn, order: Order) -> Self {
        let shape = Shape::of(order);
        let unit = pfn.number() >> shape.unit_log2;
        Self {
            level: shape.level,
            node: unit / FANOUT,
            bit: (FANOUT + unit % FANOUT) >> shape.heap_order,
        }
    }

    /// The place of the block that this one and its buddy make.
    #[inline]
    pub(super) const fn joined(self) -> Self {
        if self.bit > 3 {
            Self {
                bit: self.bit / 2,
                ..self
            }
        } else {
            Self {
                level: self.level + 1,
                node: self.node / FANOUT,
                bit: FANOUT + self.node % FANOUT,
            }
        }
    }

    /// The place of this block's lower half.
    #[inline]
    pub(super) const fn lower_half(self) -> Self {
        if self.bit < FANOUT {
            Self {
                bit: self.bit * 2,
                ..self
            }
        } else {
            Self {
                level: self.level - 1,
                node: self.node * FANOUT + self.bit % FANOUT,
                bit: 2,
            }
        }
    }

    #[inline]
    pub(super) const fn buddy(self) -> Self {
        Self {
            bit: self.bit ^ 1,
            ..self
        }
    }

    /// The first frame of this block, whose order is given.
    #[inline]
    pub(super) const fn pfn(self, order: Order) -> Pfn {
        let shape = Shape::of(order);
        let slot = (self.bit << shape.heap_order) % FANOUT;
        Pfn::new((self.node * FANOUT + slot) << shape.unit_log2)
    }

    /// A number for this place among those of the same order.
    #[inline]
    pub(super) const fn number(self) -> usize {
        self.node * BITS + self.bit
    }

    /// The place that has this number among those of `order`.
    #[inline]
    pub(super) const fn from_number(order: Order, number: usize) -> Self {
        Self {
            level: Shape::of(order).level,
            node: number / BITS,
            bit: number % BITS,
        }
    }

    /// The word of the node's heap that has the bit.
    #[inline]
    pub(super) const fn word(self) -> usize {
        self.bit / 64
    }

    /// The bit in that word.
    #[inline]
    pub(super) const fn mask(self) -> u64 {
        1 << (self.bit % 64)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn places_join_and_split_as_blocks_do() {
        for order in Order::all() {
            for block in [0, 1, 2, 63, 64, 65, 4095, 4096] {
                let pfn = Pfn::new(block << order.log2());
                let place = Place::of(pfn, order);
                assert_eq!(place.pfn(order), pfn);
                assert_eq!(Place::from_number(order, place.number()).pfn(order), pfn);
                assert_eq!(place.buddy().pfn(order), pfn.buddy(order));
                assert_ne!(Shape::of(order).field & place.mask(), 0);
                if order < Order::MAX {
                    let joined = order.joined();
                    assert_eq!(place.joined().pfn(joined), pfn.block(joined));
                    assert_eq!(place.joined().lower_half().pfn(order), pfn.block(joined));
                }
            }
        }
    }
}
