//! The host's machine, whose CPUs do something else at certain points.

use core::marker::PhantomData;
use std::thread;

use super::Host;
use crate::{Hardening, Platform};

/// What a CPU does beside. It may use the allocator wherever a handler could.
pub(crate) trait Hooks: 'static {
    const HARDENING: Hardening = Hardening::NONE;

    /// Before it masks interrupts.
    fn before_mask() {}

    /// Behind the end of what was masked; more may be masked still.
    fn behind_mask() {}

    /// Behind the end of a time for which it was pinned.
    fn behind_pin() {}

    /// Behind a barrier of all CPUs.
    fn behind_barrier() {}

    /// While it waits. What it waits for may not be running.
    fn relax() {
        thread::yield_now();
    }
}

pub(crate) struct Hooked<H>(PhantomData<H>);

// SAFETY: as for `Host`, which does all of it. What is done beside is what a handler does, or another CPU.
unsafe impl<H: Hooks> Platform for Hooked<H> {
    const MAX_CPUS: usize = 3;
    const HARDENING: Hardening = H::HARDENING;

    type IrqState = ();

    fn cpu_id() -> usize {
        Host::cpu_id()
    }

    fn virt_to_phys(virt: usize) -> u64 {
        Host::virt_to_phys(virt)
    }

    fn phys_to_virt(phys: u64) -> usize {
        Host::phys_to_virt(phys)
    }

    fn irq_save() {
        H::before_mask();
        Host::irq_save();
    }

    unsafe fn irq_restore((): ()) {
        // SAFETY: passed on to the caller.
        unsafe { Host::irq_restore(()) };
        H::behind_mask();
    }

    fn unpin() {
        H::behind_pin();
    }

    fn heavy_barrier() {
        Host::heavy_barrier();
        H::behind_barrier();
    }

    fn relax() {
        H::relax();
    }
}
