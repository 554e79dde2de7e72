//! A machine whose CPUs take turns on one thread.

use std::cell::Cell;

use twinframe::{Hardening, Misuse, Platform};

const CPUS: usize = 100;

/// The platform of the fuzz targets.
pub struct Host;

std::thread_local! {
    static CPU: Cell<usize> = const { Cell::new(0) };
}

/// Goes on as another CPU.
pub(crate) fn set_cpu(cpu: usize) {
    CPU.set(cpu % CPUS);
}

/// The same, with every check on.
pub struct Hardened;

macro_rules! platform {
    ($name:ty, $hardening:expr) => {
        // SAFETY: all CPUs are one thread, which is never inside the allocator when it changes its
        // number; so program order is every barrier there is, and there are no interrupts.
        unsafe impl Platform for $name {
            const MAX_CPUS: usize = CPUS;
            const HARDENING: Hardening = $hardening;

            type IrqState = ();

            fn cpu_id() -> usize {
                CPU.get()
            }

            fn virt_to_phys(virt: usize) -> u64 {
                virt as u64
            }

            fn phys_to_virt(phys: u64) -> usize {
                phys as usize
            }

            fn irq_save() {}

            unsafe fn irq_restore((): ()) {}

            fn heavy_barrier() {}

            /// The sequences make no mistake that a call does not return.
            fn misuse(what: &Misuse) {
                panic!("{what}");
            }
        }
    };
}

platform!(Host, Hardening::NONE);
platform!(
    Hardened,
    Hardening {
        // Little, so that objects leave it, too.
        quarantine: 8 * 1024,
        ..Hardening::ALL
    }
);
