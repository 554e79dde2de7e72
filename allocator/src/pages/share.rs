//! How much of the memory a CPU may have in its stacks.

use super::frame::Order;
use super::stack::Stack;

/// In parts of this size is said how much of the free memory all CPUs may have in their stacks of an order.
const PARTS: u64 = 64;

/// From so many parts on, much is free: somewhat less than a quarter, so that it is much where three quarters are in use and what
/// the allocator needs for itself is missing from the last.
const MUCH: u64 = 14;

/// What may be fetched where little is free, and what may be kept of what comes back: what is in caches does not merge. Of single
/// pages, which are wanted most and make the least difference to what merges, both may be more.
const FEW: u64 = 1;
const SOME: u64 = 3;
const SINGLE: u64 = 4;

/// What may be fetched where much is free.
const MANY: u64 = 32;

/// What may be kept of what comes back where much is free. Not fetched: a block that nobody wants would keep others
/// from being merged. More than half, so that a CPU may free and take half of what is free by turns.
const MOST: u64 = 40;

/// Parts that are more than any CPU keeps.
const UNBOUNDED: u64 = 1 << 37;

/// A CPU that is the only one has one block of at most this share of all memory, and at most so many pages, even where
/// nothing is free: to have it given back takes no barrier.
const LEAST: u64 = 16;
const MOST_AT_LEAST: u64 = 64;

/// What a CPU may have in its stacks, as much as is free now.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    /// Pages that are free, and in no cache.
    free: u64,
    managed: u64,
    /// The zones' `high` watermarks together.
    high: u64,
    sharers: Sharers,
}

impl Share {
    /// How many blocks a CPU may keep in a stack that has `count`.
    #[inline]
    pub(super) fn kept(self, stack: Stack, count: usize) -> u32 {
        // What is in the stack is free, too: else what is kept would make for less to keep.
        let free = self.free + ((count as u64) << stack.order().log2());
        let parts = if self.is_much(free) {
            MOST
        } else {
            or_single(stack, SOME)
        };
        self.blocks(stack, free * parts)
    }

    /// Is much free, apart from what is in caches?
    #[inline]
    pub(super) fn is_plenty(self) -> bool {
        self.is_much(self.free)
    }

    #[inline]
    fn is_much(self, free: u64) -> bool {
        free >= self.managed * MUCH / PARTS && free >= self.high
    }

    /// How many blocks a CPU may have in a stack of which it has fetched them.
    #[inline]
    pub(super) fn fetched(self, stack: Stack) -> u32 {
        let parts = if self.is_plenty() {
            MANY
        } else {
            or_single(stack, FEW)
        };
        self.blocks(stack, self.free * parts)
    }

    /// How many blocks of a stack's order one CPU has of so many parts of a page.
    #[inline]
    fn blocks(self, stack: Stack, parts: u64) -> u32 {
        let log2 = stack.order().log2();
        let blocks = u32::try_from(self.sharers.divide(parts) >> log2).unwrap_or(u32::MAX);
        let least = (self.managed / LEAST).min(MOST_AT_LEAST);
        let has_one = self.sharers.cpus == 1 && 1 << log2 <= least;
        blocks.max(has_one.into()).min(stack.capacity())
    }
}

/// So many parts, or those for single pages.
#[inline]
fn or_single(stack: Stack, parts: u64) -> u64 {
    if stack.order() == Order::ZERO {
        SINGLE
    } else {
        parts
    }
}

/// The CPUs that share what is free.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sharers {
    cpus: u32,
    /// What to multiply a number of parts with, in units of `1 / (1 << 32)`: no division each time.
    factor: u64,
}

impl Sharers {
    pub(super) const fn new(cpus: u32) -> Self {
        let sharers = if cpus == 0 { 1 } else { cpus as u64 };
        Self {
            cpus,
            factor: (1 << u32::BITS) / (PARTS * sharers),
        }
    }

    pub(super) const fn cpus(self) -> u32 {
        self.cpus
    }

    /// How many pages are one CPU's of so many parts of a page.
    #[inline]
    const fn divide(self, parts: u64) -> u64 {
        // As much as no stack holds, so that the product has no more than 64 bits.
        let parts = if parts < UNBOUNDED { parts } else { UNBOUNDED };
        (parts * self.factor) >> u32::BITS
    }

    /// The share of each when so many pages are free of so many, where `high` are to be.
    #[inline]
    pub(super) const fn share(self, free: usize, managed: usize, high: usize) -> Share {
        Share {
            free: free as u64,
            managed: managed as u64,
            high: high as u64,
            sharers: self,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn stack(order: u32) -> Stack {
        Stack::of(Order::new(order).unwrap(), false).unwrap()
    }

    /// The share of one of so many CPUs when so many of 16 MiB are free, 256 pages each.
    fn of_16_mib(sixteenths: usize, cpus: u32) -> Share {
        Sharers::new(cpus).share(sixteenths << 8, 1 << 12, 0)
    }

    #[test]
    fn a_cpu_keeps_most_of_what_is_free_where_that_is_much() {
        // Of 16 blocks of 1 MiB.
        let kept = |free, count, cpus| of_16_mib(free, cpus).kept(stack(8), count);
        assert_eq!((kept(16, 0, 1), kept(8, 0, 1), kept(4, 0, 1)), (10, 5, 2));
        assert_eq!((kept(3, 0, 1), kept(3, 1, 1)), (0, 2));
        assert_eq!((kept(16, 0, 4), kept(16, 0, 8), kept(16, 0, 11)), (2, 1, 0));
        let single = |free| of_16_mib(free, 32).kept(stack(0), 0);
        assert_eq!((single(16), single(4), single(3)), (64, 20, 1));
    }

    #[test]
    fn a_cpu_fetches_less_than_it_keeps() {
        // Of 64 blocks of 256 KiB.
        let fetched = |free| of_16_mib(free, 1).fetched(stack(6));
        let all = [16, 8, 7, 4, 3, 1].map(fetched);
        assert_eq!(all, [16, 16, 14, 8, 1, 1]);
        for sixteenths in 0..=16 {
            let share = of_16_mib(sixteenths, 1);
            for stack in Stack::all() {
                assert!(share.fetched(stack) <= share.kept(stack, 0));
            }
        }
        let short = Sharers::new(1).share(1 << 12, 1 << 12, (1 << 12) + 1);
        assert_eq!((short.fetched(stack(6)), short.kept(stack(6), 0)), (1, 3));
    }

    #[test]
    fn no_more_than_fits() {
        for log2 in [24, 31, 33, 40, 52] {
            let Some(pages) = 1_usize.checked_shl(log2) else {
                continue;
            };
            for cpus in [1, 8] {
                let all = Sharers::new(cpus).share(pages, pages, 0);
                for stack in Stack::all() {
                    assert_eq!(all.kept(stack, 0), stack.capacity());
                    assert_eq!(all.fetched(stack), stack.capacity());
                }
            }
        }
    }

    #[test]
    fn a_single_cpu_has_one_block_where_nothing_is_free() {
        // Of at most a sixteenth of 2 MiB.
        let share = Sharers::new(1).share(0, 1 << 9, 0);
        for order in 0..10 {
            assert_eq!(share.kept(stack(order), 0), u32::from(order <= 5));
        }
        // Of at most 64 pages.
        let share = Sharers::new(1).share(0, 1 << 20, 0);
        assert_eq!((share.kept(stack(6), 0), share.kept(stack(7), 0)), (1, 0));
        assert_eq!(share.fetched(stack(6)), 1);
        let share = Sharers::new(2).share(0, 1 << 9, 0);
        assert_eq!(share.kept(stack(0), 0), 0);
    }
}
