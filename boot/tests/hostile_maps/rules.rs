//! What must hold of every map.

use bootloader_api::info::MemoryRegion;
use twinframe_boot::memmap::{
    Class, DropReason, MemoryMap, PAGE_SIZE, Reservation, Verdict, normalise,
};

pub(crate) const PAGE: u128 = PAGE_SIZE as u128;
pub(crate) const TOP: u128 = 1 << 64;

/// Base and true end (may lie beyond the top) of a pair of bounds.
pub(crate) fn claim(start: u64, end: u64) -> (u128, u128) {
    let length = end.wrapping_sub(start);
    (u128::from(start), u128::from(start) + u128::from(length))
}

/// Start and end of every region that `class` must give, wherever the claims lie.
fn model(
    firmware: &[MemoryRegion],
    reservations: &[Reservation],
    class: Class,
) -> Vec<(u128, u128)> {
    let (mut offered, mut kept) = (Vec::new(), Vec::new());
    for entry in firmware {
        let (start, end) = claim(entry.start, entry.end);
        if Class::of(entry.kind) != class {
            kept.push((start, end.min(TOP)));
        } else if end <= TOP {
            offered.push((start, end));
        }
    }
    for reservation in reservations {
        let (start, end) = claim(reservation.start, reservation.end);
        kept.push((start, end.min(TOP)));
    }
    let claims = offered.iter().chain(&kept);
    let mut bounds: Vec<u128> = claims.flat_map(|(start, end)| [*start, *end]).collect();
    bounds.sort_unstable();
    bounds.dedup();

    let mut free: Vec<(u128, u128)> = Vec::new();
    // Between two neighbouring bounds all bytes are alike.
    for bounds in bounds.windows(2) {
        let (from, to) = (bounds[0], bounds[1]);
        let within = |claims: &[(u128, u128)]| {
            claims
                .iter()
                .any(|(start, end)| *start <= from && to <= *end)
        };
        if !within(&offered) || within(&kept) {
            continue;
        }
        match free.last_mut() {
            Some(last) if last.1 == from => last.1 = to,
            _ => free.push((from, to)),
        }
    }
    free.into_iter()
        .map(|(start, end)| (start.next_multiple_of(PAGE), end / PAGE * PAGE))
        .filter(|(start, end)| start < end)
        .collect()
}

/// The regions are exactly those that the claims leave, in whatever order the claims come, and the
/// report says so.
pub(crate) fn check(firmware: &[MemoryRegion], reservations: &[Reservation], class: Class) {
    let expected = model(firmware, reservations, class);
    let (mut sorted, mut kept) = (firmware.to_vec(), reservations.to_vec());
    for _ in 0..2 {
        let map = normalise(&mut sorted, &mut kept);
        let found: Vec<_> = map
            .regions(class)
            .map(|region| {
                let start = u128::from(region.start());
                assert_eq!(region.end(), region.last().checked_add(1));
                (start, start + u128::from(region.pages()) * PAGE)
            })
            .collect();
        assert_eq!(
            found, expected,
            "{class:?} of {firmware:x?} without {reservations:x?}"
        );
        check_report(&map, class);
        sorted.reverse();
        kept.reverse();
    }
}

/// Every entry has the verdict that it deserves, and every byte is counted once.
fn check_report(map: &MemoryMap<'_>, class: Class) {
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
