//! The sections of one zone, in lists by their largest block.

use super::frame::{Order, Pfn};
use super::frontier::Refusal;
use super::node::{MAX_NODES, Node};
use super::reclaim::{ReclaimRequest, Urgency, Watermarks};
use super::request::Demand;
use super::section::SectionRef;
use super::zone::{ZONES, Zone};

/// Room for every value of [`Section::available`]. List 0 is always empty.
const BUCKETS: usize = Order::MAX.index() + 2;
const _: () = assert!(BUCKETS < u32::BITS as usize);

/// The sections of a zone on one node, by how full they are.
#[derive(Clone, Copy)]
pub(super) struct Lists {
    /// A list of sections for every [`Section::available`] that is not 0.
    pub(super) buckets: [Option<SectionRef>; BUCKETS],
    /// Which of the lists have a member, as bits.
    pub(super) filled: u32,
}

impl Lists {
    const EMPTY: Self = Self {
        buckets: [None; BUCKETS],
        filled: 0,
    };

    /// A section that can give a block of `order`: one of those that come closest.
    #[inline]
    fn pick(&self, order: Order) -> Option<SectionRef> {
        let fitting = self.filled & (u32::MAX << (order.log2() + 1));
        *self.buckets.get(fitting.trailing_zeros() as usize)?
    }

    /// All sections that have a free page.
    fn iter(&self) -> impl Iterator<Item = SectionRef> {
        self.buckets
            .iter()
            .flat_map(|head| core::iter::successors(*head, |section| section.bucket_next.get()))
    }
}

/// A zone's sections and how full they are.
pub(super) struct ZoneSections {
    pub(super) nodes: [Lists; MAX_NODES],
    pub(super) managed: usize,
    pub(super) free: usize,
    /// How many free pages a request leaves here that could also have been served from the zone
    /// of that index.
    pub(super) reserve: [usize; ZONES],
    pub(super) watermarks: Watermarks,
    /// The fall below the low watermark has been told.
    pub(super) told: bool,
}

impl ZoneSections {
    pub(super) const EMPTY: Self = Self {
        nodes: [Lists::EMPTY; MAX_NODES],
        managed: 0,
        free: 0,
        reserve: [0; ZONES],
        watermarks: Watermarks {
            min: 0,
            low: 0,
            high: 0,
        },
        told: false,
    };

    /// A section of a node that can give a block of `order`: one of those that come closest.
    #[inline]
    pub(super) fn pick(&self, order: Order, node: Node) -> Option<SectionRef> {
        self.nodes[node.index()].pick(order)
    }

    /// Takes note of pages that were taken from a section.
    #[inline]
    pub(super) fn debit(&mut self, section: SectionRef, pages: usize) {
        self.free -= pages;
        self.settle(section);
    }

    /// Takes note of pages that a section got back.
    #[inline]
    pub(super) fn credit(&mut self, section: SectionRef, pages: usize) {
        self.free += pages;
        self.settle(section);
        self.recover();
    }

    /// Where enough is free, the next fall below the low watermark is to be told.
    #[inline]
    pub(super) fn recover(&mut self) {
        self.told &= self.free < self.watermarks.high;
    }

    /// Puts the section into the list that its largest block asks for.
    #[inline]
    pub(super) fn settle(&mut self, section: SectionRef) {
        if section.available() != section.bucket.get() {
            self.resettle(section);
        }
    }

    fn resettle(&mut self, section: SectionRef) {
        if !section.closing.get() {
            self.unlink(section);
            self.link(section);
        }
    }

    fn link(&mut self, section: SectionRef) {
        let bucket = section.available();
        section.bucket.set(bucket);
        if bucket == 0 {
            return;
        }
        let lists = &mut self.nodes[section.node().index()];
        let head = lists.buckets[bucket as usize].replace(section);
        if let Some(head) = head {
            head.bucket_previous.set(Some(section));
        }
        section.bucket_next.set(head);
        section.bucket_previous.set(None);
        lists.filled |= 1 << bucket;
    }

    pub(super) fn unlink(&mut self, section: SectionRef) {
        let bucket = section.bucket.replace(0);
        if bucket == 0 {
            return;
        }
        let (previous, next) = (section.bucket_previous.take(), section.bucket_next.take());
        if let Some(next) = next {
            next.bucket_previous.set(previous);
        }
        let lists = &mut self.nodes[section.node().index()];
        match previous {
            Some(previous) => previous.bucket_next.set(next),
            None => lists.buckets[bucket as usize] = next,
        }
        if lists.buckets[bucket as usize].is_none() {
            lists.filled &= !(1 << bucket);
        }
    }

    /// Takes pages where that is not simply the best section's best block. `within` says that every page of the zone
    /// is below the demand's limit. Of a section where they are far it says only which it is.
    #[cold]
    #[inline(never)]
    pub(super) fn find(
        &self,
        demand: &Demand,
        within: bool,
        node: Node,
    ) -> Option<(SectionRef, Option<(Pfn, usize)>)> {
        let found = |section: SectionRef, taken| match taken {
            Ok(taken) => Some((section, Some(taken))),
            Err(Refusal::Far) => Some((section, None)),
            Err(Refusal::Taken) => None,
        };
        let lists = &self.nodes[node.index()];
        if within {
            let section = lists
                .iter()
                .find(|section| section.completes(demand.need))?;
            return found(section, section.take(demand, demand.order));
        }
        lists
            .iter()
            .filter(|section| section.first() < demand.limit)
            .find_map(|section| found(section, section.take_below(demand)))
    }

    /// What the callback is to be told of so few free pages, unless it has been told.
    #[cold]
    pub(super) fn tell(&mut self, zone: Zone, order: Order) -> Option<ReclaimRequest> {
        let urgency = if self.free < self.watermarks.min {
            Urgency::Min
        } else if self.told {
            return None;
        } else {
            Urgency::Low
        };
        self.told = true;
        Some(ReclaimRequest {
            urgency,
            order: order.index(),
            pages: self.watermarks.high - self.free,
            zone,
            max_phys: zone.last(),
        })
    }
}
