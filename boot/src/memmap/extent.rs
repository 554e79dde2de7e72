//! What the two bounds of an entry can mean.

use bootloader_api::info::MemoryRegion;

/// A range of bytes that holds at least one. Its bounds are inclusive, so that it can end at the
/// very top of the address space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) first: u64,
    pub(super) last: u64,
}

impl Span {
    pub(super) const fn new(first: u64, last: u64) -> Option<Self> {
        if first <= last {
            Some(Self { first, last })
        } else {
            None
        }
    }

    /// The bytes that both hold.
    pub(super) fn common(self, other: Self) -> Option<Self> {
        Self::new(self.first.max(other.first), self.last.min(other.last))
    }

    /// Number of bytes; that of the whole address space, 2^64, saturates.
    pub(super) const fn len(self) -> u64 {
        (self.last - self.first).saturating_add(1)
    }
}

/// The claim that a pair of bounds makes, where `end` is exclusive and modulo 2^64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// No length.
    Empty,
    /// A range of the address space.
    Span(Span),
    /// Would end beyond 2^64.
    Wraps { first: u64 },
}

impl Extent {
    pub(super) const fn new(start: u64, end: u64) -> Self {
        if start == end {
            return Self::Empty;
        }
        // An end of 0 is the top of the address space: its last byte is `u64::MAX`.
        match Span::new(start, end.wrapping_sub(1)) {
            Some(span) => Self::Span(span),
            None => Self::Wraps { first: start },
        }
    }

    pub(super) const fn of(entry: &MemoryRegion) -> Self {
        Self::new(entry.start, entry.end)
    }

    /// The bytes it claims, if it offers memory: a length that cannot be true is not believed.
    pub(super) const fn as_offered(self) -> Option<Span> {
        match self {
            Self::Span(span) => Some(span),
            Self::Empty | Self::Wraps { .. } => None,
        }
    }

    /// The bytes it claims, if it keeps memory from us: a length that cannot be true is believed as
    /// far as the address space goes.
    pub(super) const fn as_kept(self) -> Option<Span> {
        match self {
            Self::Span(span) => Some(span),
            Self::Empty => None,
            Self::Wraps { first } => Span::new(first, u64::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_mean_what_a_length_modulo_two_to_the_64_means() {
        assert_eq!(Extent::new(0, 0), Extent::Empty);
        assert_eq!(Extent::new(u64::MAX, u64::MAX), Extent::Empty);
        let span = |first, last| Extent::Span(Span { first, last });
        assert_eq!(Extent::new(0, 1), span(0, 0));
        assert_eq!(Extent::new(0, u64::MAX), span(0, u64::MAX - 1));
        assert_eq!(Extent::new(1, 0), span(1, u64::MAX));
        assert_eq!(Extent::new(u64::MAX, 0), span(u64::MAX, u64::MAX));
        assert_eq!(Extent::new(2, 1), Extent::Wraps { first: 2 });
        assert_eq!(Extent::new(u64::MAX, 1), Extent::Wraps { first: u64::MAX });
    }

    #[test]
    fn a_wrapping_claim_offers_nothing_and_keeps_all_above() {
        let wraps = Extent::new(0x5000, 0x1000);
        assert_eq!(wraps.as_offered(), None);
        assert_eq!(wraps.as_kept(), Span::new(0x5000, u64::MAX));
    }

    #[test]
    fn the_length_of_everything_saturates() {
        assert_eq!(Span::new(0, u64::MAX).map(Span::len), Some(u64::MAX));
        assert_eq!(Span::new(1, u64::MAX).map(Span::len), Some(u64::MAX));
        assert_eq!(Span::new(7, 7).map(Span::len), Some(1));
    }
}
