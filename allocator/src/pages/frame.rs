//! Page frame numbers, orders, and the blocks they name.

use core::iter::FusedIterator;

/// The largest order: a block has at most `1 << MAX_ORDER` pages, 4 GiB with 4 KiB pages.
pub const MAX_ORDER: usize = 20;

/// How many orders there are.
pub(crate) const ORDERS: usize = MAX_ORDER + 1;

/// The binary logarithm of a block's page count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Order(u32);

impl Order {
    pub(crate) const ZERO: Self = Self(0);
    pub(crate) const MAX: Self = Self(20);

    /// The order `log2`, or `None` beyond [`MAX_ORDER`].
    #[inline]
    pub(crate) const fn new(log2: u32) -> Option<Self> {
        if log2 <= Self::MAX.0 {
            Some(Self(log2))
        } else {
            None
        }
    }

    /// The smallest order with at least `count` pages; `None` for 0 and for more than the largest
    /// block has.
    #[inline]
    pub(crate) const fn covering(count: usize) -> Option<Self> {
        if count == 0 || count > Self::MAX.pages() {
            return None;
        }
        // The logarithm of twice the count minus one, rounded down: no branch on the size.
        Some(Self((2 * count - 1).ilog2()))
    }

    /// The largest order with at most `count` pages, capped at [`MAX_ORDER`].
    #[inline]
    pub(crate) const fn within(count: usize) -> Option<Self> {
        match count.checked_ilog2() {
            Some(log2) if log2 < Self::MAX.0 => Some(Self(log2)),
            Some(_) => Some(Self::MAX),
            None => None,
        }
    }

    #[inline]
    pub(crate) const fn pages(self) -> usize {
        1 << self.0
    }

    #[inline]
    pub(crate) const fn log2(self) -> u32 {
        self.0
    }

    #[inline]
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }

    /// The order of two buddies joined. Not meant for [`Self::MAX`].
    #[inline]
    pub(crate) const fn joined(self) -> Self {
        Self(self.0 + 1)
    }

    /// The orders in `self..above`, largest first: the halves left over when a block of order
    /// `above` is split down to `self`.
    #[inline]
    pub(crate) fn halves_below(self, above: Self) -> impl Iterator<Item = Self> {
        (self.0..above.0).rev().map(Self)
    }

    /// All orders, smallest first.
    #[inline]
    pub(crate) fn all() -> impl DoubleEndedIterator<Item = Self> {
        (0..=Self::MAX.0).map(Self)
    }
}

const _: () = assert!(Order::MAX.index() == MAX_ORDER);

/// An absolute physical page frame number: physical address divided by the page size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pfn(usize);

impl Pfn {
    /// Above every frame there is.
    pub(crate) const LAST: Self = Self(usize::MAX);

    #[inline]
    pub(crate) const fn new(number: usize) -> Self {
        Self(number)
    }

    #[inline]
    pub(crate) const fn number(self) -> usize {
        self.0
    }

    #[inline]
    pub(crate) const fn add(self, pages: usize) -> Self {
        Self(self.0 + pages)
    }

    /// How many pages `self` lies above `lower`.
    #[inline]
    pub(crate) const fn since(self, lower: Self) -> usize {
        self.0 - lower.0
    }

    /// The block that joins with the block of `order` at `self`.
    #[inline]
    pub(crate) const fn buddy(self, order: Order) -> Self {
        Self(self.0 ^ order.pages())
    }

    /// The start of the block of `order` that contains `self`.
    #[inline]
    pub(crate) const fn block(self, order: Order) -> Self {
        Self(self.0 & !(order.pages() - 1))
    }

    #[inline]
    pub(crate) const fn is_aligned(self, order: Order) -> bool {
        self.0 & (order.pages() - 1) == 0
    }

    /// The first block start of `order` at or above `self`; `None` beyond the last frame number.
    #[inline]
    pub(crate) const fn next_block(self, order: Order) -> Option<Self> {
        match self.0.checked_next_multiple_of(order.pages()) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }
}

/// The fewest naturally aligned blocks of at most `cap` that cover `first..limit` exactly, in
/// address order.
#[derive(Debug, Clone)]
pub(crate) struct Blocks {
    next: Pfn,
    limit: Pfn,
    cap: Order,
}

impl Blocks {
    #[inline]
    pub(crate) const fn new(first: Pfn, limit: Pfn, cap: Order) -> Self {
        Self {
            next: first,
            limit,
            cap,
        }
    }
}

impl Iterator for Blocks {
    type Item = (Pfn, Order);

    fn next(&mut self) -> Option<(Pfn, Order)> {
        if self.next >= self.limit {
            return None;
        }
        let fits = Order::within(self.limit.since(self.next))?;
        let aligned = Order(self.next.0.trailing_zeros().min(Order::MAX.0));
        let order = fits.min(aligned).min(self.cap);
        let block = (self.next, order);
        self.next = self.next.add(order.pages());
        Some(block)
    }
}

impl FusedIterator for Blocks {}

/// The largest block that lies in `first..limit`, no larger than `cap`.
pub(crate) fn largest_block(first: Pfn, limit: Pfn, cap: Order) -> Option<Order> {
    Order::all()
        .rev()
        .filter(|order| *order <= cap)
        .find(|order| {
            first
                .next_block(*order)
                .is_some_and(|start| start < limit && limit.since(start) >= order.pages())
        })
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn covering_rounds_up_and_within_rounds_down() {
        assert_eq!(Order::covering(0), None);
        assert_eq!(Order::covering(1), Some(Order(0)));
        assert_eq!(Order::covering(5), Some(Order(3)));
        assert_eq!(Order::covering(1 << 20), Some(Order(20)));
        assert_eq!(Order::covering((1 << 20) + 1), None);
        assert_eq!(Order::within(0), None);
        assert_eq!(Order::within(7), Some(Order(2)));
        assert_eq!(Order::within(1 << 21), Some(Order(20)));
    }

    #[test]
    fn blocks_cover_a_range_exactly_with_aligned_blocks() {
        for first in 0..40 {
            for limit in first..80 {
                let mut at = Pfn(first);
                for (start, order) in Blocks::new(Pfn(first), Pfn(limit), Order(4)) {
                    assert_eq!(start, at);
                    assert!(start.is_aligned(order) && order <= Order(4));
                    at = at.add(order.pages());
                }
                assert_eq!(at, Pfn(limit));
            }
        }
    }

    #[test]
    fn the_largest_block_is_found_behind_an_odd_start() {
        assert_eq!(largest_block(Pfn(1), Pfn(17), Order::MAX), Some(Order(3)));
        assert_eq!(largest_block(Pfn(1), Pfn(2), Order::MAX), Some(Order(0)));
        assert_eq!(largest_block(Pfn(0), Pfn(64), Order(5)), Some(Order(5)));
        assert_eq!(largest_block(Pfn(3), Pfn(3), Order::MAX), None);
    }
}
