//! A machine whose CPUs take turns on one thread.

use std::cell::Cell;

use twinframe::Platform;

/// The platform of the fuzz targets.
pub struct Host;

std::thread_local! {
    static CPU: Cell<usize> = const { Cell::new(0) };
}

/// Goes on as another CPU.
pub fn set_cpu(cpu: usize) {
    CPU.set(cpu % Host::MAX_CPUS);
}

// SAFETY: all CPUs are one thread, which is never inside the allocator when it changes its number;
// so program order is every barrier there is, and there are no interrupts.
unsafe impl Platform for Host {
    const MAX_CPUS: usize = 100;

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
}
