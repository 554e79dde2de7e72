//! NUMA nodes: memory that is nearer to some CPUs than to others.

use crate::Platform;

/// The most nodes that are told apart. Memory of nodes from this one on counts as memory of the last.
pub const MAX_NODES: usize = 8;

/// A node, below [`MAX_NODES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Node(u8);

const _: () = assert!(MAX_NODES <= u8::BITS as usize);

impl Node {
    pub(crate) const FIRST: Self = Self(0);

    /// The node that a platform numbers so.
    #[inline]
    pub(crate) const fn new(number: usize) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "below MAX_NODES")]
        let number = if number < MAX_NODES {
            number as u8
        } else {
            MAX_NODES as u8 - 1
        };
        Self(number)
    }

    /// The node of a CPU.
    #[inline]
    pub(crate) fn of_cpu<P: Platform>(cpu: usize) -> Self {
        Self::new(P::node_of_cpu(cpu))
    }

    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (0..MAX_NODES).map(Self::new)
    }

    /// Its place in a set of nodes.
    #[inline]
    pub(crate) const fn bit(self) -> u8 {
        1 << self.0
    }

    /// This node, and then the others of the first `count`.
    #[inline]
    pub(crate) fn then_others(self, count: usize) -> impl Iterator<Item = Self> + Clone {
        let others = (0..count).map(Self::new).filter(move |node| *node != self);
        core::iter::once(self).chain(others)
    }

    #[inline]
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A node's memory, and where its CPUs took theirs.
///
/// Takings are counted where the page layer looks for memory: once for a batch that fills a CPU's
/// cache, and for each block that comes from no cache; on a machine with one node not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct NodeInfo {
    /// Pages under management.
    pub managed_pages: usize,
    /// Pages that are free, those in CPUs' caches not counted.
    pub free_pages: usize,
    /// How often CPUs of this node took blocks from it.
    pub hits: usize,
    /// How often they had to take blocks from others.
    pub misses: usize,
}

impl NodeInfo {
    pub(crate) const NONE: Self = Self {
        managed_pages: 0,
        free_pages: 0,
        hits: 0,
        misses: 0,
    };
}
