//! Making every CPU do something now, whatever it is doing: barriers and forgotten translations.
//!
//! The request goes out as a non-maskable interrupt. A CPU that spins with interrupts masked, for a
//! lock that the asking CPU holds, answers all the same; an ordinary interrupt would wait for it for
//! ever.

use core::sync::atomic::{AtomicU64, Ordering, fence};

use super::{apic, percpu, space};

/// Requests so far. A CPU has answered request `n` when its own number is `n` or higher.
static REQUESTS: AtomicU64 = AtomicU64::new(0);

/// Returns when every other CPU that is online has dropped its translations and executed a full
/// memory barrier.
pub(crate) fn flush_everywhere() {
    // Before the request goes out, so that whoever answers has seen what the caller wrote.
    let request = REQUESTS.fetch_add(1, Ordering::SeqCst) + 1;
    for cpu in percpu::others() {
        apic::send_nmi(cpu.apic_id());
    }
    for cpu in percpu::others() {
        while cpu.barrier.load(Ordering::Acquire) < request {
            core::hint::spin_loop();
        }
    }
}

/// Answers a request, if there is one that this CPU has not answered; says if there was. Called by
/// the handler of the non-maskable interrupt.
pub(super) fn answer() -> bool {
    let cpu = percpu::current();
    let request = REQUESTS.load(Ordering::SeqCst);
    if cpu.barrier.load(Ordering::Relaxed) >= request {
        return false;
    }
    space::flush_own();
    fence(Ordering::SeqCst);
    cpu.barrier.store(request, Ordering::Release);
    true
}
