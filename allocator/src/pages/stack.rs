//! The stacks that a CPU has for blocks of its own.

use super::entry::cached;
use super::frame::Order;
use super::state::PageState;

/// Orders 0 to 9 are cached: with 4 KiB pages, everything up to 2 MiB.
const ORDERS: usize = 10;

/// The stack of every order, and one that never holds anything, for what is not cached.
const GROUP: usize = ORDERS + 1;

/// Every stack twice: for any memory, and for memory below 4 GiB where there is other memory too.
pub(super) const STACKS: usize = 2 * GROUP;

/// The largest order that is cached.
const LARGEST: Order = match Order::new(9) {
    Some(order) => order,
    None => panic!("an order"),
};
const _: () = assert!(LARGEST.index() == ORDERS - 1);

/// The stacks for one kind of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    /// Any memory, or, where low memory is kept apart, the other.
    Any,
    /// Memory below 4 GiB where there is other memory too.
    Low,
}

impl Group {
    pub(super) const ALL: [Self; 2] = [Self::Any, Self::Low];

    /// The group for memory that is low and kept apart, or that is not.
    #[inline]
    pub(super) const fn of_low(is_low: bool) -> Self {
        if is_low { Self::Low } else { Self::Any }
    }

    /// The index of its first stack.
    #[inline]
    const fn first(self) -> usize {
        match self {
            Self::Any => 0,
            Self::Low => GROUP,
        }
    }
}

/// How many blocks a stack holds at most.
const CAPACITY: [u32; STACKS] = [
    64, 32, 32, 64, 32, 16, 16, 16, 16, 16, 0, // any memory
    24, 8, 8, 4, 2, 2, 2, 2, 2, 2, 0, // low memory
];

/// The index of a stack that never holds anything.
pub(super) const VACANT: usize = ORDERS;

/// In which order stacks get their lanes, of which the first [`LANES`](super::lane::LANES) are the fastest: those
/// for the smallest blocks of any memory and for the largest, huge pages; then all others.
pub(super) const BY_USE: [usize; STACKS] = {
    let mut stacks = [0; STACKS];
    let mut i = 0;
    while i < STACKS {
        stacks[i] = match i {
            6 => LARGEST.index(),
            7..ORDERS => i - 1,
            _ => i,
        };
        i += 1;
    }
    stacks
};

/// Where each stack begins among the entries, behind one that is below all of its own, and where the last one ends.
pub(super) const BASES: [u32; STACKS + 1] = {
    let mut bases = [1; STACKS + 1];
    let mut i = 0;
    while i < STACKS {
        bases[i + 1] = bases[i] + CAPACITY[i] + 1;
        i += 1;
    }
    bases
};

pub(super) const ENTRIES: usize = BASES[STACKS] as usize - 1;

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
        let index = Group::of_low(low).first() + order.index();
        Some(Self { index, order })
    }

    /// The stack for blocks of `count` pages, rounded up, of any memory, if they are cached.
    #[inline]
    pub(super) fn covering(count: usize) -> Option<Self> {
        Self::of(Order::covering(count)?, false)
    }

    /// The stacks for blocks of `order`, if that order is cached.
    pub(super) fn both(order: Order) -> impl Iterator<Item = Self> {
        [Self::of(order, false), Self::of(order, true)]
            .into_iter()
            .flatten()
    }

    /// The stack for the same order in another group.
    #[inline]
    pub(super) const fn within(self, group: Group) -> Self {
        Self {
            index: group.first() + self.order.index(),
            order: self.order,
        }
    }

    #[inline]
    pub(super) const fn index(self) -> usize {
        self.index
    }

    /// How the usual way finds it.
    #[inline]
    pub(super) const fn slot(self) -> Slot {
        let group = Group::of_low(self.index >= GROUP);
        let state = cached(self.order).to_byte() as usize;
        Slot { group, state }
    }

    /// All stacks.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT).filter_map(Self::nth)
    }

    #[inline]
    pub(super) const fn order(self) -> Order {
        self.order
    }

    /// How many stacks there are.
    pub(super) const COUNT: usize = 2 * ORDERS;

    /// One of all stacks, of which those of small blocks come first.
    pub(super) fn nth(n: usize) -> Option<Self> {
        Self::of(
            Order::new(u32::try_from(n / 2).ok()?)?,
            !n.is_multiple_of(2),
        )
    }

    /// How many blocks it holds at most.
    #[inline]
    pub(super) const fn capacity(self) -> u32 {
        CAPACITY[self.index]
    }
}

/// Where a CPU has its blocks of an order, and in which state: all that the usual way needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    group: Group,
    /// The state of such a block in a cache, as a number.
    state: usize,
}

/// For each number of pages: the state of a block of exactly so many in a cache, or of an order that is not
/// cached. To look it up takes fewer instructions than to ask for a power of two and for its logarithm.
const EXACT: [u32; LARGEST.pages() + 1] = {
    let mut states = [cached(LARGEST.joined()).to_byte() as u32; LARGEST.pages() + 1];
    let mut log2 = 0;
    while let Some(order) = Order::new(log2)
        && order.index() < ORDERS
    {
        states[order.pages()] = cached(order).to_byte() as u32;
        log2 += 1;
    }
    states
};

impl Slot {
    /// The slot for blocks of exactly `count` pages of any memory; for a count that is not cached, none or
    /// that of a stack that is both empty and full.
    #[inline]
    pub(super) fn exact(count: usize) -> Option<Self> {
        let (group, state) = (Group::Any, *EXACT.get(count)? as usize);
        Some(Self { group, state })
    }

    /// The slot for the same blocks in another group.
    #[inline]
    pub(super) const fn within(self, group: Group) -> Self {
        Self { group, ..self }
    }

    #[inline]
    pub(super) const fn group(self) -> Group {
        self.group
    }

    /// The state of such a block in a cache.
    #[inline]
    pub(super) const fn cached(self) -> PageState {
        #[expect(clippy::cast_possible_truncation, reason = "it is a state")]
        PageState::from_byte(self.state as u8)
    }

    /// The index of the stack: below `STACKS`.
    #[inline]
    pub(super) const fn index(self) -> usize {
        const FIRST: u8 = cached(Order::ZERO).to_byte();
        self.group.first() + self.state.wrapping_sub(FIRST as usize)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_stack_has_a_lane() {
        let mut stacks = BY_USE;
        stacks.sort_unstable();
        assert!(stacks.into_iter().eq(0..STACKS));
    }

    #[test]
    fn exact_counts_have_the_stack_of_their_order_and_others_have_none() {
        for count in 0..2000 {
            let expected = match Order::covering(count) {
                Some(order) if order.pages() == count => Stack::of(order, false),
                _ => None,
            };
            let used = Slot::exact(count).filter(|slot| slot.index() != VACANT);
            assert_eq!(used, expected.map(Stack::slot));
            if let Some(slot) = used {
                let (stack, order) = (expected.unwrap(), expected.unwrap().order());
                assert_eq!(slot.cached(), cached(order));
                assert_eq!(slot.index(), stack.index());
                let low = stack.within(Group::Low);
                assert_eq!(low.slot(), slot.within(Group::Low));
                assert_eq!(low.slot().index(), low.index());
            }
        }
        assert_eq!(Slot::exact(usize::MAX), None);
        for group in Group::ALL {
            assert_eq!(CAPACITY[group.first() + VACANT], 0);
        }
    }

    #[test]
    fn a_group_has_the_same_orders() {
        for order in Order::all() {
            let low = Stack::of(order, true);
            let any = Stack::of(order, false);
            assert_eq!(any.map(|stack| stack.within(Group::Low)), low);
            assert_eq!(low.map(|stack| stack.within(Group::Any)), any);
        }
    }
}
