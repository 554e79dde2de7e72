//! How much of the memory a CPU may have in its stacks.

use super::stack::Stack;

/// A stack of a CPU has at most this share of the free memory, divided by the number of CPUs: what
/// is in caches does not merge.
const SHARE: u64 = 16;

/// A CPU that is the only one keeps one block of at most this share of all memory, and at most so many pages, even where
/// nothing is free: to have it given back takes no barrier.
const LEAST: u64 = 16;
const MOST_AT_LEAST: u64 = 64;

/// What a CPU may have in its stacks, in pages.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    /// In each stack.
    each: u64,
    /// In one block, however little is free.
    least: u64,
}

impl Share {
    /// How many blocks a CPU may keep in a stack.
    #[inline]
    pub(super) fn blocks(self, stack: Stack) -> u32 {
        let blocks = |pages: u64| u32::try_from(pages >> stack.order().log2()).unwrap_or(u32::MAX);
        let least = blocks(self.least).min(1);
        blocks(self.each).max(least).min(stack.capacity())
    }
}

/// The CPUs that share what is free.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sharers {
    cpus: u32,
    /// What to multiply a number of pages with, in units of `1 / (1 << 32)`: no division each time.
    factor: u64,
}

impl Sharers {
    pub(super) const fn new(cpus: u32) -> Self {
        let sharers = if cpus == 0 { 1 } else { cpus as u64 };
        Self {
            cpus,
            factor: (1 << u32::BITS) / (SHARE * sharers),
        }
    }

    pub(super) const fn cpus(self) -> u32 {
        self.cpus
    }

    /// The share of each when so many pages are free of so many.
    #[inline]
    pub(super) fn share(self, free: usize, managed: usize) -> Share {
        // The number of a frame has 32 bits, so the product has no more than 64.
        let each = (free as u64 * self.factor) >> u32::BITS;
        Share {
            each,
            least: if self.cpus == 1 {
                (managed as u64 / LEAST).min(MOST_AT_LEAST)
            } else {
                0
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::Order;
    use super::*;

    /// How many blocks a CPU may keep of an order.
    fn limit(order: u32, share: Share) -> u32 {
        share.blocks(Stack::of(Order::new(order).unwrap(), false).unwrap())
    }

    #[test]
    fn a_cpu_keeps_a_small_share_of_what_is_free_in_each_stack() {
        let limit = |order, pages, cpus| limit(order, Sharers::new(cpus).share(pages, 0));
        // 16 MiB: nothing of 2 MiB, some single pages.
        assert_eq!((limit(9, 1 << 12, 1), limit(0, 1 << 12, 1)), (0, 64));
        assert_eq!(limit(0, 1 << 12, 32), 8);
        // 16 GiB: everything.
        assert_eq!((limit(9, 1 << 22, 4), limit(0, 1 << 22, 4)), (16, 64));
        for stack in Stack::all() {
            let most = Sharers::new(1).share(u32::MAX as usize, 0).blocks(stack);
            assert_eq!(most, stack.capacity());
        }
    }

    #[test]
    fn a_single_cpu_keeps_one_block_where_nothing_is_free() {
        // Of at most a sixteenth of 2 MiB.
        let share = Sharers::new(1).share(0, 1 << 9);
        for order in 0..10 {
            assert_eq!(limit(order, share), u32::from(order <= 5));
        }
        // Of at most 64 pages.
        let share = Sharers::new(1).share(0, 1 << 20);
        assert_eq!((limit(6, share), limit(7, share)), (1, 0));
        assert_eq!(limit(0, Sharers::new(2).share(0, 1 << 9)), 0);
    }
}
