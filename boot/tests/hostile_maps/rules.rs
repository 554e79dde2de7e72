//! What must hold of every map.

use twinframe_boot::memmap::{Class, DropReason, MemoryMap, PAGE_SIZE, Verdict};

pub(crate) const PAGE: u128 = PAGE_SIZE as u128;
pub(crate) const TOP: u128 = 1 << 64;

/// Base and true end (may lie beyond the top) of a pair of bounds.
pub(crate) fn claim(start: u64, end: u64) -> (u128, u128) {
    let length = end.wrapping_sub(start);
    (u128::from(start), u128::from(start) + u128::from(length))
}

/// Every entry has the verdict that it deserves, and every byte is counted once.
pub(crate) fn check_report(map: &MemoryMap<'_>, class: Class) {
    let report = map.report(class);
    let totals = report.totals();
    let (mut managed, mut lost) = (0_u128, 0_u128);
    let mut reached = 0_u128;
    for row in report.rows() {
        let (start, end) = claim(row.entry.start, row.entry.end);
        managed += u128::from(row.managed);
        lost += u128::from(row.lost);
        let wanted = Class::of(row.entry.kind) == class;
        let own = if wanted && end <= TOP {
            let own = end.saturating_sub(start.max(reached));
            reached = reached.max(end);
            own
        } else {
            0
        };
        assert_eq!(u128::from(row.managed) + u128::from(row.lost), own, "{row}");
        match row.verdict {
            Verdict::Added => assert!(wanted && row.managed > 0, "{row}"),
            Verdict::Kept(kept) => assert!(kept != class && !wanted && end <= TOP, "{row}"),
            Verdict::KeptToTop(kept) => assert!(kept != class && !wanted && end > TOP, "{row}"),
            Verdict::Dropped(reason) => match reason {
                DropReason::Empty => assert_eq!(start, end, "{row}"),
                DropReason::Wraps => assert!(wanted && end > TOP, "{row}"),
                DropReason::Duplicate => assert!(wanted && own == 0 && start < end, "{row}"),
                DropReason::NoWholePage => assert!(wanted && own > 0, "{row}"),
            },
        }
    }
    let in_regions: u128 = map
        .regions(class)
        .map(|region| u128::from(region.pages()) * PAGE)
        .sum();
    assert_eq!(managed, in_regions, "{report}");
    let saturated = |sum: u128| u64::try_from(sum).unwrap_or(u64::MAX);
    assert_eq!(totals.managed, saturated(managed));
    assert_eq!(totals.lost, saturated(lost));
    assert_eq!(totals.entries, map.firmware().len());
    assert_eq!(totals.regions, map.regions(class).count());
    assert_eq!(report.to_string().lines().count(), totals.entries + 2);
}
