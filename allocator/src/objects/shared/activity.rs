//! What a CPU has done, for statistics.
//!
//! What every allocation and every free would have to write is not counted: a magazine counts what it
//! has handed out in the word that holds its length, which changes anyway, and how many objects were
//! put into it follows from that and from what is counted here, once per batch.

use core::sync::atomic::{AtomicUsize, Ordering};

use super::super::size_class::SizeClass;
use super::magazine::Magazines;

/// Counts since the CPU's first call. They wrap around.
pub(super) struct Activity([Counters; SizeClass::COUNT]);

struct Counters {
    /// Objects that came into the magazine in batches, less those that left it so; may be below 0.
    brought: AtomicUsize,
    refills: AtomicUsize,
    drains: AtomicUsize,
    /// Objects handed out by magazines that are gone.
    handed_out: AtomicUsize,
    /// Allocations and frees past the magazine.
    allocations: AtomicUsize,
    frees: AtomicUsize,
}

/// A reading of the counts of a class.
pub(super) struct Reading {
    pub(super) cached: usize,
    pub(super) allocations: usize,
    pub(super) frees: usize,
    pub(super) refills: usize,
    pub(super) drains: usize,
}

/// Adds to what one context at a time writes.
fn add(counter: &AtomicUsize, count: usize) {
    let sum = counter.load(Ordering::Relaxed).wrapping_add(count);
    counter.store(sum, Ordering::Relaxed);
}

impl Activity {
    pub(super) const fn new() -> Self {
        Self(
            [const {
                Counters {
                    brought: AtomicUsize::new(0),
                    refills: AtomicUsize::new(0),
                    drains: AtomicUsize::new(0),
                    handed_out: AtomicUsize::new(0),
                    allocations: AtomicUsize::new(0),
                    frees: AtomicUsize::new(0),
                }
            }; SizeClass::COUNT],
        )
    }

    /// A batch came into the magazine. For whoever has the magazines, as the next two.
    pub(super) fn refilled(&self, class: SizeClass, count: usize) {
        let counters = &self.0[class.index()];
        add(&counters.brought, count);
        add(&counters.refills, 1);
    }

    /// A batch left the magazine.
    pub(super) fn drained(&self, class: SizeClass, count: usize) {
        let counters = &self.0[class.index()];
        add(&counters.brought, count.wrapping_neg());
        add(&counters.drains, 1);
    }

    /// The magazines go, and are empty.
    pub(super) fn retire(&self, magazines: &Magazines) {
        for class in SizeClass::ALL {
            add(
                &self.0[class.index()].handed_out,
                magazines.handed_out(class),
            );
        }
    }

    /// An object was handed out past the magazine, perhaps by a handler.
    pub(super) fn allocated_directly(&self, class: SizeClass) {
        self.0[class.index()]
            .allocations
            .fetch_add(1, Ordering::Relaxed);
    }

    /// An object came back past the magazine, perhaps in a handler.
    pub(super) fn freed_directly(&self, class: SizeClass) {
        self.0[class.index()].frees.fetch_add(1, Ordering::Relaxed);
    }

    /// The counts, with what the magazines say that the CPU has now.
    pub(super) fn read(&self, class: SizeClass, magazines: Option<&Magazines>) -> Reading {
        let counters = &self.0[class.index()];
        let in_magazine = magazines.map_or(0, |magazines| magazines.len(class));
        let behind_it = magazines.map_or(0, |magazines| magazines.reserve.len(class));
        let handed_out = magazines
            .map_or(0, |magazines| magazines.handed_out(class))
            .wrapping_add(counters.handed_out.load(Ordering::Relaxed));
        let put_in = handed_out
            .wrapping_add(in_magazine)
            .wrapping_sub(counters.brought.load(Ordering::Relaxed));
        Reading {
            cached: in_magazine + behind_it,
            allocations: handed_out.wrapping_add(counters.allocations.load(Ordering::Relaxed)),
            frees: put_in.wrapping_add(counters.frees.load(Ordering::Relaxed)),
            refills: counters.refills.load(Ordering::Relaxed),
            drains: counters.drains.load(Ordering::Relaxed),
        }
    }
}
