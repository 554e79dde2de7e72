//! Time, by the time stamp counter.
//!
//! Under TCG that counter is the host's and the same for all CPUs; where QEMU counts instructions
//! (`-icount`) it counts the nanoseconds that those take, and repeats exactly.

use core::arch::x86_64::_rdtsc;
use core::sync::atomic::{AtomicU64, Ordering};

/// Ticks per second until somebody has measured them: those of `-icount`.
const ASSUMED: u64 = 1_000_000_000;

static HZ: AtomicU64 = AtomicU64::new(ASSUMED);

/// The counter.
pub(crate) fn ticks() -> u64 {
    // SAFETY: every 64-bit CPU has the instruction, and nothing here forbids it.
    unsafe { _rdtsc() }
}

/// How far the counter goes in a second.
pub(crate) fn per_second() -> u64 {
    HZ.load(Ordering::Relaxed)
}

/// The counter's way in so many milliseconds.
pub(crate) fn from_ms(ms: u64) -> u64 {
    scale(per_second(), ms, 1000)
}

/// Milliseconds that so many ticks are.
pub(crate) fn to_ms(ticks: u64) -> u64 {
    scale(ticks, 1000, per_second())
}

/// Microseconds that so many ticks are.
pub(crate) fn to_us(ticks: u64) -> u64 {
    scale(ticks, 1_000_000, per_second())
}

/// `value * by / of`, which may not fit into 64 bits on the way.
fn scale(value: u64, by: u64, of: u64) -> u64 {
    let scaled = u128::from(value) * u128::from(by) / u128::from(of.max(1));
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

/// Takes a measurement: the counter went on by `elapsed` while a clock of `rate` steps a second
/// made `steps`.
pub(super) fn calibrate(elapsed: u64, steps: u64, rate: u64) {
    if steps != 0 && elapsed != 0 {
        HZ.store(scale(elapsed, rate, steps).max(1), Ordering::Relaxed);
    }
}
