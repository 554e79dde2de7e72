//! Which of a row of things are taken, a bit each.

use core::ops::Range;

const BITS: usize = usize::BITS as usize;

/// Up to `WORDS` machine words of bits, one for each thing; set means taken.
///
/// Invariant: `used` bits below `len` are set, none from `len` on, and none below `low` is clear.
pub(super) struct Runs<const WORDS: usize> {
    words: [usize; WORDS],
    len: usize,
    used: usize,
    /// Where a search begins.
    low: usize,
}

impl<const WORDS: usize> Runs<WORDS> {
    /// The longest row.
    pub(super) const CAPACITY: usize = WORDS * BITS;

    pub(super) const fn new() -> Self {
        Self {
            words: [0; WORDS],
            len: 0,
            used: 0,
            low: 0,
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) const fn used(&self) -> usize {
        self.used
    }

    /// Makes the row longer by `count` free things; says whether there is room for them.
    pub(super) fn extend(&mut self, count: usize) -> bool {
        if count > Self::CAPACITY - self.len {
            return false;
        }
        self.len += count;
        true
    }

    /// The first run of `count` free things whose position plus `offset` is a multiple of `align`, a
    /// power of two. Looks at every word at most twice for each multiple of the alignment in it.
    pub(super) fn find(&self, count: usize, align: usize, offset: usize) -> Option<usize> {
        let aligned = |position: usize| {
            let number = offset.checked_add(position)?;
            Some(number.checked_next_multiple_of(align)? - offset)
        };
        let mut start = aligned(self.low)?;
        loop {
            let end = start.checked_add(count).filter(|end| *end <= self.len)?;
            match self.last_taken(start..end) {
                Some(taken) => start = aligned(taken + 1)?,
                None => return Some(start),
            }
        }
    }

    pub(super) fn is_taken(&self, position: usize) -> bool {
        position < self.len && self.words[position / BITS] >> (position % BITS) & 1 != 0
    }

    /// Whether the run lies inside the row and all of it is free.
    pub(super) fn all_free(&self, run: Range<usize>) -> bool {
        run.end <= self.len && self.last_taken(run).is_none()
    }

    /// Whether the run lies inside the row and all of it is taken.
    pub(super) fn all_taken(&self, run: Range<usize>) -> bool {
        run.end <= self.len && masks(run).all(|(word, mask)| self.words[word] & mask == mask)
    }

    /// Takes a run that is free.
    pub(super) fn take(&mut self, run: Range<usize>) {
        self.used += run.len();
        if self.low == run.start {
            self.low = run.end;
        }
        for (word, mask) in masks(run) {
            self.words[word] |= mask;
        }
    }

    /// Gives a run back that is taken.
    pub(super) fn give(&mut self, run: Range<usize>) {
        self.used -= run.len();
        self.low = self.low.min(run.start);
        for (word, mask) in masks(run) {
            self.words[word] &= !mask;
        }
    }

    fn last_taken(&self, run: Range<usize>) -> Option<usize> {
        let (first, last) = (run.start / BITS, run.end.div_ceil(BITS));
        (first..last).rev().find_map(|word| {
            let taken = self.words[word] & mask(word, &run);
            (taken != 0).then(|| word * BITS + taken.ilog2() as usize)
        })
    }
}

/// The words that a run touches, each with the bits of the run.
fn masks(run: Range<usize>) -> impl Iterator<Item = (usize, usize)> {
    (run.start / BITS..run.end.div_ceil(BITS)).map(move |word| (word, mask(word, &run)))
}

/// The bits of `word` that belong to the run.
fn mask(word: usize, run: &Range<usize>) -> usize {
    let from = run.start.saturating_sub(word * BITS);
    let to = (run.end - word * BITS).min(BITS);
    usize::MAX << from & usize::MAX >> (BITS - to)
}
