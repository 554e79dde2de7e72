//! From the memory a caller hands over to sections.

use core::ops::Range;

use super::frame::{Order, Pfn};
use super::layout::{Layout, SECTION_LIMIT};
use super::node::Node;
use super::section::{HEADER, SectionRef};
use super::zone::Zone;
use crate::{AllocError, AllocResult};

/// What became of a region. The three counts of bytes sum up to the region's length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RegionReport {
    /// Sections the region was cut into: one, and one more for each zone border inside.
    pub sections: usize,
    /// Can be allocated now.
    pub managed: usize,
    /// Holds the description of the managed pages.
    pub metadata: usize,
    /// Is of no use: partial pages at both ends, and a last page beyond a zone border that has no
    /// second one to describe it.
    pub lost: usize,
}

/// A region, rounded inward to pages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Region<const PAGE_SIZE: usize> {
    start: usize,
    first: Pfn,
    pages: usize,
}

impl<const PAGE_SIZE: usize> Region<PAGE_SIZE> {
    /// The whole pages of `len` bytes at `virt`, which are at `phys` physically.
    pub(super) fn new(virt: usize, len: usize, phys: u64) -> AllocResult<Self> {
        let invalid = AllocError::InvalidParam;
        let virt_end = virt.checked_add(len).ok_or(invalid)?;
        phys.checked_add(len as u64).ok_or(invalid)?;
        let offset = virt % PAGE_SIZE;
        if virt == 0 || phys % PAGE_SIZE as u64 != offset as u64 {
            return Err(invalid);
        }
        let start = virt.checked_next_multiple_of(PAGE_SIZE).ok_or(invalid)?;
        let end = virt_end - virt_end % PAGE_SIZE;
        if start >= end {
            return Err(invalid);
        }
        let first = usize::try_from(phys.div_ceil(PAGE_SIZE as u64)).map_err(|_| invalid)?;
        let pages = (end - start) / PAGE_SIZE;
        // Where addresses have 32 bits, frame numbers end at 16 TiB, and nothing near them may wrap.
        first
            .checked_add(pages + Order::MAX.pages())
            .ok_or(invalid)?;
        Ok(Self {
            start,
            first: Pfn::new(first),
            pages,
        })
    }

    /// The addresses of the region's pages.
    pub(super) const fn virt(&self) -> Range<usize> {
        self.start..self.start + self.pages * PAGE_SIZE
    }

    /// The frames of the region's pages.
    pub(super) const fn frames(&self) -> Range<Pfn> {
        self.first..self.first.add(self.pages)
    }

    /// Does it have a page that the section has, as memory or as metadata?
    pub(super) fn overlaps(&self, section: SectionRef) -> bool {
        let virt = self.virt();
        let frames = self.frames();
        let metadata = (section.start() - section.hold()) / PAGE_SIZE;
        (virt.start < section.end() && section.hold() < virt.end)
            || (frames.start < section.limit() && section.first() < frames.end.add(metadata))
    }

    /// The sections this region makes, all on one node.
    pub(super) fn pieces(&self, node: Node) -> Pieces<PAGE_SIZE> {
        let delta = (self.start / PAGE_SIZE).wrapping_sub(self.first.number());
        Pieces {
            region: *self,
            hold: self.first,
            at: self.first,
            node,
            cap: Order::new(delta.trailing_zeros()).unwrap_or(Order::MAX),
        }
    }

    fn addr(&self, pfn: Pfn) -> usize {
        self.start + pfn.since(self.first) * PAGE_SIZE
    }
}

/// A section to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Piece {
    /// First byte of the metadata.
    pub(super) hold: usize,
    /// First managed byte.
    pub(super) start: usize,
    /// One past the last managed byte.
    pub(super) end: usize,
    pub(super) first: Pfn,
    pub(super) limit: Pfn,
    pub(super) zone: Zone,
    pub(super) node: Node,
    /// The largest order whose blocks are aligned both physically and virtually.
    cap: Order,
    pub(super) page_size: usize,
}

impl Piece {
    pub(super) fn layout(&self) -> Layout {
        Layout::new(HEADER, self.first, self.limit, self.cap, self.page_size)
    }
}

/// Cuts a region at the borders of zones and at multiples of the largest section.
///
/// Pages in front of a border that are too few for a section of their own are not lost: the
/// metadata of the section behind the border begins in them.
pub(crate) struct Pieces<const PAGE_SIZE: usize> {
    region: Region<PAGE_SIZE>,
    /// First frame that is in no piece yet.
    hold: Pfn,
    /// First frame of the zone that the next piece lies in, or later.
    at: Pfn,
    node: Node,
    cap: Order,
}

impl<const PAGE_SIZE: usize> Iterator for Pieces<PAGE_SIZE> {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        let end = self.region.frames().end;
        while self.at < end {
            let at = self.at;
            let zone = Zone::of(at.number() as u64 * PAGE_SIZE as u64);
            let section_end = Pfn::new((at.number() | (SECTION_LIMIT - 1)).saturating_add(1));
            let limit = zone.limit::<PAGE_SIZE>().min(section_end).min(end);
            self.at = limit;
            if let Some(piece) = self.piece(at, limit, zone) {
                self.hold = limit;
                return Some(piece);
            }
        }
        None
    }
}

impl<const PAGE_SIZE: usize> Pieces<PAGE_SIZE> {
    /// The section with the frames up to `limit`, none of them below `at`, whose metadata begins
    /// at `self.hold`; `None` when no page would be left to manage.
    fn piece(&self, at: Pfn, limit: Pfn, zone: Zone) -> Option<Piece> {
        let mut metadata = 1;
        loop {
            let first = at.max(self.hold.add(metadata));
            if first >= limit {
                return None;
            }
            let piece = Piece {
                hold: self.region.addr(self.hold),
                start: self.region.addr(first),
                end: self.region.addr(limit),
                first,
                limit,
                zone,
                node: self.node,
                cap: self.cap,
                page_size: PAGE_SIZE,
            };
            // Fewer managed pages never need more metadata, so this ends at the second turn, or
            // at the third where the first page changes the largest block.
            let needed = piece.layout().bytes.div_ceil(PAGE_SIZE);
            if needed <= first.since(self.hold) {
                return Some(piece);
            }
            metadata = needed;
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::vec::Vec;

    use super::*;

    const PAGE: usize = 0x1000;

    fn pieces(virt: usize, len: usize, phys: u64) -> Vec<Piece> {
        Region::<PAGE>::new(virt, len, phys)
            .unwrap()
            .pieces(Node::FIRST)
            .collect()
    }

    #[test]
    fn nonsense_is_refused() {
        for (virt, len, phys) in [
            (0x10_0000, 0, 0x10_0000),
            (0x10_0000, PAGE - 1, 0x10_0000),
            (0x10_0001, 2 * PAGE - 2, 0x10_0001),
            (0x10_0000, 8 * PAGE, 0x10_0800),
            (0, 8 * PAGE, 0),
            (usize::MAX - 8 * PAGE + 1, 8 * PAGE, 0),
            (usize::MAX - 100, 8 * PAGE, 0),
            (0x10_0000, 8 * PAGE, u64::MAX - 8 * 4096 + 1),
            (0x10_0000, usize::MAX, 0x10_0000),
        ] {
            let region = Region::<PAGE>::new(virt, len, phys);
            assert_eq!(
                region.err(),
                Some(AllocError::InvalidParam),
                "{virt:#x} {len:#x}"
            );
        }
    }

    #[test]
    #[cfg(target_pointer_width = "32")]
    fn frames_end_where_their_numbers_do() {
        for phys in [
            (1 << 44) - (1 << 20),
            (1 << 44) - (1 << 32),
            1 << 44,
            1 << 50,
        ] {
            let region = Region::<PAGE>::new(0x10_0000, 1 << 20, phys);
            assert_eq!(region.err(), Some(AllocError::InvalidParam), "{phys:#x}");
        }
        assert!(Region::<PAGE>::new(0x10_0000, 1 << 20, (1 << 44) - (1 << 33)).is_ok());
    }

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn a_region_is_cut_at_zone_borders() {
        let found = pieces(1 << 20, 8 << 30, 1 << 20);
        let zones: Vec<_> = found.iter().map(|piece| piece.zone).collect();
        assert_eq!(zones, [Zone::Dma, Zone::Dma32, Zone::Normal]);
        assert_eq!(found[0].end, 16 << 20);
        assert_eq!(found[1].hold, 16 << 20);
        assert_eq!(found[1].end, 4 << 30);
        assert!(found.iter().all(|piece| piece.hold < piece.start));
    }

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn pages_before_a_border_become_metadata_of_the_next_piece() {
        let start = (4 << 30) - PAGE;
        let found = pieces(start, 1 << 30, start as u64);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].zone, Zone::Normal);
        assert_eq!(found[0].hold, start);
    }

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn four_tebibytes_are_a_few_sections() {
        let found = pieces(1 << 32, 4 << 40, 1 << 32);
        assert_eq!(found.len(), 3);
        assert!(
            found
                .iter()
                .all(|piece| piece.limit.since(piece.first) <= SECTION_LIMIT)
        );
    }
}
