//! An allocator under examination.

use core::fmt::{self, Write};

use super::ground::Ground;
use super::{bytes, ids, pages};
use crate::traits::{BaseAllocator, ByteAllocator, IdAllocator, PageAllocator};
use crate::{AllocError, AllocResult};

/// An allocator, and what is known about it.
pub struct Candidate<A> {
    /// What it is called in the report.
    pub name: &'static str,
    /// Makes one without memory.
    pub make: fn() -> A,
    /// Has it give up what it keeps for later.
    pub settle: fn(&mut A),
    /// The points that do not hold for it.
    pub exceptions: &'static [Exception],
}

/// A point that does not hold.
#[derive(Debug, Clone, Copy)]
pub struct Exception {
    /// Its name.
    pub point: &'static str,
    /// Why not.
    pub why: Why,
}

/// Why a point does not hold.
#[derive(Debug, Clone, Copy)]
pub enum Why {
    /// The allocator fails it, for this reason; the check runs, and must fail.
    Fails(&'static str),
    /// Trying it is undefined behaviour or a panic by the allocator's own documentation, for this
    /// reason; the check does not run.
    Undefined(&'static str),
}

impl Exception {
    /// The allocator fails the point, for this reason.
    #[must_use]
    pub const fn fails(point: &'static str, reason: &'static str) -> Self {
        let why = Why::Fails(reason);
        Self { point, why }
    }

    /// The point must not be tried, for this reason.
    #[must_use]
    pub const fn undefined(point: &'static str, reason: &'static str) -> Self {
        let why = Why::Undefined(reason);
        Self { point, why }
    }
}

/// What a check says; if it fails, what was seen.
pub(super) type Verdict = Result<(), &'static str>;

/// Ends a check as failed, unless the condition holds.
macro_rules! require {
    ($condition:expr, $otherwise:literal) => {
        if !$condition {
            return Err($otherwise);
        }
    };
}
pub(super) use require;

/// Whether a free was refused with one of the errors for that.
pub(super) fn is_refusal(result: AllocResult) -> bool {
    matches!(
        result,
        Err(AllocError::NotAllocated | AllocError::InvalidParam)
    )
}

/// One thing that users rely on.
pub(super) struct Point<A> {
    pub(super) name: &'static str,
    pub(super) check: fn(&mut Trial<A>) -> Verdict,
}

/// A fresh allocator, and what it may get.
pub(super) struct Trial<A> {
    pub(super) allocator: A,
    pub(super) ground: Ground,
    settle: fn(&mut A),
}

impl<A: BaseAllocator> Trial<A> {
    pub(super) fn add(&mut self, (start, size): (usize, usize)) -> AllocResult {
        // SAFETY: the ranges belong to the test, and nothing in them is used by another allocator
        // that is still asked for anything. What is handed over twice is not allocated afterwards.
        unsafe { self.allocator.add_memory(start, size) }
    }

    /// Hands the first range over.
    pub(super) fn begin(&mut self) -> Verdict {
        self.add(self.ground.main)
            .map_err(|_| "refuses memory to begin with")
    }

    pub(super) fn settle(&mut self) {
        (self.settle)(&mut self.allocator);
    }
}

impl<A: ByteAllocator> Candidate<A> {
    /// Tries every point of a [`ByteAllocator`], and writes down which ones do not hold.
    ///
    /// # Panics
    ///
    /// The list of exceptions is wrong: a point fails that is not on it, or does not fail though it
    /// is, or is none.
    pub fn examine_bytes(&self, ground: Ground, out: &mut dyn Write) {
        self.examine(&bytes::points(), ground, out);
    }
}

impl<A: PageAllocator> Candidate<A> {
    /// Tries every point of a [`PageAllocator`], and writes down which ones do not hold.
    ///
    /// # Panics
    ///
    /// As [`examine_bytes`](Self::examine_bytes).
    pub fn examine_pages(&self, ground: Ground, out: &mut dyn Write) {
        self.examine(&pages::points(), ground, out);
    }
}

impl<A: IdAllocator> Candidate<A> {
    /// Tries every point of an [`IdAllocator`], and writes down which ones do not hold.
    ///
    /// # Panics
    ///
    /// As [`examine_bytes`](Self::examine_bytes).
    pub fn examine_ids(&self, ground: Ground, out: &mut dyn Write) {
        self.examine(&ids::points(), ground, out);
    }
}

impl<A: BaseAllocator> Candidate<A> {
    fn examine(&self, points: &[Point<A>], ground: Ground, out: &mut dyn Write) {
        let name = self.name;
        for exception in self.exceptions {
            let point = exception.point;
            let known = points.iter().any(|known| known.name == point);
            assert!(known, "{name}: there is no point {point:?}");
        }
        let mut hold = 0;
        for point in points {
            let exceptions = &mut self.exceptions.iter();
            let exception = exceptions.find(|exception| exception.point == point.name);
            let why = exception.map(|exception| exception.why);
            if let Some(Why::Undefined(reason)) = why {
                line(
                    out,
                    format_args!("{name}: {}: not tried: {reason}", point.name),
                );
                continue;
            }
            let mut trial = Trial {
                allocator: (self.make)(),
                ground,
                settle: self.settle,
            };
            match ((point.check)(&mut trial), why) {
                (Ok(()), None) => hold += 1,
                (Ok(()), Some(_)) => {
                    panic!(
                        "{name}: {} holds, though it is listed as failing",
                        point.name
                    )
                }
                (Err(seen), Some(Why::Fails(reason))) => {
                    line(
                        out,
                        format_args!("{name}: {}: FAILS: {seen}: {reason}", point.name),
                    );
                }
                (Err(seen), _) => panic!("{name}: {}: {seen}", point.name),
            }
        }
        line(
            out,
            format_args!("{name}: {hold} of {} points hold", points.len()),
        );
    }
}

/// A report that cannot be written does not change what is reported.
fn line(out: &mut dyn Write, text: fmt::Arguments<'_>) {
    let _ = writeln!(out, "{text}");
}
