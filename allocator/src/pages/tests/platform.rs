//! A machine made of threads: each is a CPU, signals are its interrupts.

use std::cell::Cell;
use std::sync::Once;

use crate::Platform;

/// The platform of the host tests. Physical addresses are virtual ones.
pub(crate) struct Host;

/// Physical memory from here on is the second node's. CPUs are dealt out to three nodes, so those of
/// the third have no memory of their own.
pub(crate) const SECOND_NODE: u64 = 1 << 46;

std::thread_local! {
    static CPU: Cell<usize> = const { Cell::new(0) };
    static MASKED: Cell<usize> = const { Cell::new(0) };
}

/// Makes the current thread a CPU.
pub(crate) struct Cpu;

impl Cpu {
    pub(crate) fn set(id: usize) {
        register_barrier();
        CPU.set(id);
    }

    /// Would an interrupt be held back now?
    pub(crate) fn is_masked() -> bool {
        MASKED.get() != 0
    }
}

// SAFETY: tests give concurrent threads different numbers; translation is the identity; handlers
// of the tests return at once when `is_masked`; threads do not change their number while they are
// inside; `membarrier` is the barrier asked for.
unsafe impl Platform for Host {
    const MAX_CPUS: usize = 256;

    type IrqState = ();

    fn cpu_id() -> usize {
        CPU.get()
    }

    fn virt_to_phys(virt: usize) -> u64 {
        virt as u64
    }

    fn phys_to_virt(phys: u64) -> usize {
        usize::try_from(phys).unwrap()
    }

    fn node_of_cpu(cpu: usize) -> usize {
        cpu % 3
    }

    fn node_of_phys(phys: u64) -> usize {
        usize::from(phys >= SECOND_NODE)
    }

    fn irq_save() {
        MASKED.set(MASKED.get() + 1);
    }

    unsafe fn irq_restore((): ()) {
        MASKED.set(MASKED.get() - 1);
    }

    /// The thread that is waited for may not be running.
    fn relax() {
        std::thread::yield_now();
    }

    fn heavy_barrier() {
        register_barrier();
        membarrier(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED);
    }
}

fn register_barrier() {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| membarrier(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED));
}

fn membarrier(command: libc::c_int) {
    // SAFETY: the call has no memory arguments.
    let status = unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) };
    assert_eq!(status, 0, "membarrier is not available");
}
