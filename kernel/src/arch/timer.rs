//! The periodic interrupt of every CPU, and what it does while tests run.

use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use x86_64::instructions::port::Port;

use super::{apic, clock, percpu};

/// Ticks per second, unless there is a storm.
pub(crate) const DEFAULT_RATE: u32 = 100;

/// APIC timer steps per second.
static STEPS: AtomicU64 = AtomicU64::new(0);
/// What the handler calls, a `fn()`; null for nothing.
static HOOK: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// Frequency of the programmable interval timer, in Hz.
const PIT_HZ: u32 = 1_193_182;
/// What the APIC timer is taken to run at (divided by 16) where there is nothing to compare it with:
/// QEMU's 1 GHz.
const ASSUMED: u64 = 1_000_000_000 / 16;

/// Compares the APIC timer with the interval timer, for a hundredth of a second, and the time stamp
/// counter with both.
pub(crate) fn calibrate() {
    let mut expired = false;
    let mut elapsed = 0;
    let steps = apic::measure_timer(|| {
        let start = clock::ticks();
        expired = wait_hundredth();
        elapsed = clock::ticks().wrapping_sub(start);
    });
    let measured = if expired { u64::from(steps) * 100 } else { 0 };
    let rate = if measured == 0 { ASSUMED } else { measured };
    STEPS.store(rate, Ordering::Relaxed);
    clock::calibrate(elapsed, u64::from(steps), rate);
}

/// Waits a hundredth of a second. False if the interval timer does not run on this machine.
fn wait_hundredth() -> bool {
    let Some(hundredth) = Interval::start(10) else {
        return false;
    };
    for _ in 0..10_000_000 {
        if hundredth.over() {
            return true;
        }
        core::hint::spin_loop();
    }
    false
}

/// Waits until `done`, at most `ms` milliseconds; says if it was done. Where nothing measures time,
/// counts to a large number instead.
pub(crate) fn wait_ms(ms: u32, done: impl Fn() -> bool) -> bool {
    const SPINS_PER_MS: u32 = 20_000;
    for _ in 0..ms {
        let interval = Interval::start(1);
        for _ in 0..SPINS_PER_MS {
            if done() {
                return true;
            }
            if interval.as_ref().is_some_and(Interval::over) {
                break;
            }
            core::hint::spin_loop();
        }
    }
    done()
}

/// A count of channel 2 of the interval timer (Intel 8254), which runs without an interrupt.
struct Interval;

impl Interval {
    const CONTROL: u16 = 0x61;
    const GATE: u8 = 1;
    const SPEAKER: u8 = 2;
    const OUTPUT: u8 = 1 << 5;

    /// Starts to count `ms` milliseconds, at most 50. `None` on a machine without the timer.
    fn start(ms: u32) -> Option<Self> {
        let mut control = Port::<u8>::new(Self::CONTROL);
        let mut command = Port::<u8>::new(0x43);
        let mut counter = Port::<u8>::new(0x42);
        let [low, high, ..] = (PIT_HZ / 1000 * ms).to_le_bytes();
        // SAFETY: the PC's standard ports, which nothing else here uses.
        let value = unsafe { control.read() };
        if value == 0xff {
            return None;
        }
        let quiet = value & !(Self::GATE | Self::SPEAKER);
        // SAFETY: as above: gate off.
        unsafe { control.write(quiet) };
        // SAFETY: as above: channel 2, both bytes, interrupt on terminal count.
        unsafe { command.write(0b1011_0000) };
        // SAFETY: as above.
        unsafe { counter.write(low) };
        // SAFETY: as above.
        unsafe { counter.write(high) };
        // SAFETY: as above: gate on, the count starts.
        unsafe { control.write(quiet | Self::GATE) };
        Some(Self)
    }

    fn over(&self) -> bool {
        // SAFETY: as in `start`.
        unsafe { Port::<u8>::new(Self::CONTROL).read() & Self::OUTPUT != 0 }
    }
}

/// Timer steps between interrupts of which there are `rate` in a second.
pub(super) fn steps(rate: u32) -> u32 {
    let count = STEPS.load(Ordering::Relaxed) / u64::from(rate.max(1));
    u32::try_from(count.max(1)).unwrap_or(u32::MAX)
}

/// Starts this CPU's timer at the ordinary rate.
pub(crate) fn start() {
    apic::set_timer(steps(DEFAULT_RATE));
}

/// Has `hook` called in every timer interrupt of every CPU; `None` for nothing.
pub(crate) fn set_hook(hook: Option<fn()>) {
    let pointer = hook.map_or(core::ptr::null_mut(), |hook| hook as *mut ());
    HOOK.store(pointer, Ordering::Release);
}

/// The interrupt.
pub(super) fn handle() {
    let cpu = percpu::current();
    cpu.ticks.fetch_add(1, Ordering::Relaxed);
    let hook = HOOK.load(Ordering::Acquire);
    if !hook.is_null() {
        // SAFETY: only `set_hook` stores there, and it stores a `fn()`.
        let hook = unsafe { core::mem::transmute::<*mut (), fn()>(hook) };
        hook();
    }
    cpu.pace.next();
}
