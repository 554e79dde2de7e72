//! The calls of an entry point, one by one.

use alloc::vec::Vec;
use core::sync::atomic::{Ordering, compiler_fence};

use crate::arch::{clock, masked};
use crate::suites::counted::Counted;

/// All calls of an entry point in a situation.
pub(super) struct Calls {
    counted: Counted,
    /// What it takes to measure nothing.
    empty: u64,
    lengths: Vec<u64>,
    longest_masked: u64,
}

impl Calls {
    /// None yet, and room for `most`: nothing is allocated later.
    pub(super) fn new(counted: Counted, most: usize) -> Self {
        let mut calls = Self {
            counted,
            empty: 0,
            lengths: Vec::with_capacity(most),
            longest_masked: 0,
        };
        calls.time(|| ());
        calls.empty = calls.lengths.pop().unwrap_or(0);
        calls
    }

    /// Whether there have been as many as there is room for.
    pub(super) fn is_full(&self) -> bool {
        self.lengths.len() == self.lengths.capacity()
    }

    /// For how many calls there is room.
    pub(super) fn room(&self) -> usize {
        self.lengths.capacity()
    }

    /// Makes a call. To see how long interrupts are masked in it takes some instructions each time that they
    /// are; they count as the call's.
    #[inline(never)]
    pub(super) fn time<R>(&mut self, call: impl FnOnce() -> R) -> R {
        let ((result, ticks), masked) = masked::watch(|| {
            let start = clock::ticks();
            compiler_fence(Ordering::SeqCst);
            let result = call();
            compiler_fence(Ordering::SeqCst);
            (result, clock::ticks() - start)
        });
        let [length, masked] = [ticks, masked].map(|ticks| self.counted.instructions(ticks));
        self.longest_masked = self.longest_masked.max(masked);
        if !self.is_full() {
            self.lengths.push(length.saturating_sub(self.empty));
        }
        result
    }

    /// The length that `part` of `of` calls do not exceed.
    pub(super) fn percentile(&mut self, part: usize, of: usize) -> u64 {
        self.lengths.sort_unstable();
        let index = (self.lengths.len() * part).div_ceil(of).saturating_sub(1);
        self.lengths.get(index).copied().unwrap_or(0)
    }

    pub(super) const fn longest_masked(&self) -> u64 {
        self.longest_masked
    }
}
