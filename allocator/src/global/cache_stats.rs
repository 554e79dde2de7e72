//! What an object cache counts.

use core::fmt;
use core::sync::atomic::{AtomicUsize, Ordering};

/// A snapshot of an [`ObjectCache`](crate::ObjectCache).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheStats {
    /// The cache's name.
    pub name: &'static str,
    /// Bytes of an object, alignment included.
    pub object_size: usize,
    /// Objects handed out so far.
    pub allocations: usize,
    /// Objects taken back so far.
    pub frees: usize,
}

impl CacheStats {
    /// Objects handed out and not yet taken back.
    #[must_use]
    pub const fn live(&self) -> usize {
        self.allocations.saturating_sub(self.frees)
    }
}

impl fmt::Display for CacheStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<16} {:>10} live, {:>10} allocated, {:>10} freed, {} bytes each",
            self.name,
            self.live(),
            self.allocations,
            self.frees,
            self.object_size
        )
    }
}

/// CPUs that are so far apart share a line.
const LINES: usize = 8;

#[repr(align(64))]
struct Line {
    allocations: AtomicUsize,
    frees: AtomicUsize,
}

/// Sums over several cache lines, so that CPUs do not count on the same one.
pub(super) struct Counters([Line; LINES]);

impl Counters {
    pub(super) const fn new() -> Self {
        Self(
            [const {
                Line {
                    allocations: AtomicUsize::new(0),
                    frees: AtomicUsize::new(0),
                }
            }; LINES],
        )
    }

    pub(super) fn count_allocations(&self, cpu: usize, count: usize) {
        self.0[cpu % LINES]
            .allocations
            .fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn count_frees(&self, cpu: usize, count: usize) {
        self.0[cpu % LINES]
            .frees
            .fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn sum(&self, name: &'static str, object_size: usize) -> CacheStats {
        let total = |counter: fn(&Line) -> &AtomicUsize| {
            self.0
                .iter()
                .map(|line| counter(line).load(Ordering::Relaxed))
                .fold(0, usize::wrapping_add)
        };
        CacheStats {
            name,
            object_size,
            allocations: total(|line| &line.allocations),
            frees: total(|line| &line.frees),
        }
    }
}
