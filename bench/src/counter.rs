//! How many instructions work takes: by the processor's counter, else by single steps.

use std::cell::OnceCell;

/// Counts the instructions of the calling thread in user mode. Virtual machines often have no such counter, and
/// systems may forbid it.
struct Counter(libc::c_int);

/// The beginning of `struct perf_event_attr`, as long as its first version (`PERF_ATTR_SIZE_VER0`).
#[repr(C)]
#[derive(Default)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup: u32,
    breakpoint: u32,
    breakpoint_addr: u64,
}

const _: () = assert!(size_of::<Attributes>() == 64);

const HARDWARE: u32 = 0;
const INSTRUCTIONS: u64 = 1;
const EXCLUDE_KERNEL: u64 = 1 << 5;
const EXCLUDE_HYPERVISOR: u64 = 1 << 6;

impl Counter {
    fn open(kind: u32, config: u64) -> Option<Self> {
        let attributes = Attributes {
            kind,
            size: 64,
            config,
            flags: EXCLUDE_KERNEL | EXCLUDE_HYPERVISOR,
            ..Attributes::default()
        };
        let (this_thread, any_cpu, no_group, no_flags) = (0, -1, -1, 0);
        // SAFETY: the attributes are as long as they say.
        let file = unsafe {
            libc::syscall(
                libc::SYS_perf_event_open,
                &raw const attributes,
                this_thread,
                any_cpu,
                no_group,
                no_flags,
            )
        };
        let file = libc::c_int::try_from(file).ok()?;
        (file >= 0).then_some(Self(file))
    }

    fn read(&self) -> u64 {
        let mut value = 0_u64;
        // SAFETY: the buffer has the length that is given.
        let len = unsafe { libc::read(self.0, (&raw mut value).cast(), size_of::<u64>()) };
        assert_eq!(len, 8, "a counter is readable as long as it is open");
        value
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        // SAFETY: opened by us, and not used any more.
        unsafe { libc::close(self.0) };
    }
}

std::thread_local! {
    static COUNTER: OnceCell<Option<Counter>> = const { OnceCell::new() };
}

/// What the counter says now; `None` where there is none.
pub(crate) fn instructions() -> Option<u64> {
    COUNTER.with(|counter| {
        let counter = counter.get_or_init(|| Counter::open(HARDWARE, INSTRUCTIONS));
        counter.as_ref().map(Counter::read)
    })
}

/// Counts instructions by having the processor trap after each. That needs no counter, but takes
/// microseconds for each: only for short work, on one thread.
#[cfg(target_arch = "x86_64")]
pub(crate) fn step(work: impl FnOnce()) -> Option<u64> {
    use std::arch::asm;
    use std::sync::atomic::{AtomicU64, Ordering};

    static STEPS: AtomicU64 = AtomicU64::new(0);

    extern "C" fn on_trap(_: libc::c_int) {
        STEPS.fetch_add(1, Ordering::Relaxed);
    }

    // SAFETY: all zeros are a valid `sigaction`: no flags, nothing masked.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    let handler: extern "C" fn(libc::c_int) = on_trap;
    action.sa_sigaction = handler as libc::sighandler_t;
    // SAFETY: the handler touches nothing but an atomic number.
    let status = unsafe { libc::sigaction(libc::SIGTRAP, &raw const action, std::ptr::null_mut()) };
    if status != 0 {
        return None;
    }
    STEPS.store(0, Ordering::Relaxed);
    // SAFETY: sets the trap flag; each instruction then raises SIGTRAP, which has a handler.
    unsafe { asm!("pushfq", "or qword ptr [rsp], 0x100", "popfq") };
    work();
    // SAFETY: clears the trap flag.
    unsafe { asm!("pushfq", "and qword ptr [rsp], -0x101", "popfq") };
    Some(STEPS.load(Ordering::Relaxed))
}

#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn step(_: impl FnOnce()) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_arch = "x86_64")]
    fn count_down(turns: u64) {
        // SAFETY: counts a register down, in two instructions for each turn.
        unsafe {
            std::arch::asm!("2:", "dec {0}", "jnz 2b", inout(reg) turns => _, options(nostack));
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn steps_are_instructions() {
        let short = step(|| count_down(10)).expect("signals are available");
        let long = step(|| count_down(110)).expect("signals are available");
        assert_eq!(long - short, 200);
    }

    /// A counter in software goes the same way as that of the processor, and exists everywhere.
    #[test]
    fn counters_count() {
        const SOFTWARE: u32 = 1;
        const PAGE_FAULTS: u64 = 2;
        let Some(counter) = Counter::open(SOFTWARE, PAGE_FAULTS) else {
            eprintln!("this system forbids counters");
            return;
        };
        let before = counter.read();
        crate::memory::Memory::new(64 << 12, 1 << 12).touch();
        assert!(counter.read() - before >= 64);
    }
}
