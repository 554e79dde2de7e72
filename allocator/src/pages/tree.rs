//! Which blocks are free: a bit per block, and summaries above the bits.
//!
//! The tree is 64 wide. A node of level `l` covers `64^(l+1)` pages. It begins with the free blocks
//! of orders `6 l` to `6 l + 5` as the bits of a binary heap: bits 64 to 127 are its 64 blocks of
//! order `6 l`, bits 32 to 63 the 32 pairs of those, and so on up to bits 2 and 3. So the buddy of
//! bit `i` is bit `i ^ 1`, both together are bit `i / 2`, and the halves of block `i` are `2 i` and
//! `2 i + 1`. Behind that, the node has one word for every order below `6 l`, which says which of
//! its 64 children contain a free block of that order.
//!
//! Splits and merges of orders 0 to 6 stay inside the 16 bytes of one lowest node, and a 16 MiB
//! node with all its summaries is one cache line. The lowest free block of an order is one "first
//! set bit" per level away; that keeps free memory together at high addresses, and no free page is
//! ever touched. Blocks are numbered by absolute frame numbers, so buddies share a word.
//!
//! Of most orders there is one free block at a time or none: a split leaves one of each order behind, and the
//! next allocations take it. So the summaries do not know of a block that is the only one of its order. Where it is
//! is noted beside the tree, until there is a second.

mod audit;

use core::cell::Cell;
use core::num::NonZeroU64;

use super::frame::{Order, Pfn};
use super::level::{LEVELS, Level, SUMMARIES, node_log2, node_words};
use super::place::{FANOUT, Place, SLOTS, Shape};

/// The free blocks of one section.
///
/// Every frame number given to a method lies in the section, below its frontier: the nodes
/// above such a frame exist and are initialised. [`Section`](super::section::Section) checks
/// addresses before they become frame numbers.
pub(super) struct FreeTree {
    levels: [Level; LEVELS],
    depth: usize,
    /// The number of the first node of the highest level.
    top_first: usize,
    nonempty: Cell<u32>,
    orders: [Members; SLOTS],
}

/// The free blocks of one order.
struct Members {
    count: Cell<u32>,
    /// Which nodes of the highest level contain one. Empty from when there is a first one until there is a second: no
    /// summary below shows a block then, either. With a second they show all, down to the last.
    top: Cell<u64>,
    /// The number of the place of the first one, as long as `top` is empty.
    alone: Cell<usize>,
}

impl Members {
    const fn none() -> Self {
        Self {
            count: Cell::new(0),
            top: Cell::new(0),
            alone: Cell::new(0),
        }
    }
}

impl FreeTree {
    /// A tree without free blocks.
    ///
    /// # Safety
    ///
    /// For each of the `depth` levels, `nodes` points to room for the nodes that cover the
    /// section, used by nobody else; there are at most 64 nodes in level `depth - 1`.
    pub(super) const unsafe fn new(levels: [Level; LEVELS], depth: usize) -> Self {
        Self {
            levels,
            depth,
            top_first: levels[depth - 1].first,
            nonempty: Cell::new(0),
            orders: [const { Members::none() }; SLOTS],
        }
    }

    #[inline]
    fn word(&self, level: usize, node: usize, word: usize) -> &Cell<u64> {
        debug_assert!(level < self.depth && self.levels[level].first <= node);
        #[cfg(all(test, not(loom)))]
        steps::count();
        // Always below `LEVELS`; this shows it to the compiler.
        let level = level % LEVELS;
        let word = self.levels[level].word(level, node, word);
        // SAFETY: the node covers a frame of the section (see the type), so it lies in the array
        // that `new` was promised. The nodes above initialised frames are initialised, and only
        // this tree uses them.
        unsafe { &*word }
    }

    /// Clears the nodes that `from..to` is the first to need. `from` is where the last call ended,
    /// or the section's first frame.
    ///
    /// # Safety
    ///
    /// `from..to` lies in the section.
    pub(super) unsafe fn prepare(&self, from: Pfn, to: Pfn, is_first: bool) {
        for level in 0..self.depth {
            let log2 = node_log2(level);
            let begin = if is_first {
                from.number() >> log2
            } else {
                from.number().div_ceil(1 << log2)
            };
            let end = to.number().div_ceil(1 << log2);
            if begin >= end {
                continue;
            }
            let nodes = self.levels[level].word(level, begin, 0);
            // SAFETY: nodes `begin..end` cover frames of the section, so all of them are in the
            // array; nothing else uses it, and zero is a valid word.
            unsafe { nodes.write_bytes(0, (end - begin) * node_words(level)) };
        }
    }

    /// Is there a free block of exactly this order at `pfn`?
    #[inline]
    pub(super) fn contains(&self, pfn: Pfn, order: Order) -> bool {
        let place = Place::of(pfn, order);
        place.level < self.depth && self.is_set(place)
    }

    #[inline]
    fn is_set(&self, place: Place) -> bool {
        self.word(place.level, place.node, place.word()).get() & place.mask() != 0
    }

    /// Makes a block free, and joins it with its buddies as far as they are free and `cap` allows. Returns what comes of
    /// it.
    #[inline]
    pub(super) fn merge(&self, pfn: Pfn, mut order: Order, cap: Order) -> (Place, Order) {
        let mut place = Place::of(pfn, order);
        while order < cap && self.is_set(place.buddy()) {
            self.clear(place.buddy(), order);
            place = place.joined();
            order = order.joined();
        }
        self.set(place, order);
        (place, order)
    }

    /// Takes the lowest block of `from`, an order that has one, and gives back all but its
    /// beginning of order `to`.
    #[inline]
    pub(super) fn split_first(&self, from: Order, to: Order) -> Pfn {
        let mut place = self.first_place(from);
        self.clear(place, from);
        let pfn = place.pfn(from);
        for order in to.halves_below(from) {
            place = place.lower_half();
            self.set(place.buddy(), order);
        }
        pfn
    }

    /// Marks a block free. Does not merge.
    pub(super) fn insert(&self, pfn: Pfn, order: Order) {
        self.set(Place::of(pfn, order), order);
    }

    /// Marks a free block used.
    pub(super) fn remove(&self, pfn: Pfn, order: Order) {
        self.clear(Place::of(pfn, order), order);
    }

    #[inline]
    fn members(&self, order: Order) -> &Members {
        &self.orders[order.index() % SLOTS]
    }

    /// The place of a block that is alone.
    #[inline]
    fn place_alone(&self, order: Order) -> Place {
        Place::from_number(order, self.members(order).alone.get())
    }

    #[inline(always)]
    fn set(&self, place: Place, order: Order) {
        let word = self.word(place.level, place.node, place.word());
        let old = word.get();
        debug_assert_eq!(old & place.mask(), 0, "block is free already");
        word.set(old | place.mask());
        let members = self.members(order);
        members.count.set(members.count.get() + 1);
        if members.top.get() == 0 {
            let (nonempty, bit) = (self.nonempty.get(), 1 << order.log2());
            if nonempty & bit == 0 {
                members.alone.set(place.number());
                self.nonempty.set(nonempty | bit);
                return;
            }
            self.summarise(self.place_alone(order), order);
        }
        if old & Shape::of(order).field == 0 {
            self.summarise(place, order);
        }
    }

    #[inline(always)]
    fn clear(&self, place: Place, order: Order) {
        let word = self.word(place.level, place.node, place.word());
        debug_assert_ne!(word.get() & place.mask(), 0, "block is not free");
        let new = word.get() & !place.mask();
        word.set(new);
        let members = self.members(order);
        members.count.set(members.count.get() - 1);
        if members.top.get() == 0 {
            self.forget(order);
        } else if new & Shape::of(order).field == 0 {
            self.unsummarise(place, order);
        }
    }

    /// The order lost its last free block.
    #[inline]
    fn forget(&self, order: Order) {
        self.nonempty
            .set(self.nonempty.get() & !(1 << order.log2()));
    }

    /// The node got its first free block of `order`.
    #[inline(always)]
    fn summarise(&self, place: Place, order: Order) {
        let mut node = place.node;
        // Written out for every level, so that all of its arithmetic is constant.
        if place.level < 1 && self.depth > 1 && self.mark::<1>(&mut node, order)
            || place.level < 2 && self.depth > 2 && self.mark::<2>(&mut node, order)
            || place.level < 3 && self.depth > 3 && self.mark::<3>(&mut node, order)
        {
            return;
        }
        let top = &self.members(order).top;
        top.set(top.get() | 1 << (node - self.top_first));
    }

    /// Marks `node` in its parent, of `LEVEL`, which becomes `node`; says whether the parent was
    /// marked above already.
    #[inline]
    fn mark<const LEVEL: usize>(&self, node: &mut usize, order: Order) -> bool {
        let child = *node % FANOUT;
        *node /= FANOUT;
        let word = self.word(LEVEL, *node, SUMMARIES + order.index());
        let old = word.get();
        word.set(old | 1 << child);
        old != 0
    }

    /// The node lost its last free block of `order`.
    #[inline(always)]
    fn unsummarise(&self, place: Place, order: Order) {
        let mut node = place.node;
        if place.level < 1 && self.depth > 1 && self.unmark::<1>(&mut node, order)
            || place.level < 2 && self.depth > 2 && self.unmark::<2>(&mut node, order)
            || place.level < 3 && self.depth > 3 && self.unmark::<3>(&mut node, order)
        {
            return;
        }
        let top = &self.members(order).top;
        let new = top.get() & !(1 << (node - self.top_first));
        top.set(new);
        if new == 0 {
            self.forget(order);
        }
    }

    /// Unmarks `node` in its parent, of `LEVEL`, which becomes `node`; says whether the parent has
    /// other children marked.
    #[inline]
    fn unmark<const LEVEL: usize>(&self, node: &mut usize, order: Order) -> bool {
        let child = *node % FANOUT;
        *node /= FANOUT;
        let word = self.word(LEVEL, *node, SUMMARIES + order.index());
        let new = word.get() & !(1 << child);
        word.set(new);
        new != 0
    }

    /// The orders that have a free block, as bits.
    #[inline]
    pub(super) fn orders(&self) -> u32 {
        self.nonempty.get()
    }

    /// The smallest order of at least `order` that has a free block.
    #[inline]
    pub(super) fn smallest(&self, order: Order) -> Option<Order> {
        let candidates = self.nonempty.get() & (u32::MAX << order.log2());
        if candidates == 0 {
            return None;
        }
        Order::new(candidates.trailing_zeros())
    }

    /// The lowest free block of an order that has one.
    pub(super) fn first(&self, order: Order) -> Pfn {
        self.first_place(order).pfn(order)
    }

    #[inline]
    fn first_place(&self, order: Order) -> Place {
        let top = self.members(order).top.get();
        if top == 0 {
            debug_assert_ne!(self.count(order), 0, "the order has no free block");
            return self.place_alone(order);
        }
        let shape = Shape::of(order);
        let mut node = self.top_first + lowest_bit(top);
        if shape.level < 3 && self.depth > 3 {
            node = self.lowest_child::<3>(node, order);
        }
        if shape.level < 2 && self.depth > 2 {
            node = self.lowest_child::<2>(node, order);
        }
        if shape.level < 1 && self.depth > 1 {
            node = self.lowest_child::<1>(node, order);
        }
        let level = shape.level;
        let blocks = self.word(level, node, shape.word).get() & shape.field;
        Place {
            level,
            node,
            bit: 64 * shape.word + lowest_bit(blocks),
        }
    }

    #[inline]
    fn lowest_child<const LEVEL: usize>(&self, node: usize, order: Order) -> usize {
        let children = self.word(LEVEL, node, SUMMARIES + order.index()).get();
        node * FANOUT + lowest_bit(children)
    }

    /// How many free blocks of an order there are.
    pub(super) fn count(&self, order: Order) -> usize {
        self.members(order).count.get() as usize
    }
}

/// The number of the lowest bit of a word that has one.
#[inline]
fn lowest_bit(word: u64) -> usize {
    NonZeroU64::new(word).map_or(0, |word| word.trailing_zeros() as usize)
}

/// Counts the words that a thread looks at, so that a test can show that an operation does not
/// walk.
#[cfg(all(test, not(loom)))]
pub(super) mod steps {
    use core::cell::Cell;

    std::thread_local! {
        static STEPS: Cell<usize> = const { Cell::new(0) };
    }

    pub(super) fn count() {
        STEPS.set(STEPS.get() + 1);
    }

    /// The steps since the last call.
    pub(in crate::pages) fn take() -> usize {
        STEPS.replace(0)
    }
}
