//! This machine, as the allocator sees it.

use twinframe::{Misuse, Platform};
use x86_64::instructions::interrupts;

use crate::arch::{masked, percpu, shootdown, translate};
use crate::nodes;

/// The one machine the kernel runs on.
pub(crate) struct Machine;

// SAFETY: every CPU has its own structure with a number of its own; the direct map is linear, and
// inverse to itself; with interrupts masked nothing runs on this CPU that allocates (the handler of the
// non-maskable interrupt does not), and code is never moved between CPUs; a barrier is answered by every
// CPU online, even with interrupts masked; nothing here allocates.
unsafe impl Platform for Machine {
    const MAX_CPUS: usize = percpu::MAX_CPUS;

    /// Whether interrupts were enabled.
    type IrqState = bool;

    fn cpu_id() -> usize {
        percpu::id()
    }

    fn virt_to_phys(virt: usize) -> u64 {
        match translate::virt_to_phys(virt) {
            Some(phys) => phys,
            None => panic!("{virt:#x} is not mapped, so it has no physical address"),
        }
    }

    fn phys_to_virt(phys: u64) -> usize {
        translate::phys_to_virt(phys)
    }

    fn node_of_cpu(cpu: usize) -> usize {
        percpu::node_of(cpu)
    }

    fn node_of_phys(phys: u64) -> usize {
        nodes::of_address(phys)
    }

    fn irq_save() -> bool {
        let enabled = interrupts::are_enabled();
        interrupts::disable();
        if enabled {
            masked::begins();
        }
        enabled
    }

    unsafe fn irq_restore(enabled: bool) {
        if enabled {
            masked::ends();
            interrupts::enable();
        }
    }

    fn misuse(what: &Misuse) {
        panic!("misuse of the heap: {what}");
    }

    fn heavy_barrier() {
        shootdown::flush_everywhere();
    }
}
