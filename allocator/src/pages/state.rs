//! One byte per page: what stands between an allocation and a wrong free.

use super::frame::Order;

/// What a page is used for, as [`page_flags`](super::BuddyAllocator::page_flags) reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PageFlags {
    /// In no allocated block; free, that is, if only in a CPU's cache.
    Free,
    /// In an allocated block.
    Allocated,
    /// In a block that the object allocator cuts into objects.
    Slab,
}

/// What begins at a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing: the page is free, or lies inside a block.
    Nothing,
    /// An allocated block.
    Block,
    /// The first block of an allocated run: several blocks that were allocated as one exact count.
    Run,
    /// A later block of a run.
    RunTail,
    /// An allocated block that is a slab.
    Slab,
    /// A block that waits in a CPU's cache: free for its users, taken for the tree.
    Cached,
    /// A block that holds the allocator's own state.
    Internal,
}

/// The state byte of a page: the kind in the upper three bits, the order in the lower five. All
/// zero is [`Kind::Nothing`], so fresh metadata is cleared memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PageState(u8);

const ORDER_BITS: u32 = 5;
const _: () = assert!(Order::MAX.log2() < 1 << ORDER_BITS);

impl PageState {
    pub(crate) const NOTHING: Self = Self(0);

    #[inline]
    pub(crate) const fn new(kind: Kind, order: Order) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "an order has five bits")]
        let order = order.log2() as u8;
        Self((kind as u8) << ORDER_BITS | order)
    }

    #[inline]
    pub(crate) const fn from_byte(byte: u8) -> Self {
        Self(byte)
    }

    #[inline]
    pub(crate) const fn to_byte(self) -> u8 {
        self.0
    }

    #[inline]
    pub(crate) const fn kind(self) -> Kind {
        match self.0 >> ORDER_BITS {
            1 => Kind::Block,
            2 => Kind::Run,
            3 => Kind::RunTail,
            4 => Kind::Slab,
            5 => Kind::Cached,
            6 => Kind::Internal,
            _ => Kind::Nothing,
        }
    }

    /// Is it this one? To take the kind off and compare the order is one instruction less than to compare with the
    /// whole.
    #[inline]
    pub(crate) const fn is(self, kind: Kind, order: Order) -> bool {
        #[expect(clippy::cast_possible_truncation, reason = "an order has five bits")]
        let order = order.log2() as u8;
        self.0 ^ (kind as u8) << ORDER_BITS == order
    }

    /// The order of the block that begins here; meaningless for [`Kind::Nothing`].
    #[inline]
    pub(crate) fn order(self) -> Order {
        Order::new(u32::from(self.0) & ((1 << ORDER_BITS) - 1)).unwrap_or(Order::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_comes_back_from_its_byte() {
        let kinds = [
            Kind::Block,
            Kind::Run,
            Kind::RunTail,
            Kind::Slab,
            Kind::Cached,
            Kind::Internal,
        ];
        for kind in kinds {
            for order in Order::all() {
                let state = PageState::from_byte(PageState::new(kind, order).to_byte());
                assert_eq!((state.kind(), state.order()), (kind, order));
                assert!(state.is(kind, order) && !state.is(Kind::Nothing, order));
            }
        }
        assert_eq!(PageState::from_byte(0).kind(), Kind::Nothing);
    }
}
