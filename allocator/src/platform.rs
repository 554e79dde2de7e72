//! What the allocator needs to know about the machine it runs on.

use crate::{Hardening, Misuse};

/// The machine below the allocator: CPU numbers, address translation, interrupt masking, and where there
/// are several CPUs a memory barrier on all of them. The [crate's page](crate) has an implementation for
/// the threads of a process.
///
/// All calls are static: no `dyn`, no link-time symbol and no singleton, so allocators for
/// different platforms live side by side in one program.
///
/// # Safety
///
/// The allocator's soundness rests on these answers. An implementation guarantees that
///
/// 1. [`cpu_id`](Self::cpu_id) is below [`MAX_CPUS`](Self::MAX_CPUS), and two execution contexts
///    that run at the same time on different CPUs get different numbers;
/// 2. [`virt_to_phys`](Self::virt_to_phys) and [`phys_to_virt`](Self::phys_to_virt) are inverse to
///    each other over every region handed to the allocator, and linear inside one region;
/// 3. between [`irq_save`](Self::irq_save) and the matching [`irq_restore`](Self::irq_restore) no
///    interrupt handler that may call the allocator runs on this CPU, and the caller is not moved
///    to another CPU;
/// 4. between [`pin`](Self::pin) and the matching [`unpin`](Self::unpin) the caller is not moved
///    to another CPU, and nothing but interrupt handlers runs on its CPU meanwhile;
/// 5. [`heavy_barrier`](Self::heavy_barrier) does what it says;
/// 6. none of these calls allocates or frees memory.
pub unsafe trait Platform: Sized + 'static {
    /// One more than the highest CPU number. 256 and more are fine: per-CPU state is set up when a
    /// CPU first calls. At most 65536; a [`GlobalAllocator`](crate::GlobalAllocator) for more is not
    /// compiled.
    const MAX_CPUS: usize;

    /// What the allocators of this platform check beyond what they always do. What is not asked for
    /// costs nothing. The default is what the features of this crate say.
    const HARDENING: Hardening = Hardening::FEATURES;

    /// What [`irq_save`](Self::irq_save) remembers.
    type IrqState: Copy;

    /// The dense number of the CPU that runs this code. Stable while the caller is pinned
    /// (interrupts masked, or preemption off).
    fn cpu_id() -> usize;

    /// The physical address of a mapped virtual one.
    fn virt_to_phys(virt: usize) -> u64;

    /// The virtual address at which the allocator reaches physical memory.
    fn phys_to_virt(phys: u64) -> usize;

    /// The NUMA node that a CPU belongs to: its pages come from that node as long as there are some.
    /// Nodes are numbered from 0; [`MAX_NODES`](crate::MAX_NODES) are told apart.
    #[inline]
    fn node_of_cpu(_cpu: usize) -> usize {
        0
    }

    /// The NUMA node that a region of memory lies on, by the physical address of its first byte.
    /// Memory of several nodes is added as several regions.
    #[inline]
    fn node_of_phys(_phys: u64) -> usize {
        0
    }

    /// Masks interrupts on this CPU and returns the state from before.
    fn irq_save() -> Self::IrqState;

    /// Puts back what [`irq_save`](Self::irq_save) returned.
    ///
    /// # Safety
    ///
    /// `state` comes from the latest unmatched `irq_save` on this CPU.
    unsafe fn irq_restore(state: Self::IrqState);

    /// Keeps the caller on its CPU and other threads off it, until [`unpin`](Self::unpin). Nothing
    /// to do in a kernel that does not preempt itself. Calls nest.
    #[inline]
    fn pin() {}

    /// Ends what [`pin`](Self::pin) began.
    #[inline]
    fn unpin() {}

    /// Makes every other CPU execute a full memory barrier between the call and the return: what the
    /// caller wrote before the call is seen by what the other CPU does behind its barrier.
    ///
    /// This is rare: memory is short, or a section is removed. In a kernel it is an interrupt that
    /// is sent to all other CPUs and awaited; in a process it is `membarrier(2)`. It may be called
    /// by several CPUs at once and with interrupts masked, so whoever waits here must meanwhile
    /// answer the requests of others; and a CPU that waits in this allocator for more than a lock,
    /// maybe with interrupts masked, must be reached too: by an interrupt that cannot be masked, or in
    /// [`relax`](Self::relax). A CPU that is not running any code of this program counts as having
    /// executed one.
    ///
    /// Where the interrupt can be masked, a CPU that spins for a lock with interrupts masked, while the holder of that lock
    /// allocates, has to answer as well: in the loop of the lock, as in `relax`.
    #[inline]
    fn heavy_barrier() {
        const {
            assert!(
                Self::MAX_CPUS == 1,
                "a platform with several CPUs implements heavy_barrier"
            );
        }
    }

    /// Is called over and over, up to millions of times for one wait, where the allocator waits for what another CPU is about, with none of
    /// its locks held: for a claim or a drain, or until a CPU is out of its caches. A platform whose
    /// [`heavy_barrier`](Self::heavy_barrier) needs maskable interrupts answers requests here.
    ///
    /// Not where it spins for a lock: those are held for a bounded time, with interrupts masked, by
    /// CPUs that wait for nothing but further locks.
    #[inline]
    fn relax() {
        core::hint::spin_loop();
    }

    /// Is told of a mistake that the call which noticed it cannot return. Called with no lock held,
    /// from whatever context made the mistake; the default writes a line to the log.
    #[cold]
    fn misuse(what: &Misuse) {
        log::error!("twinframe: {what}");
    }
}
