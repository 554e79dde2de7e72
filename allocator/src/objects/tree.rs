//! Finds the slab at an address without page metadata.

use super::alone::Nodes;
use super::slab::SlabRef;

/// The slabs of a [`SlabAllocator`](super::SlabAllocator), ordered by address: a treap (Seidel and
/// Aragon, 1996), whose priorities are a hash of the address. Every operation takes logarithmic
/// time with high probability; the links are in the nodes.
///
/// Slabs are disjoint, so their bases order them.
pub(crate) struct AddressTree {
    root: Option<SlabRef>,
}

/// The place a subtree hangs from.
#[derive(Clone, Copy)]
enum Link {
    Root,
    Left(SlabRef),
    Right(SlabRef),
}

impl AddressTree {
    pub(crate) const fn new() -> Self {
        Self { root: None }
    }

    /// The slab with the highest base that is not above `addr`.
    pub(crate) fn floor(&self, nodes: &mut Nodes, addr: usize) -> Option<SlabRef> {
        let mut best = None;
        let mut next = self.root;
        while let Some(here) = next {
            let node = nodes.node(here);
            next = if node.slab.base() <= addr {
                best = Some(here);
                node.right
            } else {
                node.left
            };
        }
        best
    }

    /// The slab with the lowest base that is not below `addr`.
    pub(crate) fn ceiling(&self, nodes: &mut Nodes, addr: usize) -> Option<SlabRef> {
        let mut best = None;
        let mut next = self.root;
        while let Some(here) = next {
            let node = nodes.node(here);
            next = if node.slab.base() >= addr {
                best = Some(here);
                node.left
            } else {
                node.right
            };
        }
        best
    }

    /// Enters `slab`, which has no children and overlaps no slab of the tree.
    pub(crate) fn insert(&mut self, nodes: &mut Nodes, slab: SlabRef) {
        let base = nodes.node(slab).slab.base();
        let mut at = Link::Root;
        while let Some(here) = self.get(nodes, at) {
            let here_base = nodes.node(here).slab.base();
            if priority(here_base) < priority(base) {
                break;
            }
            at = if base < here_base {
                Link::Left(here)
            } else {
                Link::Right(here)
            };
        }
        // What hung here is split into what lies below and what lies above the new slab.
        let mut rest = self.get(nodes, at);
        self.set(nodes, at, Some(slab));
        let mut below = Link::Left(slab);
        let mut above = Link::Right(slab);
        while let Some(here) = rest {
            let side = nodes.node(here);
            if side.slab.base() < base {
                rest = side.right;
                self.set(nodes, below, Some(here));
                below = Link::Right(here);
            } else {
                rest = side.left;
                self.set(nodes, above, Some(here));
                above = Link::Left(here);
            }
        }
        self.set(nodes, below, None);
        self.set(nodes, above, None);
    }

    /// Takes `slab`, which is in the tree, out of it.
    pub(crate) fn remove(&mut self, nodes: &mut Nodes, slab: SlabRef) {
        let base = nodes.node(slab).slab.base();
        let mut at = Link::Root;
        while let Some(here) = self.get(nodes, at)
            && here != slab
        {
            at = if base < nodes.node(here).slab.base() {
                Link::Left(here)
            } else {
                Link::Right(here)
            };
        }
        // Its children are merged into its place, the higher priority on top.
        let removed = nodes.node(slab);
        let mut below = removed.left.take();
        let mut above = removed.right.take();
        loop {
            match (below, above) {
                (Some(low), Some(high)) => {
                    if priority(nodes.node(low).slab.base())
                        > priority(nodes.node(high).slab.base())
                    {
                        self.set(nodes, at, Some(low));
                        at = Link::Right(low);
                        below = nodes.node(low).right;
                    } else {
                        self.set(nodes, at, Some(high));
                        at = Link::Left(high);
                        above = nodes.node(high).left;
                    }
                }
                (rest, None) | (None, rest) => {
                    self.set(nodes, at, rest);
                    return;
                }
            }
        }
    }

    fn get(&self, nodes: &mut Nodes, link: Link) -> Option<SlabRef> {
        match link {
            Link::Root => self.root,
            Link::Left(parent) => nodes.node(parent).left,
            Link::Right(parent) => nodes.node(parent).right,
        }
    }

    fn set(&mut self, nodes: &mut Nodes, link: Link, child: Option<SlabRef>) {
        match link {
            Link::Root => self.root = child,
            Link::Left(parent) => nodes.node(parent).left = child,
            Link::Right(parent) => nodes.node(parent).right = child,
        }
    }
}

/// A well-mixed function of the base (the finaliser of splitmix64).
const fn priority(base: usize) -> u64 {
    let mut x = base as u64;
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::collections::BTreeMap;
    use std::vec;
    use std::vec::Vec;

    use super::*;
    use crate::objects::SizeClass;

    /// Depth, and whether bases and priorities are ordered, below `at`.
    fn check(d: &mut Nodes, at: Option<SlabRef>, from: usize, to: usize) -> usize {
        let Some(at) = at else { return 0 };
        let (base, left, right) = (d.node(at).slab.base(), d.node(at).left, d.node(at).right);
        assert!((from..to).contains(&base));
        for child in [left, right].into_iter().flatten() {
            assert!(priority(d.node(child).slab.base()) <= priority(base));
        }
        1 + check(d, left, from, base).max(check(d, right, base + 1, to))
    }

    #[test]
    fn agrees_with_a_map() {
        let mut nodes = Nodes::new();
        let mut memory = vec![0_u64; 16 * 4096];
        let base = memory
            .as_mut_ptr()
            .expose_provenance()
            .next_multiple_of(4096);
        // SAFETY: the memory outlives the nodes and is used by them only.
        unsafe { nodes.add_chunk(base, 24 * 4096) };
        let mut tree = AddressTree::new();
        let mut model: BTreeMap<usize, SlabRef> = BTreeMap::new();
        let mut random = 1_usize;
        for _ in 0..20_000 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let base = (1 + (random >> 40) % 400) * 4096;
            if let Some(slab) = model.remove(&base) {
                tree.remove(&mut nodes, slab);
                nodes.give(slab);
            } else if let Some(slab) = nodes.take(512) {
                nodes.node(slab).slab.describe(SizeClass::Bytes8, base, 512);
                tree.insert(&mut nodes, slab);
                model.insert(base, slab);
            }
            let probe = (random >> 20) % (500 * 4096);
            let floor = model.range(..=probe).next_back().map(|(_, slab)| *slab);
            let ceiling = model.range(probe..).next().map(|(_, slab)| *slab);
            assert_eq!(tree.floor(&mut nodes, probe), floor);
            assert_eq!(tree.ceiling(&mut nodes, probe), ceiling);
        }
        let depth = check(&mut nodes, tree.root, 0, usize::MAX);
        assert!(depth <= 32, "{depth} levels for {} slabs", model.len());
        for slab in model.into_values().collect::<Vec<_>>() {
            tree.remove(&mut nodes, slab);
        }
        assert!(tree.root.is_none());
    }
}
