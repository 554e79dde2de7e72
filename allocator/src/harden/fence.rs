//! An object between its red zones.
//!
//! ```text
//! | size, encoded | red ...            | the object: layout.size() | red, to the end of the class |
//! | word          | to the alignment   |                           | a word at least              |
//! |<------------- front -------------->|                           |                              |
//! ```
//!
//! The front zone is as long as the alignment, and two words at least, so the object is aligned if
//! the whole is. The size is at the far end of it: what runs over the object's beginning hits the
//! pattern first.

use core::alloc::Layout;

use super::pattern::{Difference, RED, unlike, unlike_word};
use crate::objects::SizeClass;

const WORD: usize = size_of::<usize>();

/// The layout of an object and its red zones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fence {
    /// What is allocated.
    pub(crate) outer: Layout,
    /// Where in it the object begins.
    pub(crate) front: usize,
    /// The object's size.
    pub(crate) size: usize,
}

/// What the red zones say when an object is freed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Intact,
    /// The object was allocated with another size.
    Layout,
    /// This byte was overwritten; offsets are counted from the beginning of the whole.
    Overwritten(Difference),
}

impl Fence {
    /// For objects, not for what is served by pages anyway.
    pub(crate) fn of(layout: Layout) -> Option<Self> {
        SizeClass::from_layout(layout)?;
        let align = layout.align().max(WORD);
        let front = align.max(2 * WORD);
        let outer = Layout::from_size_align(front + layout.size() + WORD, align).ok()?;
        Some(Self {
            outer,
            front,
            size: layout.size(),
        })
    }

    /// Fills the zones of an object: `front` bytes before it, and all there are behind it.
    pub(crate) fn write(&self, before: &mut [u8], behind: &mut [u8]) {
        let (header, gap) = before.split_at_mut(WORD);
        header.copy_from_slice(&self.header().to_ne_bytes());
        gap.fill(RED);
        behind.fill(RED);
    }

    /// Looks at the zones of an object.
    pub(crate) fn judge(&self, before: &[u8], behind: &[u8]) -> Verdict {
        let (header, gap) = before.split_at(WORD);
        let header = header.try_into().map_or(0, usize::from_ne_bytes);
        if self.names_another_size(header, || unlike(gap, RED).is_none()) {
            return Verdict::Layout;
        }
        let shifted = |difference: Difference, by: usize| Difference {
            offset: difference.offset + by,
            ..difference
        };
        let end = self.front + self.size;
        unlike_word(header, self.header())
            .or_else(|| unlike(gap, RED).map(|difference| shifted(difference, WORD)))
            .or_else(|| unlike(behind, RED).map(|difference| shifted(difference, end)))
            .map_or(Verdict::Intact, Verdict::Overwritten)
    }

    /// Whether what lies before an object says that it was allocated with another size. This reads the
    /// `front` bytes there and writes nothing.
    ///
    /// # Safety
    ///
    /// `whole` is aligned to a word, and as many bytes can be read there.
    pub(crate) unsafe fn is_of_another_size(&self, whole: *const u8) -> bool {
        // The object may be another's, who writes meanwhile.
        // SAFETY: the caller says so.
        let header = unsafe { whole.cast::<usize>().read_volatile() };
        self.names_another_size(header, || {
            (WORD..self.front).all(|at| {
                // SAFETY: inside the front zone.
                let byte = unsafe { whole.add(at) };
                // SAFETY: as above.
                unsafe { byte.read_volatile() == RED }
            })
        })
    }

    fn names_another_size(&self, header: usize, is_gap_whole: impl FnOnce() -> bool) -> bool {
        // With the pattern whole beside it, a header that makes sense is one that was written.
        header != self.header() && is_size(header ^ SECRET) && is_gap_whole()
    }

    fn header(&self) -> usize {
        self.size ^ SECRET
    }
}

/// Makes the header of an object unlike what programs write.
#[expect(clippy::cast_possible_truncation, reason = "the low half will do")]
const SECRET: usize = 0x9d5b_31c7_e24f_a683_u64 as usize;

const fn is_size(size: usize) -> bool {
    size <= 2048
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::vec;

    fn fences() -> impl Iterator<Item = (Layout, Fence)> {
        let sizes = [0, 1, 7, 8, 50, 100, 1000, 2000, 2048];
        let aligns = (0..=11).map(|shift| 1_usize << shift);
        aligns
            .flat_map(move |align| sizes.map(|size| Layout::from_size_align(size, align)))
            .map(|layout| layout.expect("a valid layout"))
            .filter_map(|layout| Some((layout, Fence::of(layout)?)))
    }

    #[test]
    fn objects_are_aligned_and_have_both_zones() {
        assert!(fences().count() > 80);
        for (layout, fence) in fences() {
            assert_eq!(fence.front % layout.align(), 0);
            assert_eq!(fence.outer.align() % layout.align(), 0);
            assert!(fence.front >= 2 * WORD);
            assert!(fence.outer.size() >= fence.front + layout.size() + WORD);
        }
        let large = Layout::new::<[u8; 2049]>();
        assert_eq!(Fence::of(large), None);
    }

    #[test]
    fn every_byte_of_the_zones_counts_and_no_byte_of_the_object() {
        for (layout, fence) in fences() {
            let mut whole = vec![0xee; fence.outer.size() + 40];
            let object = fence.front..fence.front + layout.size();
            let (before, rest) = whole.split_at_mut(object.start);
            fence.write(before, &mut rest[layout.size()..]);
            assert!(whole[object.clone()].iter().all(|byte| *byte == 0xee));
            let judge = |whole: &[u8]| fence.judge(&whole[..object.start], &whole[object.end..]);
            assert_eq!(judge(&whole), Verdict::Intact);
            for at in (0..whole.len()).filter(|at| !object.contains(at)) {
                let expected = whole[at];
                whole[at] ^= 0x80;
                let difference = Difference {
                    offset: at,
                    expected,
                    found: whole[at],
                };
                // In the header, the top bit of the lowest byte makes another size of it.
                let verdict = judge(&whole);
                assert!(
                    verdict == Verdict::Overwritten(difference)
                        || at < WORD && verdict == Verdict::Layout,
                    "{layout:?}, byte {at}: {verdict:?}"
                );
                whole[at] = expected;
            }
        }
    }

    #[test]
    fn another_size_is_noticed() {
        let fence = |size| Fence::of(Layout::from_size_align(size, 8).expect("a layout"));
        let (right, wrong) = (fence(100).expect("small"), fence(101).expect("small"));
        let (mut before, mut behind) = ([0; 2 * WORD], [0; 20]);
        right.write(&mut before, &mut behind);
        assert_eq!(wrong.judge(&before, &behind[1..]), Verdict::Layout);
        assert_eq!(right.judge(&before, &behind), Verdict::Intact);
    }
}
