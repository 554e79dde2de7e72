//! NUMA nodes: from the firmware's affinity table to numbers an allocator can use.
//!
//! The table ([`Srat`]) names nodes by arbitrary 32-bit numbers (proximity domains), lists CPUs and
//! stretches of memory in any order, and nobody has checked it. [`NodeMap`] copies what matters, so that
//! the table's memory can be given away, and numbers the nodes densely, in the order of their domains.
//! What the table does not mention counts as the first node's; where it contradicts itself, the entry
//! that comes first is right.

use crate::acpi::{CpuAffinity, MemoryAffinity, Srat};
use crate::memmap::Region;

/// The most nodes that are told apart; CPUs and memory of further ones count as the first node's.
pub const MAX_NODES: usize = 8;
/// The most stretches of memory that are kept; further ones count as the first node's.
pub const MAX_RANGES: usize = 64;
/// The most CPUs that are kept; further ones count as the first node's.
pub const MAX_CPUS: usize = 512;

/// Which CPU and which memory belongs to which node.
#[derive(Debug, Clone)]
pub struct NodeMap {
    /// In rising order.
    domains: List<u32, MAX_NODES>,
    memory: List<MemoryAffinity, MAX_RANGES>,
    cpus: List<CpuAffinity, MAX_CPUS>,
    left_out: usize,
}

/// Up to `N` values in place.
#[derive(Debug, Clone)]
struct List<T, const N: usize> {
    values: [T; N],
    len: usize,
}

impl<T: Copy, const N: usize> List<T, N> {
    const fn new(filler: T) -> Self {
        Self {
            values: [filler; N],
            len: 0,
        }
    }

    fn as_slice(&self) -> &[T] {
        &self.values[..self.len]
    }

    /// Puts a value before the one at `at`; false if there is no room.
    fn insert(&mut self, at: usize, value: T) -> bool {
        if self.len == N {
            return false;
        }
        self.values.copy_within(at..self.len, at + 1);
        self.values[at] = value;
        self.len += 1;
        true
    }

    fn push(&mut self, value: T) -> bool {
        self.insert(self.len, value)
    }
}

impl NodeMap {
    /// One node, with everything on it. For a static: it is too large to be passed around on a stack.
    pub const ONE_NODE: Self = Self {
        domains: List::new(0),
        memory: List::new(MemoryAffinity {
            start: 0,
            last: 0,
            node: 0,
            hot_pluggable: false,
            non_volatile: false,
        }),
        cpus: List::new(CpuAffinity {
            apic_id: 0,
            node: 0,
        }),
        left_out: 0,
    };

    /// Adds what the table says; what is malformed in it is passed over.
    pub fn read(&mut self, srat: &Srat<'_>) {
        self.add(srat.cpus(), srat.memory());
    }

    /// Adds CPUs and memory in the order of the table.
    fn add(
        &mut self,
        cpus: impl Iterator<Item = CpuAffinity>,
        memory: impl Iterator<Item = MemoryAffinity>,
    ) {
        for stretch in memory {
            let is_kept = self.note(stretch.node) && self.memory.push(stretch);
            self.left_out += usize::from(!is_kept);
        }
        for cpu in cpus {
            let is_kept = self.note(cpu.node) && self.cpus.push(cpu);
            self.left_out += usize::from(!is_kept);
        }
    }

    /// Gives a domain a number; false if there are too many.
    fn note(&mut self, domain: u32) -> bool {
        match self.domains.as_slice().binary_search(&domain) {
            Ok(_) => true,
            Err(at) => self.domains.insert(at, domain),
        }
    }

    fn number(&self, domain: u32) -> usize {
        self.domains.as_slice().binary_search(&domain).unwrap_or(0)
    }

    /// Number of nodes, at least one.
    #[must_use]
    pub fn count(&self) -> usize {
        self.domains.len.max(1)
    }

    /// Entries that there was no room for.
    #[must_use]
    pub const fn left_out(&self) -> usize {
        self.left_out
    }

    /// The node of the CPU with this APIC id.
    #[must_use]
    pub fn of_cpu(&self, apic_id: u32) -> usize {
        let mut cpus = self.cpus.as_slice().iter();
        let found = cpus.find(|cpu| cpu.apic_id == apic_id);
        found.map_or(0, |cpu| self.number(cpu.node))
    }

    /// The node of a physical address.
    #[must_use]
    pub fn of_address(&self, phys: u64) -> usize {
        let mut memory = self.memory.as_slice().iter();
        let found = memory.find(|memory| (memory.start..=memory.last).contains(&phys));
        found.map_or(0, |memory| self.number(memory.node))
    }

    /// Cuts a region into parts that lie on one node each, in order. A page belongs to the node of its
    /// first byte. At most 2 [`MAX_RANGES`] + 1 parts.
    pub fn split(&self, region: Region) -> impl Iterator<Item = (Region, usize)> {
        let mut rest = Some(region);
        core::iter::from_fn(move || {
            let whole = rest.take()?;
            let node = self.of_address(whole.start());
            let mut from = whole.start();
            // Borders between two stretches of the same node are none.
            let part = loop {
                let Some(border) = self.border_after(from) else {
                    break whole;
                };
                let (below, above) = whole.split_at(border);
                let (Some(below), Some(above)) = (below, above) else {
                    break whole;
                };
                if self.of_address(above.start()) != node {
                    rest = Some(above);
                    break below;
                }
                from = above.start();
            };
            Some((part, node))
        })
    }

    /// The lowest address above `phys` at which a stretch begins, or after which one ends.
    fn border_after(&self, phys: u64) -> Option<u64> {
        let memory = self.memory.as_slice().iter();
        let borders = memory.flat_map(|memory| [Some(memory.start), memory.last.checked_add(1)]);
        borders.flatten().filter(|border| *border > phys).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memmap::{self, Class};
    use bootloader_api::info::{MemoryRegion, MemoryRegionKind};
    use proptest::prelude::*;

    const GIB: u64 = 1 << 30;

    fn memory(start: u64, last: u64, node: u32) -> MemoryAffinity {
        MemoryAffinity {
            start,
            last,
            node,
            hot_pluggable: false,
            non_volatile: false,
        }
    }

    fn cpu(apic_id: u32, node: u32) -> CpuAffinity {
        CpuAffinity { apic_id, node }
    }

    fn map(cpus: &[CpuAffinity], memory: &[MemoryAffinity]) -> NodeMap {
        let mut map = NodeMap::ONE_NODE;
        map.add(cpus.iter().copied(), memory.iter().copied());
        map
    }

    fn region(start: u64, end: u64) -> Region {
        let mut firmware = [MemoryRegion {
            start,
            end,
            kind: MemoryRegionKind::Usable,
        }];
        let map = memmap::normalise(&mut firmware, &mut []);
        map.regions(Class::Usable).next().expect("a region")
    }

    fn parts(map: &NodeMap, start: u64, end: u64) -> Vec<(u64, u64, usize)> {
        map.split(region(start, end))
            .map(|(part, node)| (part.start(), part.last() + 1, node))
            .collect()
    }

    #[test]
    fn two_nodes_with_a_hole() {
        // As QEMU deals out 6 GiB to two nodes on q35: the memory of the first lies on both
        // sides of the hole below 4 GiB.
        let map = map(
            &[cpu(0, 0), cpu(1, 0), cpu(2, 1), cpu(3, 1)],
            &[
                memory(0, 0x9_ffff, 0),
                memory(0x10_0000, 2 * GIB - 1, 0),
                memory(4 * GIB, 5 * GIB - 1, 0),
                memory(5 * GIB, 8 * GIB - 1, 1),
            ],
        );
        assert_eq!(map.count(), 2);
        assert_eq!([0, 1, 2, 3, 9].map(|id| map.of_cpu(id)), [0, 0, 1, 1, 0]);
        assert_eq!(parts(&map, 0x1000, 0x9_f000), [(0x1000, 0x9_f000, 0)]);
        assert_eq!(
            parts(&map, 4 * GIB, 8 * GIB),
            [(4 * GIB, 5 * GIB, 0), (5 * GIB, 8 * GIB, 1)]
        );
    }

    #[test]
    fn borders_inside_one_node_are_none() {
        let map = map(&[], &[memory(0, GIB - 1, 7), memory(GIB, 2 * GIB - 1, 7)]);
        assert_eq!(map.count(), 1);
        assert_eq!(parts(&map, 0, 3 * GIB), [(0, 3 * GIB, 0)]);
    }

    #[test]
    fn numbers_are_dense_and_in_the_order_of_domains() {
        let map = map(
            &[cpu(4, 900), cpu(5, u32::MAX)],
            &[memory(0, GIB - 1, 900), memory(GIB, 2 * GIB - 1, 30)],
        );
        assert_eq!(map.count(), 3);
        assert_eq!(map.of_address(0), 1);
        assert_eq!(map.of_address(GIB), 0);
        assert_eq!(map.of_address(2 * GIB), 0, "not listed");
        assert_eq!((map.of_cpu(4), map.of_cpu(5)), (1, 2));
    }

    #[test]
    fn a_page_across_a_border_is_whole() {
        let map = map(&[], &[memory(0, 0x1_07ff, 0), memory(0x1_0800, GIB, 1)]);
        assert_eq!(
            parts(&map, 0xf000, 0x1_3000),
            [(0xf000, 0x1_1000, 0), (0x1_1000, 0x1_3000, 1)]
        );
    }

    #[test]
    fn what_comes_first_is_right() {
        let map = map(
            &[cpu(1, 1), cpu(1, 0)],
            &[memory(GIB, 2 * GIB - 1, 0), memory(0, u64::MAX, 1)],
        );
        assert_eq!(map.of_cpu(1), 1);
        assert_eq!(
            parts(&map, 0, 3 * GIB),
            [(0, GIB, 1), (GIB, 2 * GIB, 0), (2 * GIB, 3 * GIB, 1)]
        );
    }

    #[test]
    fn what_there_is_no_room_for_is_the_first_nodes() {
        let many: Vec<_> = (0..20).map(|node| cpu(node, node)).collect();
        let map = map(&many, &[memory(0, GIB - 1, 100)]);
        assert_eq!(map.count(), MAX_NODES);
        assert_eq!(map.left_out(), 20 - (MAX_NODES - 1));
        assert_eq!(map.of_cpu(19), 0);
        assert_eq!(map.of_address(0), MAX_NODES - 1);
    }

    #[test]
    fn no_table_entries_are_one_node() {
        let map = map(&[], &[]);
        assert_eq!(map.count(), 1);
        assert_eq!(map.of_cpu(0), 0);
        assert_eq!(parts(&map, 0, GIB), [(0, GIB, 0)]);
    }

    proptest! {
        #[test]
        fn parts_are_the_region(
            stretches in prop::collection::vec((0u64..64, 0u64..64, 0u32..4), 0..80),
            first in 0u64..40,
            pages in 1u64..40,
        ) {
            // In half pages, so that borders cut pages.
            let half = memmap::PAGE_SIZE / 2;
            let stretches = stretches.iter().map(|(start, len, node)| {
                memory(start * half, (start + len) * half + half - 1, *node)
            });
            let mut map = NodeMap::ONE_NODE;
            map.add(core::iter::empty(), stretches);
            let whole = region(first * memmap::PAGE_SIZE, (first + pages) * memmap::PAGE_SIZE);
            let mut at = whole.first_page();
            let mut before = None;
            for (part, node) in map.split(whole) {
                prop_assert_eq!(part.first_page(), at);
                prop_assert_ne!(Some(node), before, "adjacent parts differ");
                at += part.pages();
                before = Some(node);
                for page in part.first_page()..at {
                    prop_assert_eq!(map.of_address(page * memmap::PAGE_SIZE), node);
                }
            }
            prop_assert_eq!(at, whole.first_page() + whole.pages());
        }
    }
}
