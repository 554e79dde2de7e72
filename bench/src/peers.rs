//! What the peers want to be given before they link.

use std::panic::Location;
use std::sync::atomic::{AtomicBool, Ordering};

use ax_sync::interface::{AcquireResult, ContextState, LockMetadata};
use buddy_slab_allocator::{PerCpuSlab, SlabPoolTrait, StaticSlabPool, interface::BuddySlabIf};

use crate::platform::Host;

struct Interface;

#[ax_crate_interface::impl_interface]
impl BuddySlabIf for Interface {
    fn virt_to_phys(vaddr: usize) -> usize {
        vaddr
    }

    fn slab_pool() -> &'static dyn SlabPoolTrait {
        &SLABS
    }
}

/// CPUs of buddy-slab-allocator.
const CPUS: usize = 128;

/// The slabs of buddy-slab-allocator, which has them once in a program.
static SLABS: StaticSlabPool<4096, CPUS> =
    StaticSlabPool::new(slabs(), <Host as twinframe::Platform>::cpu_id);

const fn slabs() -> [PerCpuSlab<4096>; CPUS] {
    let mut slabs = [const { PerCpuSlab::new(0) }; CPUS];
    let mut cpu: u16 = 0;
    while (cpu as usize) < CPUS {
        slabs[cpu as usize] = PerCpuSlab::new(cpu);
        cpu += 1;
    }
    slabs
}

/// The lock of buddy-slab-allocator, which its kernel provides: a spin lock.
struct Spin;

#[ax_crate_interface::impl_interface]
impl ax_sync::interface::SpinOps for Spin {
    fn acquire(
        locked: &AtomicBool,
        _metadata: &LockMetadata,
        _lock_addr: usize,
        _context: u8,
        _subclass: u32,
        _caller: &'static Location<'static>,
    ) -> ContextState {
        while locked
            .compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed)
            .is_err()
        {
            std::hint::spin_loop();
        }
        ContextState::new(0, 0)
    }

    fn try_acquire(
        locked: &AtomicBool,
        _metadata: &LockMetadata,
        _lock_addr: usize,
        _context: u8,
        _subclass: u32,
        _caller: &'static Location<'static>,
    ) -> AcquireResult {
        let acquired = locked
            .compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed)
            .is_ok();
        AcquireResult::new(acquired, ContextState::new(0, 0))
    }

    fn release(locked: &AtomicBool, _lock_addr: usize, _context: u8, _state: ContextState) {
        locked.store(false, Ordering::Release);
    }

    fn force_release(locked: &AtomicBool, _lock_addr: usize, _context: u8) {
        locked.store(false, Ordering::Release);
    }

    fn is_locked(locked: &AtomicBool) -> bool {
        locked.load(Ordering::Acquire)
    }
}
