//! The sections of one zone, in lists by their largest block.

use super::frame::{Order, Pfn};
use super::reclaim::Watermarks;
use super::request::Demand;
use super::section::SectionRef;
use super::zone::ZONES;

/// Room for every value of [`Section::available`]. List 0 is always empty.
const BUCKETS: usize = u32::BITS as usize;
const _: () = assert!(Order::MAX.index() + 1 < BUCKETS);

/// A zone's sections and how full they are.
pub(super) struct ZoneSections {
    /// A list of sections for every [`Section::available`] that is not 0.
    pub(super) buckets: [Option<SectionRef>; BUCKETS],
    /// Which of the lists have a member, as bits.
    pub(super) filled: u32,
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
        buckets: [None; BUCKETS],
        filled: 0,
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

    /// A section that can give a block of `order`: one of those that come closest.
    #[inline]
    pub(super) fn pick(&self, order: Order) -> Option<SectionRef> {
        let fitting = self.filled & (u32::MAX << (order.log2() + 1));
        // Without one, this is list 0.
        self.buckets[fitting.trailing_zeros() as usize % BUCKETS]
    }

    /// All sections that have a free page.
    fn iter(&self) -> impl Iterator<Item = SectionRef> {
        self.buckets
            .iter()
            .flat_map(|head| core::iter::successors(*head, |section| section.bucket_next.get()))
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
        let head = self.buckets[bucket as usize].replace(section);
        if let Some(head) = head {
            head.bucket_previous.set(Some(section));
        }
        section.bucket_next.set(head);
        section.bucket_previous.set(None);
        self.filled |= 1 << bucket;
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
        match previous {
            Some(previous) => previous.bucket_next.set(next),
            None => self.buckets[bucket as usize] = next,
        }
        if self.buckets[bucket as usize].is_none() {
            self.filled &= !(1 << bucket);
        }
    }

    /// Takes pages for the demand from this zone. `within` says that every page of the zone is
    /// below the demand's limit.
    #[inline]
    pub(super) fn take(&mut self, demand: &Demand, within: bool) -> Option<(SectionRef, Pfn)> {
        let (section, pfn) = match self.pick(demand.need) {
            Some(section) if within => (section, section.take(demand)?),
            _ => self.take_oddly(demand, within)?,
        };
        self.free -= demand.count;
        self.settle(section);
        Some((section, pfn))
    }

    /// Takes pages where that is not simply the best section's best block.
    #[cold]
    #[inline(never)]
    fn take_oddly(&self, demand: &Demand, within: bool) -> Option<(SectionRef, Pfn)> {
        if within {
            let section = self.iter().find(|section| section.completes(demand.need))?;
            return section.take(demand).map(|pfn| (section, pfn));
        }
        self.iter()
            .filter(|section| section.first() < demand.limit)
            .find_map(|section| section.take_below(demand).map(|pfn| (section, pfn)))
    }
}
