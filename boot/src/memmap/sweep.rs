//! Arithmetic on streams of spans sorted by their first byte: one pass, fixed state.

use core::iter::Peekable;

use super::extent::Span;

/// The union of a sorted stream: sorted spans that neither overlap nor touch.
///
/// Touching spans are joined, for a page whose halves come from two entries is still a whole page.
#[derive(Debug, Clone)]
pub(super) struct Merged<I: Iterator<Item = Span>> {
    spans: Peekable<I>,
}

impl<I: Iterator<Item = Span>> Merged<I> {
    pub(super) fn new(sorted: I) -> Self {
        Self {
            spans: sorted.peekable(),
        }
    }
}

impl<I: Iterator<Item = Span>> Iterator for Merged<I> {
    type Item = Span;

    fn next(&mut self) -> Option<Span> {
        let mut whole = self.spans.next()?;
        // Nothing lies above the top, so saturating does not change what touches.
        while let Some(next) = self
            .spans
            .next_if(|next| next.first <= whole.last.saturating_add(1))
        {
            whole.last = whole.last.max(next.last);
        }
        Some(whole)
    }
}

/// The bytes of one stream that another does not hold.
///
/// `from` must be sorted and disjoint, and so is the result. `cut` need only be sorted by first
/// byte: a span of it that ends before the sweep's position can never matter again, and one that
/// begins after the span in hand hides no earlier one behind it.
#[derive(Debug, Clone)]
pub(super) struct Without<I, J: Iterator<Item = Span>> {
    from: I,
    /// What is left of the span in hand.
    rest: Option<Span>,
    cut: Peekable<J>,
}

impl<I: Iterator<Item = Span>, J: Iterator<Item = Span>> Without<I, J> {
    pub(super) fn new(from: I, cut: J) -> Self {
        Self {
            from,
            rest: None,
            cut: cut.peekable(),
        }
    }
}

impl<I: Iterator<Item = Span>, J: Iterator<Item = Span>> Iterator for Without<I, J> {
    type Item = Span;

    fn next(&mut self) -> Option<Span> {
        loop {
            let span = self.rest.take().or_else(|| self.from.next())?;
            while self.cut.next_if(|cut| cut.last < span.first).is_some() {}
            let Some(cut) = self.cut.peek().and_then(|cut| cut.common(span)) else {
                return Some(span);
            };
            self.rest = cut
                .last
                .checked_add(1)
                .and_then(|first| Span::new(first, span.last));
            if span.first < cut.first {
                return Span::new(span.first, cut.first - 1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(bounds: &[(u64, u64)]) -> impl Iterator<Item = Span> + Clone {
        bounds.iter().map(|&(first, last)| Span { first, last })
    }

    fn merged(bounds: &[(u64, u64)]) -> Vec<(u64, u64)> {
        Merged::new(spans(bounds))
            .map(|span| (span.first, span.last))
            .collect()
    }

    fn without(from: &[(u64, u64)], cut: &[(u64, u64)]) -> Vec<(u64, u64)> {
        Without::new(spans(from), spans(cut))
            .map(|span| (span.first, span.last))
            .collect()
    }

    #[test]
    fn merges_what_overlaps_and_what_touches() {
        assert_eq!(merged(&[]), []);
        assert_eq!(merged(&[(0, 4), (5, 9), (11, 12)]), [(0, 9), (11, 12)]);
        assert_eq!(merged(&[(0, 9), (2, 3), (4, 5), (9, 20)]), [(0, 20)]);
        assert_eq!(
            merged(&[(5, u64::MAX), (u64::MAX, u64::MAX)]),
            [(5, u64::MAX)]
        );
    }

    #[test]
    fn cuts_at_both_ends_and_in_the_middle() {
        assert_eq!(without(&[(10, 20)], &[]), [(10, 20)]);
        assert_eq!(without(&[(10, 20)], &[(0, 9), (21, 30)]), [(10, 20)]);
        assert_eq!(without(&[(10, 20)], &[(0, 10), (20, 30)]), [(11, 19)]);
        assert_eq!(without(&[(10, 20)], &[(12, 13)]), [(10, 11), (14, 20)]);
        assert_eq!(without(&[(10, 20)], &[(10, 20)]), []);
        assert_eq!(without(&[(0, u64::MAX)], &[(1, u64::MAX)]), [(0, 0)]);
    }

    #[test]
    fn one_cut_reaches_over_many_spans_and_hides_smaller_cuts() {
        assert_eq!(
            without(&[(0, 5), (10, 15), (20, 40)], &[(3, 30), (4, 4), (12, 35)]),
            [(0, 2), (36, 40)]
        );
    }
}
