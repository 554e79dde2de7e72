//! The end of a run that failed: what happened, where, and how it came to that.

use core::arch::asm;
use core::fmt::{self, Write};
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use x86_64::instructions::segmentation::{CS, SS, Segment};
use x86_64::registers::{read_rip, rflags};

use crate::arch::cpu::{self, Exit};
use crate::arch::traps::TrapFrame;
use crate::arch::{apic, percpu, stack};
use crate::backtrace;
use crate::console::println;
use crate::events::{self, Event, Hex, Text, Verdict};
use crate::whereabouts::{self, Place};
use crate::{harness, recent};

/// The CPU that reports: one, and once.
static REPORTER: AtomicUsize = AtomicUsize::new(NOBODY);
const NOBODY: usize = usize::MAX;
/// Failures inside the report.
static AGAIN: AtomicU32 = AtomicU32::new(0);

/// Stops all other CPUs where they are, so that the report shows one state.
fn stop_others() {
    const PATIENCE: u32 = 10_000_000;
    for other in percpu::others() {
        apic::send_nmi(other.apic_id());
    }
    for _ in 0..PATIENCE {
        if percpu::others().all(|other| other.stopped_at.load(Ordering::Acquire) != 0) {
            return;
        }
        core::hint::spin_loop();
    }
}

/// Called in the non-maskable interrupt: if some CPU reports a failure, this one is done.
pub(crate) fn stop_if_failing(frame: &TrapFrame) {
    let reporter = REPORTER.load(Ordering::Acquire);
    if reporter != NOBODY && reporter != percpu::id() {
        percpu::current()
            .stopped_at
            .store(frame.rip, Ordering::Release);
        cpu::stop()
    }
}

/// Text of limited length; what does not fit is left out.
pub(crate) struct Short<const N: usize> {
    text: [u8; N],
    length: usize,
}

impl<const N: usize> Short<N> {
    pub(crate) const EMPTY: Self = Self {
        text: [0; N],
        length: 0,
    };

    pub(crate) fn new(text: fmt::Arguments<'_>) -> Self {
        let mut short = Self::EMPTY;
        // Only a failing `Display` can stop it, and then what came before stays.
        let _ = short.write_fmt(text);
        short
    }

    pub(crate) fn as_str(&self) -> &str {
        str::from_utf8(&self.text[..self.length]).unwrap_or("(not UTF-8)")
    }
}

impl<const N: usize> Write for Short<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = N - self.length;
        let fits = text.floor_char_boundary(room.min(text.len()));
        self.text[self.length..self.length + fits].copy_from_slice(&text.as_bytes()[..fits]);
        self.length += fits;
        Ok(())
    }
}

/// Everything a report says.
struct Report<'a> {
    verdict: Verdict,
    message: fmt::Arguments<'a>,
    location: Option<fmt::Arguments<'a>>,
    registers: &'a TrapFrame,
    cr2: Option<u64>,
}

impl Report<'_> {
    /// A failure inside a report: a line if possible, and in any case the end.
    fn failed_again(&self) -> ! {
        if AGAIN.fetch_add(1, Ordering::Relaxed) == 0 {
            println!("*** failed again while reporting: {}", self.message);
            println!("    rip {:#x}", self.registers.rip);
        }
        cpu::exit(Exit::Failure)
    }

    fn deliver(&self) -> ! {
        let own = percpu::id();
        match REPORTER.compare_exchange(NOBODY, own, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => {}
            // Another CPU is reporting already, and will end the run.
            Err(other) if other != own => cpu::stop(),
            Err(_) => self.failed_again(),
        }
        stop_others();
        let message = Short::<1024>::new(self.message);
        let test = harness::running();
        println!();
        println!("*** {}", message.as_str());
        if let Some(location) = self.location {
            println!("    at {location}");
        }
        if let Some(test) = test {
            println!("    in test {test}, on CPU {own}");
        }
        println!("registers:\n{}", self.registers);
        whereabouts::print_pointers(self.registers);
        let mut frames = [Hex(0); backtrace::DEPTH];
        let mut count = 0;
        // A panic's first address is where it was called, which the chain has already.
        if self.location.is_none() {
            frames[0] = Hex(self.registers.rip);
            count = 1;
        }
        let mut callers = [Hex(0); backtrace::DEPTH];
        let found = backtrace::collect(self.registers.rbp, &mut callers);
        for caller in callers.iter().take(found.min(backtrace::DEPTH - count)) {
            frames[count] = *caller;
            count += 1;
        }
        println!("backtrace:");
        for (number, frame) in frames[..count].iter().enumerate() {
            println!("  {number:2} {:#x}", frame.0);
        }
        for other in percpu::others() {
            println!(
                "CPU {} was at {:#x}",
                other.id(),
                other.stopped_at.load(Ordering::Acquire)
            );
        }
        recent::print();
        let (passed, skipped) = harness::counts();
        events::emit(&Event::Result {
            verdict: self.verdict,
            passed,
            skipped,
            test,
            message: Some(message.as_str()),
            location: self.location.map(Text),
            rip: Some(Hex(self.registers.rip)),
            cr2: self.cr2.map(Hex),
            backtrace: &frames[..count],
        });
        cpu::exit(Exit::Failure)
    }
}

/// An exception that nothing handles.
pub(crate) fn fault(frame: &TrapFrame, name: &str, cr2: Option<u64>) -> ! {
    if let Some((stack, guard)) = cr2.and_then(stack::overflow) {
        Report {
            verdict: Verdict::StackOverflow,
            message: format_args!(
                "stack overflow: {:#x} is in the guard page {:#x}..{:#x} below {stack}",
                cr2.unwrap_or(0),
                guard.start,
                guard.end
            ),
            location: None,
            registers: frame,
            cr2,
        }
        .deliver()
    }
    let report = |message: fmt::Arguments<'_>| -> ! {
        Report {
            verdict: Verdict::Fault,
            message,
            location: None,
            registers: frame,
            cr2,
        }
        .deliver()
    };
    match cr2 {
        Some(address) => report(format_args!(
            "{name}: {} of {address:#x}, which is {}: {}",
            access(frame.error),
            if frame.error & 1 == 0 {
                "not mapped"
            } else {
                "not allowed"
            },
            Place(address)
        )),
        None => report(format_args!("{name}, error code {:#x}", frame.error)),
    }
}

/// What a page fault's error code says was tried (Intel SDM volume 3, section 5.7).
fn access(error: u64) -> &'static str {
    match (error & (1 << 4) != 0, error & (1 << 1) != 0) {
        (true, _) => "execution",
        (false, true) => "write",
        (false, false) => "read",
    }
}

/// What a called function must preserve, as it is here; the frame pointer starts the backtrace.
#[inline(always)]
fn registers() -> TrapFrame {
    macro_rules! read {
        ($register:literal) => {{
            let value: u64;
            // SAFETY: reads a register.
            unsafe {
                asm!(concat!("mov {}, ", $register), out(reg) value,
                    options(nomem, nostack, preserves_flags));
            }
            value
        }};
    }
    TrapFrame {
        rip: read_rip().as_u64(),
        rsp: read!("rsp"),
        rbp: read!("rbp"),
        rbx: read!("rbx"),
        r12: read!("r12"),
        r13: read!("r13"),
        r14: read!("r14"),
        r15: read!("r15"),
        rflags: rflags::read_raw(),
        cs: CS::get_reg().0.into(),
        ss: SS::get_reg().0.into(),
        ..TrapFrame::default()
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    x86_64::instructions::interrupts::disable();
    let registers = registers();
    let message = info.message();
    let report = |location: Option<fmt::Arguments<'_>>| -> ! {
        Report {
            verdict: Verdict::Panic,
            message: format_args!("panic: {message}"),
            location,
            registers: &registers,
            cr2: None,
        }
        .deliver()
    };
    match info.location() {
        Some(at) => report(Some(format_args!("{at}"))),
        None => report(None),
    }
}
