//! Entry and exit of every interrupt vector.

use core::arch::global_asm;
use core::fmt;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use x86_64::VirtAddr;
use x86_64::registers::control::Cr2;

use super::{apic, halt, probe, shootdown, step, timer, work};
use crate::failure;

/// Bytes between two entry stubs.
const STUB: u64 = 16;

// Each stub makes the stack look alike (an error code, the vector) and joins the common path, which
// saves what compiled code may change: the general registers and the SSE state. The CPU aligns the
// stack to 16 bytes before it pushes (Intel SDM volume 3, section 7.14.2); 22 words later it is
// aligned again, as `fxsave` and the ABI want it.
global_asm!(
    r#"
    .pushsection .text.traps, "ax"
    .balign 16
    .global trap_stubs
trap_stubs:
    .set vector, 0
    .rept 256
    .balign 16
    .if vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || vector == 29 || vector == 30
    .else
    pushq $0
    .endif
    pushq $vector
    jmp trap_common
    .set vector, vector + 1
    .endr

trap_common:
    pushq %rax
    pushq %rcx
    pushq %rdx
    pushq %rbx
    pushq %rbp
    pushq %rsi
    pushq %rdi
    pushq %r8
    pushq %r9
    pushq %r10
    pushq %r11
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, %rdi
    subq $512, %rsp
    fxsave64 (%rsp)
    cld
    call trap_handler
    fxrstor64 (%rsp)
    addq $512, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %r11
    popq %r10
    popq %r9
    popq %r8
    popq %rdi
    popq %rsi
    popq %rbp
    popq %rbx
    popq %rdx
    popq %rcx
    popq %rax
    addq $16, %rsp
    iretq
    .popsection
    "#,
    options(att_syntax)
);

unsafe extern "C" {
    static trap_stubs: u8;
}

/// The entry address of a vector.
pub(super) fn stub(vector: u8) -> VirtAddr {
    VirtAddr::from_ptr(&raw const trap_stubs) + u64::from(vector) * STUB
}

/// The interrupted CPU, as the entry code leaves it on the stack.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct TrapFrame {
    pub(crate) r15: u64,
    pub(crate) r14: u64,
    pub(crate) r13: u64,
    pub(crate) r12: u64,
    pub(crate) r11: u64,
    pub(crate) r10: u64,
    pub(crate) r9: u64,
    pub(crate) r8: u64,
    pub(crate) rdi: u64,
    pub(crate) rsi: u64,
    pub(crate) rbp: u64,
    pub(crate) rbx: u64,
    pub(crate) rdx: u64,
    pub(crate) rcx: u64,
    pub(crate) rax: u64,
    pub(crate) vector: u64,
    pub(crate) error: u64,
    pub(crate) rip: u64,
    pub(crate) cs: u64,
    pub(crate) rflags: u64,
    pub(crate) rsp: u64,
    pub(crate) ss: u64,
}

impl TrapFrame {
    /// All registers by name, the 16 general ones first.
    const fn named(&self) -> [(&'static str, u64); 20] {
        [
            ("rax", self.rax),
            ("rbx", self.rbx),
            ("rcx", self.rcx),
            ("rdx", self.rdx),
            ("rsi", self.rsi),
            ("rdi", self.rdi),
            ("rbp", self.rbp),
            ("rsp", self.rsp),
            ("r8", self.r8),
            ("r9", self.r9),
            ("r10", self.r10),
            ("r11", self.r11),
            ("r12", self.r12),
            ("r13", self.r13),
            ("r14", self.r14),
            ("r15", self.r15),
            ("rip", self.rip),
            ("flg", self.rflags),
            ("cs", self.cs),
            ("ss", self.ss),
        ]
    }

    /// The general registers but the stack pointer, by name.
    pub(crate) fn general(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let general = self.named().into_iter().take(16);
        general.filter(|(name, _)| *name != "rsp")
    }
}

impl fmt::Display for TrapFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in self.named().chunks(4) {
            for (name, value) in row {
                write!(f, "  {name:<3} {value:016x}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// Breakpoints taken; the only trap that returns.
pub(crate) static BREAKPOINTS: AtomicU64 = AtomicU64::new(0);

/// Interrupts that nobody had asked for, or had withdrawn.
pub(crate) static SPURIOUS: AtomicU64 = AtomicU64::new(0);

const DEBUG: u8 = 1;
const NMI: u8 = 2;
const BREAKPOINT: u8 = 3;
const PAGE_FAULT: u8 = 14;

/// The name of an exception vector (Intel SDM volume 3, table 7-1).
fn name(vector: u64) -> &'static str {
    match vector {
        0 => "divide error",
        1 => "debug exception",
        2 => "non-maskable interrupt",
        4 => "overflow",
        5 => "bound range exceeded",
        6 => "invalid opcode",
        7 => "device not available",
        8 => "double fault",
        10 => "invalid task state",
        11 => "segment not present",
        12 => "stack segment fault",
        13 => "general protection fault",
        14 => "page fault",
        16 => "x87 floating-point error",
        17 => "alignment check",
        18 => "machine check",
        19 => "SIMD floating-point exception",
        21 => "control protection exception",
        32.. => "unexpected interrupt",
        _ => "reserved exception",
    }
}

/// What a vector above the exceptions calls, a `fn()`; null for nothing.
static HANDLERS: [AtomicPtr<()>; 256] = [const { AtomicPtr::new(core::ptr::null_mut()) }; 256];

/// The first vector that devices may have.
const DEVICES: u8 = 0x50;

/// Has `handler` called for interrupts of `vector`, which is 0x50 or higher and below 0xf0; says if
/// the vector was free. The end of the interrupt is signalled after it returns.
pub(crate) fn register(vector: u8, handler: fn()) -> bool {
    (DEVICES..0xf0).contains(&vector)
        && HANDLERS[usize::from(vector)]
            .compare_exchange(
                core::ptr::null_mut(),
                handler as *mut (),
                Ordering::AcqRel,
                Ordering::Relaxed,
            )
            .is_ok()
}

#[unsafe(no_mangle)]
extern "C" fn trap_handler(frame: &mut TrapFrame) {
    match u8::try_from(frame.vector).unwrap_or(u8::MAX) {
        BREAKPOINT => {
            BREAKPOINTS.fetch_add(1, Ordering::Relaxed);
        }
        NMI => {
            failure::stop_if_failing(frame);
            if !shootdown::answer() {
                SPURIOUS.fetch_add(1, Ordering::Relaxed);
            }
            halt::step_over(frame);
        }
        DEBUG if step::handle(frame) => {}
        PAGE_FAULT if probe::mend(frame) => {}
        PAGE_FAULT => failure::fault(frame, name(frame.vector), Some(Cr2::read_raw())),
        0..32 => failure::fault(frame, name(frame.vector), None),
        apic::SPURIOUS => {
            SPURIOUS.fetch_add(1, Ordering::Relaxed);
        }
        vector => {
            match vector {
                apic::TIMER => timer::handle(),
                apic::WAKE => {}
                apic::CALL => work::handle_call(),
                _ => device(frame, vector),
            }
            apic::end_of_interrupt();
        }
    }
}

fn device(frame: &TrapFrame, vector: u8) {
    let handler = HANDLERS[usize::from(vector)].load(Ordering::Acquire);
    if handler.is_null() {
        failure::fault(frame, name(frame.vector), None);
    }
    // SAFETY: only `register` stores there, and it stores a `fn()`.
    let handler = unsafe { core::mem::transmute::<*mut (), fn()>(handler) };
    handler();
}
