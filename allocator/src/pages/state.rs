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
    /// A block that waits in a CPU's cache: free for its users, taken for the tree.
    Cached,
    /// A later block of a run.
    RunTail,
    /// An allocated block that is a slab.
    Slab,
    /// A block that holds the allocator's own state.
    Internal,
}

/// The state byte of a page: the kind in the upper three bits, the order in the lower five. All
/// zero is [`Kind::Nothing`], so fresh metadata is cleared memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PageState(u8);

const ORDER_BITS: u32 = 5;
const _: () = assert!(Order::MAX.log2() < 1 << ORDER_BITS);

/// What stands in place of a kind for a [`Kind::Block`] that is called back.
const CALLED_BACK: u8 = 7;
const _: () = assert!((Kind::Internal as u8) < CALLED_BACK);

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
            1 | CALLED_BACK => Kind::Block,
            2 => Kind::Run,
            3 => Kind::Cached,
            4 => Kind::RunTail,
            5 => Kind::Slab,
            6 => Kind::Internal,
            _ => Kind::Nothing,
        }
    }

    /// From a block that is allocated to the same one in a cache.
    const INTO_CACHE: u8 = (Kind::Cached as u8 - Kind::Block as u8) << ORDER_BITS;

    /// A [`Kind::Block`] that goes back to the tree when it is freed, past all caches: they expect the other state of such
    /// a block. See [`call_back`](super::call_back).
    #[inline]
    pub(super) const fn called_back(order: Order) -> Self {
        Self(CALLED_BACK << ORDER_BITS | Self::new(Kind::Nothing, order).0)
    }

    /// What a [`Kind::Cached`] block is outside of the cache: a [`Kind::Block`] of the same order.
    #[inline]
    pub(crate) const fn out_of_cache(self) -> Self {
        Self(self.0.wrapping_sub(Self::INTO_CACHE))
    }

    /// What a [`Kind::Block`] is in a cache; no other state gives the same.
    #[inline]
    pub(crate) const fn into_cache(self) -> Self {
        Self(self.0.wrapping_add(Self::INTO_CACHE))
    }

    /// The order of the block that begins here; meaningless for [`Kind::Nothing`].
    #[inline]
    pub(crate) fn order(self) -> Order {
        Order::new(u32::from(self.0) & ((1 << ORDER_BITS) - 1)).unwrap_or(Order::MAX)
    }
}

#[cfg(all(test, not(loom)))]
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
                if kind == Kind::Cached {
                    assert_eq!(state.out_of_cache(), PageState::new(Kind::Block, order));
                    assert_eq!(state.out_of_cache().into_cache(), state);
                }
            }
        }
        assert_eq!(PageState::from_byte(0).kind(), Kind::Nothing);
    }

    #[test]
    fn a_block_that_is_called_back_is_a_block_that_no_cache_takes() {
        for order in Order::all() {
            let state = PageState::called_back(order);
            assert_eq!((state.kind(), state.order()), (Kind::Block, order));
            assert_ne!(state, PageState::new(Kind::Block, order));
            for cached in Order::all() {
                assert_ne!(state.into_cache(), PageState::new(Kind::Cached, cached));
            }
        }
    }
}
