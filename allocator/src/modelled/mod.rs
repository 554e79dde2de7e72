//! The machine of the model checker's models, and its atomics.

pub(crate) mod atomics;

use core::cell::Cell;

use loom::sync::atomic::{Ordering, fence};
use loom::thread;

use crate::Platform;

/// A machine on which a thread is a CPU.
pub(crate) struct Machine;

loom::thread_local! {
    static CPU: Cell<usize> = Cell::new(0);
}

impl Machine {
    /// Gives the thread that calls a number.
    pub(crate) fn set_cpu(cpu: usize) {
        CPU.with(|own| own.set(cpu));
    }
}

// SAFETY: a thread has one number while it runs; the barrier, which both sides execute, orders what the
// light and the heavy one would; the models do not mask interrupts.
unsafe impl Platform for Machine {
    const MAX_CPUS: usize = 3;
    type IrqState = ();

    fn cpu_id() -> usize {
        CPU.with(Cell::get)
    }

    fn virt_to_phys(virt: usize) -> u64 {
        virt as u64
    }

    fn phys_to_virt(phys: u64) -> usize {
        usize::try_from(phys).unwrap()
    }

    fn irq_save() {}

    unsafe fn irq_restore((): ()) {}

    fn heavy_barrier() {
        fence(Ordering::SeqCst);
        thread::yield_now();
    }

    fn relax() {
        thread::yield_now();
    }
}
