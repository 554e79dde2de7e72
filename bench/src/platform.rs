//! This process as a machine: a thread is a CPU, physical addresses are virtual ones.

use std::cell::Cell;

use twinframe::Platform;

/// Twinframe's platform here, with so many CPUs at most.
pub(crate) struct Host<const CPUS: usize = 64>;

std::thread_local! {
    static CPU: Cell<usize> = const { Cell::new(0) };
}

/// Makes the current thread a CPU.
pub(crate) fn set_cpu(cpu: usize) {
    CPU.set(cpu);
}

// SAFETY: every thread that measures has its own number, translation is the identity, there are
// no interrupts, and `membarrier` is the barrier asked for.
unsafe impl<const CPUS: usize> Platform for Host<CPUS> {
    const MAX_CPUS: usize = CPUS;

    type IrqState = ();

    #[inline]
    fn cpu_id() -> usize {
        CPU.get()
    }

    fn virt_to_phys(virt: usize) -> u64 {
        virt as u64
    }

    fn phys_to_virt(phys: u64) -> usize {
        usize::try_from(phys).unwrap_or(usize::MAX)
    }

    #[inline]
    fn irq_save() {}

    #[inline]
    unsafe fn irq_restore((): ()) {}

    fn heavy_barrier() {
        static REGISTERED: std::sync::Once = std::sync::Once::new();
        REGISTERED.call_once(|| membarrier(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED));
        membarrier(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED);
    }
}

fn membarrier(command: libc::c_int) {
    // SAFETY: the call has no memory arguments.
    let status = unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) };
    assert_eq!(status, 0, "membarrier is not available");
}
