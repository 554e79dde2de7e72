//! Where blocks that leave a stack are cut from those that stay.

use super::cache::BATCH;
use super::entry::Entry;

/// How many of a stack's oldest blocks, of `1 << log2` bytes each, to give back instead of `about` so many.
///
/// Who frees many blocks mostly frees them in the order of their addresses, up or down. Cut anywhere, such a run goes back in pieces, which
/// merge one by one as the rest follows. So it is cut where a group of blocks begins that will be one block: a power of two of them,
/// about as many as are to go. What is no run is cut where it was to be.
pub(super) fn cut(entries: &[Entry], about: usize, log2: u32) -> usize {
    let about = about.min(BATCH - 1);
    let group = 1 << (about + 1).ilog2();
    let place = |index: usize| entries.get(index).map_or(0, |entry| entry.addr >> log2);
    // Within half a group more or less.
    let least = about / 2 + 1;
    let (last, next) = (place(least - 1), place(least));
    let more = if last < next {
        group - 1 - last % group
    } else {
        last % group
    };
    let most = least + more;
    let count = if most <= BATCH { most } else { most - group };
    if count == 0 || count >= entries.len() {
        return about;
    }
    let (last, next) = (place(count - 1), place(count));
    let border = last.max(next);
    if border - last.min(next) == 1 && border % group == 0 {
        count
    } else {
        about
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use core::sync::atomic::AtomicU8;
    use std::vec::Vec;

    use super::*;

    static STATE: AtomicU8 = AtomicU8::new(0);

    /// How many of a stack with these blocks of 4 KiB go.
    fn cut_of(blocks: impl Iterator<Item = usize>, about: usize) -> usize {
        let entries: Vec<Entry> = blocks
            .map(|block| Entry::new(block << 12, &STATE))
            .collect();
        cut(&entries, about, 12)
    }

    #[test]
    fn what_stays_begins_where_a_group_does() {
        for first in 64..128 {
            let up = cut_of(first..first + 16, 7);
            assert!((4..=11).contains(&up) && (first + up) % 8 == 0);
            let down = cut_of((first..first + 16).rev(), 7);
            assert!((4..=11).contains(&down) && (first + 16 - down) % 8 == 0);
            let long = cut_of(first..first + 64, 31);
            assert!((1..=BATCH).contains(&long) && (first + long) % 32 == 0);
        }
        assert_eq!(cut_of(64..128, 63), BATCH);
        assert_eq!(cut_of(64..68, 1), 2);
    }

    #[test]
    fn other_blocks_are_cut_where_they_were_to_be() {
        for about in [1, 3, 7, 31] {
            assert_eq!(cut_of((0..64).map(|i| 64 + 2 * i), about), about);
            assert_eq!(cut_of((0..64).map(|i| 64 + i * 27 % 64), about), about);
            assert_eq!(cut_of(core::iter::empty(), about), about);
        }
        // A run that ends before it could be cut.
        assert_eq!(cut_of(61..66, 7), 7);
    }
}
