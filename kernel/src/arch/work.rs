//! Running a function on other CPUs: as their work, or in the middle of it.

use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use x86_64::instructions::interrupts;

use super::apic;
use super::halt;
use super::percpu::{self, Cpu, MAX_CPUS};

/// What a CPU is asked to do. Lives on the asker's stack until it is done.
struct Request<'a> {
    run: &'a (dyn Fn(usize) + Sync),
    left: AtomicUsize,
}

/// One place for a request a CPU and kind; null while there is none.
struct Slots([AtomicPtr<Request<'static>>; MAX_CPUS]);

impl Slots {
    const fn new() -> Self {
        Self([const { AtomicPtr::new(core::ptr::null_mut()) }; MAX_CPUS])
    }

    /// Puts a request there, once the last one has been taken.
    fn post(&self, cpu: &Cpu, request: &Request<'_>) {
        let pointer = core::ptr::from_ref(request)
            .cast::<Request<'static>>()
            .cast_mut();
        while self.0[cpu.id()]
            .compare_exchange(
                core::ptr::null_mut(),
                pointer,
                Ordering::AcqRel,
                Ordering::Relaxed,
            )
            .is_err()
        {
            // The CPU that asked before may wait for us.
            serve();
            core::hint::spin_loop();
        }
    }

    /// Takes and runs this CPU's request, if there is one.
    fn take(&self, id: usize) -> bool {
        let pointer = self.0[id].swap(core::ptr::null_mut(), Ordering::AcqRel);
        // SAFETY: null, or a request whose owner waits until `left` is 0.
        let Some(request) = (unsafe { pointer.as_ref() }) else {
            return false;
        };
        (request.run)(id);
        // The owner may go on now: nothing of the request is touched after this.
        request.left.fetch_sub(1, Ordering::Release);
        true
    }
}

static WORK: Slots = Slots::new();
static CALLS: Slots = Slots::new();

/// Answers calls of other CPUs from a loop that waits with interrupts off.
fn serve() {
    if !interrupts::are_enabled() {
        CALLS.take(percpu::current().id());
    }
}

fn wait(request: &Request<'_>) {
    while request.left.load(Ordering::Acquire) != 0 {
        serve();
        core::hint::spin_loop();
    }
}

fn ask<'a>(
    slots: &Slots,
    vector: u8,
    targets: impl Iterator<Item = &'a Cpu> + Clone,
    request: &Request<'_>,
) {
    for cpu in targets {
        slots.post(cpu, request);
        apic::send_interrupt(cpu.apic_id(), vector);
    }
}

/// Runs `body` on every CPU that is online, this one included, all at once and with interrupts on,
/// and returns when all are done. `body` gets the CPU's number. Only the boot CPU calls this, from its
/// main stack.
pub(crate) fn on_all(body: &(dyn Fn(usize) + Sync)) {
    let targets = percpu::others();
    let request = Request {
        run: body,
        left: AtomicUsize::new(targets.clone().count()),
    };
    ask(&WORK, apic::WAKE, targets, &request);
    body(percpu::current().id());
    wait(&request);
}

/// Interrupts CPU `id`, has it run `body` in the handler, and returns when that is done. May be called
/// from any CPU, with interrupts on or off. False if that CPU is not online.
pub(crate) fn interrupt(id: usize, body: &(dyn Fn(usize) + Sync)) -> bool {
    if id == percpu::current().id() {
        interrupts::without_interrupts(|| body(id));
        return true;
    }
    let Some(target) = percpu::others().find(|cpu| cpu.id() == id) else {
        return false;
    };
    let request = Request {
        run: body,
        left: AtomicUsize::new(1),
    };
    ask(&CALLS, apic::CALL, core::iter::once(target), &request);
    wait(&request);
    true
}

/// The handler of a call.
pub(super) fn handle_call() {
    // One interrupt may stand for several calls that came in a row.
    while CALLS.take(percpu::current().id()) {}
}

/// The life of a CPU that is not the boot CPU: work when there is some, else sleep.
pub(super) fn idle() -> ! {
    let id = percpu::current().id();
    loop {
        interrupts::disable();
        if WORK.0[id].load(Ordering::Acquire).is_null() {
            halt::until_interrupt();
        } else {
            interrupts::enable();
            WORK.take(id);
        }
    }
}
