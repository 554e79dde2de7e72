//! The stacks that a CPU has for blocks of its own: which there are, and how much each may hold.

use super::frame::Order;

/// Orders 0 to 9 are cached: with 4 KiB pages, everything up to 2 MiB.
const ORDERS: usize = 10;

/// Every order twice: for any memory, and for memory below 4 GiB where there is other memory too.
pub(super) const STACKS: usize = 2 * ORDERS;

/// The largest order that is cached.
const LARGEST: Order = match Order::new(9) {
    Some(order) => order,
    None => panic!("an order"),
};
const _: () = assert!(LARGEST.index() == ORDERS - 1);

/// The stacks for one kind of memory, by the index of the first: 0 or `ORDERS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Group(usize);

impl Group {
    pub(super) const ANY: Self = Self(0);
    pub(super) const LOW: Self = Self(ORDERS);
}

/// How many blocks a stack holds at most.
const CAPACITY: [u32; STACKS] = [
    64, 32, 32, 64, 32, 16, 16, 16, 16, 16, // any memory
    24, 8, 8, 4, 2, 2, 2, 2, 2, 2, // low memory
];

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

/// Where each stack begins among the entries, and where the last one ends.
pub(super) const BASES: [u32; STACKS + 1] = {
    let mut bases = [0; STACKS + 1];
    let mut i = 0;
    while i < STACKS {
        bases[i + 1] = bases[i] + CAPACITY[i];
        i += 1;
    }
    bases
};

pub(super) const ENTRIES: usize = BASES[STACKS] as usize;

/// One of a CPU's stacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stack {
    /// Below `STACKS`.
    index: usize,
    order: Order,
}

impl Stack {
    /// The stack for blocks of `order`, if that order is cached.
    #[inline]
    pub(super) const fn of(order: Order, low: bool) -> Option<Self> {
        if order.index() >= ORDERS {
            return None;
        }
        let group = if low { Group::LOW } else { Group::ANY };
        let index = group.0 + order.index();
        Some(Self { index, order })
    }

    /// The stack for blocks of exactly `count` pages of any memory, if they are cached.
    #[inline]
    pub(super) const fn exact(count: usize) -> Option<Self> {
        // For a count of 0 this is a huge number.
        let mask = count.wrapping_sub(1);
        if mask >= LARGEST.pages() || count & mask != 0 {
            return None;
        }
        // No `ilog2`: on x86-64 that is an instruction which waits for the old content of its
        // destination, in a register that the last call may have loaded late.
        match Order::new(count.trailing_zeros()) {
            Some(order) => Some(Self {
                index: order.index(),
                order,
            }),
            None => None,
        }
    }

    /// The stack for blocks of `count` pages, rounded up, of any memory, if they are cached.
    #[inline]
    pub(super) fn covering(count: usize) -> Option<Self> {
        Self::of(Order::covering(count)?, false)
    }

    /// The stack for the same order in another group.
    #[inline]
    pub(super) const fn within(self, group: Group) -> Self {
        let (index, order) = (group.0 + self.order.index(), self.order);
        Self { index, order }
    }

    #[inline]
    pub(super) const fn index(self) -> usize {
        self.index
    }

    /// All stacks.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        Order::all()
            .flat_map(|order| [Self::of(order, false), Self::of(order, true)])
            .flatten()
    }

    #[inline]
    pub(super) const fn order(self) -> Order {
        self.order
    }

    /// How many blocks a CPU may keep here.
    #[inline]
    pub(super) fn limit(self, share: Share) -> u32 {
        let blocks = |pages: u64| u32::try_from(pages >> self.order.log2()).unwrap_or(u32::MAX);
        let least = blocks(share.least).min(1);
        blocks(share.each).max(least).min(CAPACITY[self.index])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many blocks a CPU may keep of an order.
    fn limit(order: u32, share: Share) -> u32 {
        let stack = Stack::of(Order::new(order).unwrap(), false).unwrap();
        stack.limit(share)
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
            let most = stack.limit(Sharers::new(1).share(u32::MAX as usize, 0));
            assert!(most <= BASES[stack.index + 1] - BASES[stack.index]);
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

    #[test]
    fn exact_counts_have_the_stack_of_their_order_and_others_have_none() {
        for count in 0..2000 {
            let expected = match Order::covering(count) {
                Some(order) if order.pages() == count => Stack::of(order, false),
                _ => None,
            };
            assert_eq!(Stack::exact(count), expected);
        }
        assert_eq!(Stack::exact(usize::MAX), None);
        assert_eq!(Stack::exact(1 << (usize::BITS - 1)), None);
    }

    #[test]
    fn a_group_has_the_same_orders() {
        for order in Order::all() {
            let low = Stack::of(order, true);
            let any = Stack::of(order, false);
            assert_eq!(any.map(|stack| stack.within(Group::LOW)), low);
            assert_eq!(low.map(|stack| stack.within(Group::ANY)), any);
        }
    }
}
