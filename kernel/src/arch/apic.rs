//! The local APIC: this CPU's timer, and interrupts between CPUs.
//!
//! Two ways to its registers: memory at a fixed page (xAPIC), or model-specific registers (x2APIC),
//! which are taken where the firmware switched them on or the CPU has them (Intel SDM volume 3,
//! chapter 13).

use core::sync::atomic::{AtomicU64, Ordering};

use x86_64::instructions::interrupts::without_interrupts;
use x86_64::registers::model_specific::Msr;

use super::translate;

const APIC_BASE: Msr = Msr::new(0x1b);
const ENABLED: u64 = 1 << 11;
const X2APIC: u64 = 1 << 10;

/// Registers, by their offset in the page; divided by 16 they are numbers of MSRs above 0x800.
#[derive(Debug, Clone, Copy)]
#[repr(u32)]
enum Register {
    Id = 0x20,
    EndOfInterrupt = 0xb0,
    SpuriousVector = 0xf0,
    Command = 0x300,
    CommandHigh = 0x310,
    Timer = 0x320,
    Lint0 = 0x350,
    Error = 0x370,
    TimerInitial = 0x380,
    TimerCurrent = 0x390,
    TimerDivide = 0x3e0,
}

/// Vector of the timer.
pub(crate) const TIMER: u8 = 0x40;
/// Vector that wakes a CPU to look for work.
pub(crate) const WAKE: u8 = 0x41;
/// Vector that asks a CPU to run a function.
pub(crate) const CALL: u8 = 0x42;
const ERROR: u8 = 0xfe;
/// Vector of interrupts that were withdrawn; they get no end-of-interrupt.
pub(crate) const SPURIOUS: u8 = 0xff;

const MASKED: u32 = 1 << 16;
const PERIODIC: u32 = 1 << 17;
const DELIVERY_PENDING: u32 = 1 << 12;

/// Delivery modes, with the level bit asserted (SDM volume 3, section 13.6.1).
const FIXED: u32 = 1 << 14;
const NMI: u32 = 4 << 8 | 1 << 14;
const INIT: u32 = 5 << 8 | 1 << 14;
const STARTUP: u32 = 6 << 8 | 1 << 14;

/// Virtual address of the register page, or `MODE_X2APIC`.
static PAGE: AtomicU64 = AtomicU64::new(0);
const MODE_X2APIC: u64 = 1;

fn x2apic() -> bool {
    PAGE.load(Ordering::Relaxed) == MODE_X2APIC
}

fn msr(register: Register) -> Msr {
    Msr::new(0x800 + register as u32 / 16)
}

fn read(register: Register) -> u32 {
    if x2apic() {
        // The upper half is reserved in all registers but the command.
        #[allow(clippy::cast_possible_truncation)]
        // SAFETY: an architectural register in the mode that the CPU is in.
        let value = unsafe { msr(register).read() } as u32;
        return value;
    }
    let address = (PAGE.load(Ordering::Relaxed) + u64::from(register as u32)) as *const u32;
    // SAFETY: the register page is mapped for as long as the kernel runs.
    unsafe { address.read_volatile() }
}

fn write(register: Register, value: u32) {
    if x2apic() {
        // SAFETY: as `read`; what is written where is this module's concern.
        unsafe { msr(register).write(value.into()) };
        return;
    }
    let address = (PAGE.load(Ordering::Relaxed) + u64::from(register as u32)) as *mut u32;
    // SAFETY: as `read`.
    unsafe { address.write_volatile(value) };
}

/// CPUID leaf 1: does this CPU have a local APIC, and x2APIC?
fn features() -> (bool, bool) {
    let leaf = core::arch::x86_64::__cpuid(1);
    (leaf.edx & (1 << 9) != 0, leaf.ecx & (1 << 21) != 0)
}

/// Whether the machine's local APICs are in use.
pub(crate) fn present() -> bool {
    PAGE.load(Ordering::Relaxed) != 0
}

/// Switches this CPU's APIC on. The first call decides the mode for all.
pub(crate) fn enable() -> bool {
    let (has_apic, has_x2apic) = features();
    if !has_apic {
        return false;
    }
    let mut base_register = APIC_BASE;
    // SAFETY: the CPU has an APIC, so it has this register.
    let base = unsafe { base_register.read() };
    let mode = if has_x2apic { X2APIC } else { 0 };
    // SAFETY: enabling is what the register is for; x2APIC only where it exists.
    unsafe { base_register.write(base | ENABLED) };
    // SAFETY: the same; the mode may only change from enabled to enabled with x2APIC.
    unsafe { base_register.write(base | ENABLED | mode) };
    let page = if has_x2apic {
        MODE_X2APIC
    } else {
        translate::phys_to_virt(base & 0x000f_ffff_ffff_f000) as u64
    };
    PAGE.store(page, Ordering::Relaxed);
    // The legacy interrupt controller's wire: nothing listens to it.
    write(Register::Lint0, MASKED);
    write(Register::Timer, MASKED);
    write(Register::Error, u32::from(ERROR));
    write(Register::SpuriousVector, u32::from(SPURIOUS) | 1 << 8);
    true
}

/// Whether an interrupt can be addressed to the CPU with this id. An xAPIC has eight bits for it and would cut others
/// down to another CPU's, perhaps this one's; and all ones address every CPU.
pub(crate) fn reaches(target: u32) -> bool {
    let everybody = if x2apic() { u32::MAX } else { 0xff };
    target < everybody
}

/// This CPU's APIC id.
pub(crate) fn id() -> u32 {
    let value = read(Register::Id);
    if x2apic() { value } else { value >> 24 }
}

/// Tells the APIC that the interrupt it delivered is dealt with.
pub(crate) fn end_of_interrupt() {
    write(Register::EndOfInterrupt, 0);
}

fn send(target: u32, command: u32) {
    without_interrupts(|| {
        if x2apic() {
            // SAFETY: one write sends it; the target is a CPU that the firmware listed.
            unsafe { msr(Register::Command).write(u64::from(target) << 32 | u64::from(command)) };
            return;
        }
        // An interrupt handler that sends between these two writes would change the target: hence
        // with interrupts off. The non-maskable one never sends.
        while read(Register::Command) & DELIVERY_PENDING != 0 {
            core::hint::spin_loop();
        }
        write(Register::CommandHigh, target << 24);
        write(Register::Command, command);
    });
}

/// Sends an ordinary interrupt to another CPU.
pub(crate) fn send_interrupt(target: u32, vector: u8) {
    send(target, FIXED | u32::from(vector));
}

/// Sends a non-maskable interrupt to another CPU.
pub(crate) fn send_nmi(target: u32) {
    send(target, NMI);
}

/// Resets another CPU; it then waits for [`send_startup`].
pub(crate) fn send_init(target: u32) {
    send(target, INIT);
}

/// Starts a CPU in real mode at physical page `page`.
pub(crate) fn send_startup(target: u32, page: u8) {
    send(target, STARTUP | u32::from(page));
}

/// Lets the timer of this CPU interrupt every `count` of its steps; 0 stops it.
pub(crate) fn set_timer(count: u32) {
    // Divide by 16.
    write(Register::TimerDivide, 0b0011);
    let mode = if count == 0 { MASKED } else { PERIODIC };
    write(Register::Timer, mode | u32::from(TIMER));
    write(Register::TimerInitial, count);
}

/// Runs the timer down from its highest count, and returns how far it came while `wait` ran.
pub(crate) fn measure_timer(wait: impl FnOnce()) -> u32 {
    write(Register::TimerDivide, 0b0011);
    write(Register::Timer, MASKED);
    write(Register::TimerInitial, u32::MAX);
    wait();
    let left = read(Register::TimerCurrent);
    write(Register::TimerInitial, 0);
    u32::MAX - left
}
