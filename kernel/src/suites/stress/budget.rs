//! How long a stress may take.

use crate::arch::clock;
use crate::{harness, settings};

/// Unless `minutes=` says otherwise.
const DEFAULT_MS: u64 = if cfg!(debug_assertions) { 250 } else { 700 };

/// The time of one stress, in ticks of the clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    start: u64,
    length: u64,
}

impl Budget {
    /// Begins now. What `minutes=` gives is shared by all that was selected of the suite.
    pub(super) fn new() -> Self {
        let ms = settings::minutes().map_or(DEFAULT_MS, |minutes| {
            u64::from(minutes) * 60_000 / harness::suite_size().max(1) as u64
        });
        Self {
            start: clock::ticks(),
            length: clock::from_ms(ms),
        }
    }

    /// Ticks since the beginning.
    pub(super) fn elapsed(&self) -> u64 {
        clock::ticks().saturating_sub(self.start)
    }

    /// All of it, in ticks.
    pub(super) const fn length(&self) -> u64 {
        self.length
    }

    pub(super) fn is_over(&self) -> bool {
        self.elapsed() >= self.length
    }
}
