//! An interrupt at every instruction.
//!
//! With the trap flag set, the CPU raises a debug exception behind every instruction (Intel SDM volume 3,
//! section 18.3.1.4). Where interrupts are enabled that is as good as an interrupt which happens to
//! come just there: so code that has to bear interrupts anywhere can be shown to.

use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use x86_64::registers::rflags::{self, RFlags};

use super::traps::TrapFrame;

/// What runs behind every instruction, a `fn()`; null for nothing.
static HOOK: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());
/// How often it ran.
static COUNT: AtomicU64 = AtomicU64::new(0);

/// Runs `body`, and `hook` behind every instruction of it that is executed with interrupts enabled.
/// Returns how often that was. Called from the boot CPU's main stack.
pub(crate) fn during(hook: fn(), body: impl FnOnce()) -> u64 {
    COUNT.store(0, Ordering::Relaxed);
    HOOK.store(hook as *mut (), Ordering::Release);
    set_trap_flag(true);
    body();
    set_trap_flag(false);
    HOOK.store(core::ptr::null_mut(), Ordering::Release);
    COUNT.load(Ordering::Relaxed)
}

#[inline(never)]
fn set_trap_flag(on: bool) {
    let mut flags = rflags::read();
    flags.set(RFlags::TRAP_FLAG, on);
    // SAFETY: the debug exception has a handler, which returns as long as there is a hook.
    unsafe { rflags::write(flags) };
}

/// Answers a debug exception; false if it is not one of these.
pub(super) fn handle(frame: &TrapFrame) -> bool {
    let hook = HOOK.load(Ordering::Acquire);
    if hook.is_null() {
        return false;
    }
    if RFlags::from_bits_truncate(frame.rflags).contains(RFlags::INTERRUPT_FLAG) {
        COUNT.fetch_add(1, Ordering::Relaxed);
        // SAFETY: only `during` stores there, and it stores a `fn()`.
        let hook = unsafe { core::mem::transmute::<*mut (), fn()>(hook) };
        hook();
    }
    true
}
