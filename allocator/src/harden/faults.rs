//! Allocations that fail because they were told to.

use core::sync::atomic::{AtomicUsize, Ordering};

/// Counts allocations, and down to the one that is to fail.
pub(crate) struct Faults {
    /// Allocations up to and including the one that fails; 0 for none.
    left: AtomicUsize,
    calls: AtomicUsize,
    failed: AtomicUsize,
}

impl Faults {
    pub(crate) const fn new() -> Self {
        Self {
            left: AtomicUsize::new(0),
            calls: AtomicUsize::new(0),
            failed: AtomicUsize::new(0),
        }
    }

    /// Makes the `nth` allocation from now on fail.
    pub(crate) fn arm(&self, nth: usize) {
        self.left.store(nth, Ordering::Relaxed);
    }

    /// Counts an allocation; whether it is the one that fails.
    pub(crate) fn strikes(&self) -> bool {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let before = self
            .left
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            });
        let strikes = before == Ok(1);
        if strikes {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
        strikes
    }

    /// Allocations so far, and how many of them were made to fail.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        (count(&self.calls), count(&self.failed))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_nth_fails_once() {
        let faults = Faults::new();
        assert!(!faults.strikes());
        faults.arm(3);
        let struck = [(); 6].map(|()| faults.strikes());
        assert_eq!(struck, [false, false, true, false, false, false]);
        faults.arm(5);
        faults.arm(0);
        assert!((0..9).all(|_| !faults.strikes()));
        assert_eq!(faults.counts(), (16, 1));
    }
}
