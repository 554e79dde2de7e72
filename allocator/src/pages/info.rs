//! What the allocator says about itself.

use core::fmt;

use super::frame::{Blocks, ORDERS, Order};
use super::node::Node;
use super::section::SectionRef;
use super::zone::{ZONES, Zone};
use super::zones::Zones;

/// A section as its users see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ManagedSection {
    /// First address that can be allocated.
    pub start: usize,
    /// Bytes that can be allocated, from `start` on.
    pub size: usize,
    /// Pages that are free.
    pub free_pages: usize,
    /// All pages.
    pub total_pages: usize,
    /// The physical address of `start`.
    pub phys: u64,
    /// The zone that all of the section lies in.
    pub zone: Zone,
    /// The NUMA node that all of the section lies on.
    pub node: usize,
    /// Bytes of metadata in front of `start`.
    pub metadata: usize,
    /// The order of the largest block that the section can have.
    pub max_order: usize,
}

impl ManagedSection {
    pub(super) fn new<const PAGE_SIZE: usize>(section: SectionRef) -> Self {
        Self {
            start: section.start(),
            size: section.end() - section.start(),
            free_pages: section.free_pages(),
            total_pages: section.pages(),
            phys: section.first().number() as u64 * PAGE_SIZE as u64,
            zone: section.zone(),
            node: section.node().index(),
            metadata: section.start() - section.hold(),
            max_order: section.max_order().index(),
        }
    }
}

/// A CPU's page caches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CpuInfo {
    /// Pages in the caches now.
    pub cached_pages: usize,
    /// How often an empty cache was filled.
    pub refills: usize,
    /// How often a full one was emptied to a half.
    pub drains: usize,
}

/// Free memory of a zone, by order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ZoneInfo {
    /// The zone.
    pub zone: Zone,
    /// Pages under management.
    pub managed_pages: usize,
    /// Pages that are free.
    pub free_pages: usize,
    /// Pages of the zone, on all nodes together, that stay free for requests that cannot use a higher
    /// zone.
    pub reserved_pages: usize,
    /// Free blocks of every order. Pages that have never been used count as the blocks they will
    /// be.
    pub free_blocks: [usize; ORDERS],
}

impl ZoneInfo {
    /// The largest order that has a free block.
    #[must_use]
    pub fn largest_order(&self) -> Option<usize> {
        self.free_blocks.iter().rposition(|blocks| *blocks != 0)
    }

    /// Why an allocation of `order` would fail, in thousandths: towards 0 for lack of memory,
    /// towards 1000 because memory is in too small pieces; -1000 if it would succeed.
    ///
    /// Linux's `extfrag_index`: `1000 - (1000 + free_pages * 1000 / requested) / free_blocks`.
    #[must_use]
    pub fn fragmentation_index(&self, order: usize) -> i32 {
        let suitable = self
            .free_blocks
            .iter()
            .skip(order)
            .any(|blocks| *blocks != 0);
        if suitable {
            return -1000;
        }
        let blocks: usize = self.free_blocks.iter().sum();
        if blocks == 0 || order > Order::MAX.index() {
            return 0;
        }
        let index = (1000 + self.free_pages * 1000 / (1 << order)) / blocks;
        1000 - i32::try_from(index).unwrap_or(1000)
    }

    /// How much of the free memory is in blocks below `order`, in thousandths (Linux's
    /// `unusable_index`).
    #[must_use]
    pub fn unusable_index(&self, order: usize) -> i32 {
        let usable: usize = self
            .free_blocks
            .iter()
            .enumerate()
            .skip(order)
            .map(|(order, blocks)| blocks << order)
            .sum();
        let unusable = (self.free_pages - usable) * 1000;
        unusable
            .checked_div(self.free_pages)
            .map_or(0, |share| i32::try_from(share).unwrap_or(1000))
    }
}

/// Free blocks of every zone and order; prints as `/proc/buddyinfo` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuddyInfo {
    node: usize,
    zones: [ZoneInfo; ZONES],
}

impl BuddyInfo {
    /// Adds up the sections; they are those of `node`, or all.
    pub(super) fn new<const PAGE_SIZE: usize>(
        node: Node,
        sections: impl Iterator<Item = SectionRef>,
        zones: &Zones<PAGE_SIZE>,
    ) -> Self {
        let mut info = Zone::ALL.map(|zone| ZoneInfo {
            zone,
            managed_pages: 0,
            free_pages: 0,
            reserved_pages: zones.reserve(zone, Zone::Normal),
            free_blocks: [0; ORDERS],
        });
        for section in sections {
            let zone = &mut info[section.zone().index()];
            zone.managed_pages += section.pages();
            zone.free_pages += section.free_pages();
            let blocks = &mut zone.free_blocks;
            for order in Order::all() {
                blocks[order.index()] += section.tree().count(order);
            }
            let cap = section.max_order();
            let mut untouched = section.frontier();
            // A block across the frontier counts as one, though the tree has pieces of it.
            if let Some(order) = Order::all().rev().find(|order| section.completes(*order)) {
                let start = untouched.block(order);
                for (_, piece) in Blocks::new(start, untouched, cap) {
                    blocks[piece.index()] -= 1;
                }
                blocks[order.index()] += 1;
                untouched = start.add(order.pages());
            }
            for (_, order) in Blocks::new(untouched, section.limit(), cap) {
                blocks[order.index()] += 1;
            }
        }
        Self {
            node: node.index(),
            zones: info,
        }
    }

    /// One zone.
    #[must_use]
    pub const fn zone(&self, zone: Zone) -> &ZoneInfo {
        &self.zones[zone.index()]
    }

    /// The zones that have memory, lowest first.
    pub fn zones(&self) -> impl Iterator<Item = &ZoneInfo> {
        self.zones.iter().filter(|zone| zone.managed_pages != 0)
    }
}

impl fmt::Display for BuddyInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for info in self.zones() {
            write!(f, "Node {}, zone {:>8} ", self.node, info.zone)?;
            for blocks in &info.free_blocks {
                write!(f, "{blocks:>6} ")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
