//! Whole pages.

use super::extent::Span;

/// Size of a page in bytes. Regions begin and end at multiples of it.
pub const PAGE_SIZE: u64 = 4096;

const _: () = assert!(PAGE_SIZE.is_power_of_two());

/// A non-empty run of whole physical pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    // Page numbers, inclusive. As addresses divided by the page size they are below 2^52, so that
    // there is room for every sum of them.
    first: u64,
    last: u64,
}

impl Region {
    /// The whole pages inside a span of bytes, if there are any.
    pub(super) fn inside(span: Span) -> Option<Self> {
        let first = span.first.div_ceil(PAGE_SIZE);
        let last_is_whole = span.last % PAGE_SIZE == PAGE_SIZE - 1;
        let end = span.last / PAGE_SIZE + u64::from(last_is_whole);
        (first < end).then(|| Self {
            first,
            last: end - 1,
        })
    }

    /// Physical address of the first byte.
    #[must_use]
    pub const fn start(self) -> u64 {
        self.first * PAGE_SIZE
    }

    /// Physical address of the last byte. (The address after it may be 2^64.)
    #[must_use]
    pub const fn last(self) -> u64 {
        self.last * PAGE_SIZE + (PAGE_SIZE - 1)
    }

    /// Physical address after the last byte; `None` if the region ends at 2^64.
    #[must_use]
    pub const fn end(self) -> Option<u64> {
        self.last().checked_add(1)
    }

    /// Number of the first page.
    #[must_use]
    pub const fn first_page(self) -> u64 {
        self.first
    }

    /// Number of pages, at least one.
    #[must_use]
    pub const fn pages(self) -> u64 {
        self.last - self.first + 1
    }

    /// Number of bytes. That of the whole address space, 2^64, saturates.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.pages().saturating_mul(PAGE_SIZE)
    }

    /// The pages that begin below `address`, and the others.
    #[must_use]
    pub fn split_at(self, address: u64) -> (Option<Self>, Option<Self>) {
        let border = address.div_ceil(PAGE_SIZE);
        let below = Self {
            last: self.last.min(border.saturating_sub(1)),
            ..self
        };
        let above = Self {
            first: self.first.max(border),
            ..self
        };
        (
            (border > self.first).then_some(below),
            (border <= self.last).then_some(above),
        )
    }

    pub(super) const fn span(self) -> Span {
        Span {
            first: self.start(),
            last: self.last(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inside(first: u64, last: u64) -> Option<(u64, u64)> {
        let region = Region::inside(Span::new(first, last)?)?;
        assert_eq!(region.last() - region.start(), region.bytes() - 1);
        Some((region.start(), region.pages()))
    }

    #[test]
    fn splits_at_page_borders() {
        let region = inside_of(0x2000, 0x5fff);
        let part = |first, last| Some(inside_of(first, last));
        assert_eq!(region.split_at(0), (None, Some(region)));
        assert_eq!(region.split_at(0x2000), (None, Some(region)));
        // The page that a border cuts begins below it.
        for border in [0x2001, 0x3000] {
            let parts = (part(0x2000, 0x2fff), part(0x3000, 0x5fff));
            assert_eq!(region.split_at(border), parts, "{border:#x}");
        }
        assert_eq!(region.split_at(0x5001), (Some(region), None));
        assert_eq!(region.split_at(0x6000), (Some(region), None));
        assert_eq!(region.split_at(u64::MAX), (Some(region), None));
    }

    fn inside_of(first: u64, last: u64) -> Region {
        Region::inside(Span::new(first, last).unwrap()).unwrap()
    }

    #[test]
    fn rounds_inward() {
        assert_eq!(inside(0, 0xfff), Some((0, 1)));
        assert_eq!(inside(0, 0xffe), None);
        assert_eq!(inside(1, 0x1fff), Some((0x1000, 1)));
        assert_eq!(inside(1, 0x1ffe), None);
        assert_eq!(inside(0x1001, 0x1002), None);
        assert_eq!(inside(0x1000, 0x3ffe), Some((0x1000, 2)));
    }

    #[test]
    fn reaches_the_top_and_no_further() {
        assert_eq!(inside(u64::MAX - 0xfff, u64::MAX), Some((!0xfff, 1)));
        assert_eq!(inside(u64::MAX - 0xffe, u64::MAX), None);
        let all = Region::inside(Span {
            first: 0,
            last: u64::MAX,
        })
        .unwrap();
        assert_eq!(all.pages(), 1 << 52);
        assert_eq!(all.bytes(), u64::MAX);
        assert_eq!(all.end(), None);
    }
}
