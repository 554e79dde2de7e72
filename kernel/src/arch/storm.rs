//! Timer interrupts as often as each CPU can take them, and no oftener.
//!
//! A fixed rate has no right value: on a slow or busy host the next interrupt is due before the handler
//! returns, the interrupted code never gets to its next instruction, and the machine seems to hang. So
//! every CPU looks, at each interrupt, at whether the code it interrupts got anything done since the last
//! one. If it did not, the next interrupt is put off for twice as long; if it did, it comes a little
//! sooner.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::percpu::{self, Cpu};
use super::{apic, timer, work};

/// The most interrupts per second and CPU that a storm aims at.
const FASTEST: u32 = 50_000;
/// What it begins with.
const FIRST: u32 = 1_000;

/// What a CPU knows of its storm.
pub(super) struct Pace {
    /// Timer steps to the next interrupt; 0 while there is no storm.
    gap: AtomicU32,
    /// How often the interrupted code got something done.
    done: AtomicU64,
    /// The same, at the last interrupt.
    seen: AtomicU64,
}

impl Pace {
    pub(super) const fn new() -> Self {
        Self {
            gap: AtomicU32::new(0),
            done: AtomicU64::new(0),
            seen: AtomicU64::new(0),
        }
    }

    /// Sets the timer for the next interrupt. Called in the timer's interrupt, behind the hook.
    pub(super) fn next(&self) {
        let gap = self.gap.load(Ordering::Relaxed);
        if gap == 0 {
            return;
        }
        let done = self.done.load(Ordering::Relaxed);
        let next = if self.seen.swap(done, Ordering::Relaxed) == done {
            gap.saturating_mul(2).min(timer::steps(timer::DEFAULT_RATE))
        } else {
            (gap - gap / 16).max(timer::steps(FASTEST))
        };
        self.gap.store(next, Ordering::Relaxed);
        apic::set_timer(next);
    }
}

/// Says that the code which the storm interrupts got something done.
pub(crate) fn progress() {
    percpu::current().pace.done.fetch_add(1, Ordering::Relaxed);
}

/// Runs `body` on all CPUs, while `hook` runs in as many timer interrupts of each as it can take, and nowhere any more
/// when this returns. `body` calls [`progress`] whenever it got something done. Called from the boot CPU's main stack.
pub(crate) fn during(hook: fn(), body: &(dyn Fn(usize) + Sync)) {
    timer::set_hook(Some(hook));
    work::on_all(&|id| {
        if apic::present() {
            begin(percpu::current());
        }
        body(id);
        if apic::present() {
            end(percpu::current());
        }
    });
    timer::set_hook(None);
    // A CPU comes to this when it has left the hook that it may have been in.
    work::on_all(&|_| {});
}

fn begin(cpu: &Cpu) {
    let first = timer::steps(FIRST);
    cpu.pace.gap.store(first, Ordering::Relaxed);
    apic::set_timer(first);
}

fn end(cpu: &Cpu) {
    // An interrupt between the two sets the timer once more; then `start` has the last word.
    cpu.pace.gap.store(0, Ordering::Relaxed);
    timer::start();
}
