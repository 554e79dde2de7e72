//! Finding memory for the boot structures.

use core::ops::Range;

use crate::PAGE_SIZE;

/// The lowest page-aligned window of `need` bytes inside one of the `usable` ranges that touches
/// none of the `blocked` ones and ends at or below `limit`.
///
/// Ranges may overlap and come in any order; empty and wrapping ones count for nothing. Takes
/// O(usable × blocked²) steps in the worst case; it runs once, over a firmware map.
pub fn find<U, B>(usable: U, blocked: B, need: u64, limit: u64) -> Option<Range<u64>>
where
    U: Iterator<Item = Range<u64>>,
    B: Iterator<Item = Range<u64>> + Clone,
{
    usable
        .filter_map(|range| lowest_in(range.start..range.end.min(limit), blocked.clone(), need))
        .min_by_key(|window| window.start)
}

fn lowest_in<B>(range: Range<u64>, blocked: B, need: u64) -> Option<Range<u64>>
where
    B: Iterator<Item = Range<u64>> + Clone,
{
    let mut start = range.start.checked_next_multiple_of(PAGE_SIZE)?;
    loop {
        let window = start..start.checked_add(need)?;
        if window.end > range.end {
            return None;
        }
        let collision = blocked
            .clone()
            .filter(|other| other.start < window.end && window.start < other.end)
            .map(|other| other.end)
            .max();
        match collision {
            None => return Some(window),
            // Strictly above the old start, so the loop ends.
            Some(end) => start = end.checked_next_multiple_of(PAGE_SIZE)?,
        }
    }
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init)] // lists of ranges, some of one
mod tests {
    use super::*;

    fn find_in(usable: &[Range<u64>], blocked: &[Range<u64>], need: u64) -> Option<Range<u64>> {
        find(
            usable.iter().cloned(),
            blocked.iter().cloned(),
            need,
            1 << 32,
        )
    }

    #[test]
    fn takes_the_lowest_gap_that_fits() {
        let usable = [0x100000..0x800000, 0..0x9f000];
        let blocked = [0..0x100000, 0x200000..0x300000];
        assert_eq!(
            find_in(&usable, &blocked, 0x100000),
            Some(0x100000..0x200000)
        );
        assert_eq!(
            find_in(&usable, &blocked, 0x101000),
            Some(0x300000..0x401000)
        );
    }

    #[test]
    fn rounds_up_to_pages() {
        let usable = [0x1234..0x4000];
        assert_eq!(find_in(&usable, &[], 0x1000), Some(0x2000..0x3000));
        assert_eq!(
            find_in(&usable, &[0x2000..0x2001], 0x1000),
            Some(0x3000..0x4000)
        );
    }

    #[test]
    fn refuses_what_does_not_fit() {
        assert_eq!(find_in(&[0x1000..0x3000], &[], 0x3000), None);
        assert_eq!(find_in(&[0x1000..0x3000], &[0x2000..0x2001], 0x2000), None);
        assert_eq!(find_in(&[0x1_0000_0000..0x2_0000_0000], &[], 0x1000), None);
        assert_eq!(find_in(&[u64::MAX - 10..u64::MAX], &[], 0x1000), None);
        assert_eq!(find_in(&[], &[], 0x1000), None);
    }
}
