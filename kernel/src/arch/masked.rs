//! For how long interrupts stay masked.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::clock;

static IS_WATCHED: AtomicBool = AtomicBool::new(false);
/// When they were masked last.
static SINCE: AtomicU64 = AtomicU64::new(0);
static LONGEST: AtomicU64 = AtomicU64::new(0);

/// Runs `body`, and returns with what it does the longest time, in ticks of the clock, for which the
/// platform was asked to keep interrupts masked on the one CPU that runs meanwhile.
pub(crate) fn watch<R>(body: impl FnOnce() -> R) -> (R, u64) {
    LONGEST.store(0, Ordering::Relaxed);
    IS_WATCHED.store(true, Ordering::Relaxed);
    let result = body();
    IS_WATCHED.store(false, Ordering::Relaxed);
    (result, LONGEST.load(Ordering::Relaxed))
}

/// Interrupts have just been masked.
pub(crate) fn begins() {
    if IS_WATCHED.load(Ordering::Relaxed) {
        SINCE.store(clock::ticks(), Ordering::Relaxed);
    }
}

/// Interrupts are about to be as they were.
pub(crate) fn ends() {
    if IS_WATCHED.load(Ordering::Relaxed) {
        let since = SINCE.load(Ordering::Relaxed);
        LONGEST.fetch_max(clock::ticks().saturating_sub(since), Ordering::Relaxed);
    }
}
