//! Marking the loader's own memory in the map that the kernel gets.

use bootloader_api::info::{MemoryRegion, MemoryRegionKind};
use core::ops::Range;

/// The parts of `region` outside and inside the `taken` ranges, in ascending order.
///
/// Usable memory inside a taken range becomes [`MemoryRegionKind::Bootloader`]; other kinds pass
/// through whole. `taken` is sorted and disjoint.
pub fn carve<'a>(
    region: MemoryRegion,
    taken: &'a [Range<u64>],
) -> impl Iterator<Item = MemoryRegion> + 'a {
    let taken = match region.kind {
        MemoryRegionKind::Usable => taken,
        _ => &[],
    };
    let mut position = region.start;
    let mut whole = (region.start >= region.end).then_some(region);
    core::iter::from_fn(move || {
        if let Some(degenerate) = whole.take() {
            return Some(degenerate);
        }
        if position >= region.end {
            return None;
        }
        let next = taken
            .iter()
            .find(|range| range.end > position && range.start < region.end);
        let (end, kind) = match next {
            None => (region.end, region.kind),
            Some(range) if range.start > position => (range.start, region.kind),
            Some(range) => (range.end.min(region.end), MemoryRegionKind::Bootloader),
        };
        let mut part = MemoryRegion::empty();
        part.start = position;
        part.end = end;
        part.kind = kind;
        position = end;
        Some(part)
    })
}

/// The most parts that [`carve`] makes of `regions` regions with `taken` taken ranges.
pub const fn bound(regions: usize, taken: usize) -> usize {
    regions * (2 * taken + 1)
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init)] // lists of ranges, some of one
mod tests {
    use super::*;

    fn region(start: u64, end: u64, kind: MemoryRegionKind) -> MemoryRegion {
        let mut region = MemoryRegion::empty();
        (region.start, region.end, region.kind) = (start, end, kind);
        region
    }

    fn carved(start: u64, end: u64, taken: &[Range<u64>]) -> Vec<(u64, u64, bool)> {
        carve(region(start, end, MemoryRegionKind::Usable), taken)
            .map(|part| (part.start, part.end, part.kind == MemoryRegionKind::Usable))
            .collect()
    }

    #[test]
    fn splits_around_taken_ranges() {
        assert_eq!(
            carved(10, 100, &[20..30, 30..40, 90..200]),
            [
                (10, 20, true),
                (20, 30, false),
                (30, 40, false),
                (40, 90, true),
                (90, 100, false)
            ]
        );
        assert_eq!(carved(10, 20, &[0..5, 20..30]), [(10, 20, true)]);
        assert_eq!(carved(10, 20, &[5..25]), [(10, 20, false)]);
    }

    #[test]
    fn passes_other_kinds_and_degenerate_regions_through() {
        let reserved = region(0, 100, MemoryRegionKind::UnknownBios(2));
        assert_eq!(carve(reserved, &[10..20]).collect::<Vec<_>>(), [reserved]);
        assert_eq!(carved(7, 7, &[0..10]), [(7, 7, true)]);
        assert_eq!(carved(9, 7, &[0..10]), [(9, 7, true)]);
    }

    #[test]
    fn stays_within_its_bound() {
        let taken = [20..30, 40..50];
        assert_eq!(carved(10, 100, &taken).len(), bound(1, taken.len()));
    }
}
