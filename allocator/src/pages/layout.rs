//! Where a section keeps its metadata, in bytes from the section's beginning.
//!
//! ```text
//! | header | tree: level 3 .. level 0 | slab pointers | page states | managed pages ...
//! ```
//!
//! Per page: one byte of state, two bits of tree with a sixteenth of summaries on top, and a
//! pointer for every 8 KiB: 5.3 bytes for a 4 KiB page on a 64-bit machine, 0.13 %.

use core::sync::atomic::AtomicPtr;

use super::frame::{Order, Pfn, largest_block};
use super::level::{LEVELS, node_log2, node_words};

/// Metadata arrays begin on cache lines.
pub(super) const LINE: usize = 64;

/// The pages of the largest section, 2 TiB of 4 KiB pages: what [`LEVELS`] levels under at most 64
/// top entries cover, wherever it begins.
pub(super) const SECTION_LIMIT: usize = 1 << 29;

/// Slabs are naturally aligned and have at least this many bytes, so one descriptor pointer per
/// this many bytes finds the slab of any object.
pub(crate) const SLAB_GRAIN: usize = 8 * 1024;

/// The order of a block of [`SLAB_GRAIN`] bytes, or of one page where that is larger.
pub(super) const fn slab_order(page_size: usize) -> Order {
    match Order::within(SLAB_GRAIN / page_size) {
        Some(order) => order,
        None => Order::ZERO,
    }
}

/// Pointers per block of [`slab_order`].
const fn grain_entries(page_size: usize) -> usize {
    if page_size > SLAB_GRAIN {
        page_size / SLAB_GRAIN
    } else {
        1
    }
}

/// The metadata of a section with certain pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    /// Levels of the tree.
    pub(super) depth: usize,
    /// The largest block that fits.
    pub(super) max_order: Order,
    /// Offset and first node number of each level.
    pub(super) levels: [(usize, usize); LEVELS],
    pub(super) slabs: usize,
    pub(super) states: usize,
    /// All of it, in bytes.
    pub(super) bytes: usize,
}

impl Layout {
    /// The metadata for the pages `first..limit` (at least one, at most [`SECTION_LIMIT`]) with
    /// blocks of at most `cap`, behind a header of `header` bytes.
    pub(super) fn new(header: usize, first: Pfn, limit: Pfn, cap: Order, page_size: usize) -> Self {
        let max_order = largest_block(first, limit, cap).unwrap_or(Order::ZERO);
        let span = |log2: usize| {
            let begin = first.number() >> log2;
            (begin, ((limit.number() - 1) >> log2) - begin + 1)
        };
        let depth = (1..=LEVELS)
            .find(|depth| {
                let log2 = node_log2(depth - 1);
                max_order.index() < log2 && span(log2).1 <= 64
            })
            .unwrap_or(LEVELS);

        let mut at = header.next_multiple_of(LINE);
        let mut levels = [(0, 0); LEVELS];
        for level in (0..depth).rev() {
            let (begin, nodes) = span(node_log2(level));
            levels[level] = (at, begin);
            at = (at + nodes * node_words(level) * size_of::<u64>()).next_multiple_of(LINE);
        }
        let slabs = at;
        let grains = span(slab_order(page_size).index()).1;
        at += grains * grain_entries(page_size) * size_of::<AtomicPtr<()>>();
        let states = at;
        at += limit.since(first);
        Self {
            depth,
            max_order,
            levels,
            slabs,
            states,
            bytes: at,
        }
    }

    /// Bytes that are enough for the metadata of `pages` pages in one section, wherever they lie.
    pub(super) const fn bound(header: usize, pages: usize, page_size: usize) -> usize {
        let mut bytes = header.next_multiple_of(LINE);
        let mut level = 0;
        while level < LEVELS {
            let nodes = (pages >> node_log2(level)) + 2;
            bytes += (nodes * node_words(level) * size_of::<u64>()).next_multiple_of(LINE);
            if pages < 1 << node_log2(level) {
                break;
            }
            level += 1;
        }
        let grains = (pages >> slab_order(page_size).log2()) + 2;
        bytes + grains * grain_entries(page_size) * size_of::<AtomicPtr<()>>() + pages
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const PAGE: usize = 0x1000;

    #[test]
    fn the_bound_holds_wherever_the_pages_lie() {
        for first in [0, 1, 63, 64, 4095, 4096, (1 << 24) - 3] {
            for pages in [1, 2, 15, 64, 100, 4096, 70_000, 1 << 18, (1 << 24) + 5] {
                let (first, limit) = (Pfn::new(first), Pfn::new(first + pages));
                let layout = Layout::new(512, first, limit, Order::MAX, PAGE);
                assert!(
                    layout.bytes <= Layout::bound(512, pages, PAGE),
                    "{first:?} {pages}"
                );
            }
        }
    }

    #[test]
    fn metadata_is_an_eighth_of_a_percent() {
        for pages in [1 << 15, 1 << 18, 1 << 28] {
            let layout = Layout::new(512, Pfn::new(77), Pfn::new(77 + pages), Order::MAX, PAGE);
            assert!(
                layout.bytes * 1000 < pages * 4096 * 135 / 100,
                "{} for {pages}",
                layout.bytes
            );
        }
    }

    #[test]
    fn the_largest_section_has_at_most_64_top_nodes_wherever_it_lies() {
        for first in [0, 1, (1 << 24) - 1] {
            let limit = Pfn::new(first + SECTION_LIMIT);
            let layout = Layout::new(512, Pfn::new(first), limit, Order::MAX, PAGE);
            let log2 = node_log2(layout.depth - 1);
            assert!(((limit.number() - 1) >> log2) - (first >> log2) < 64);
            assert!(layout.max_order.index() < log2);
        }
    }
}
