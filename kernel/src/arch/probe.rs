//! Reading memory that may not be there.

use core::arch::naked_asm;

use super::traps::TrapFrame;

/// Reads a byte; `None` if the page is not mapped. Safe to ask of any address that is not a device's.
pub(crate) fn read(address: u64) -> Option<u8> {
    // SAFETY: a fault of the one instruction that reads is mended by `mend`.
    let value = unsafe { probe(address) };
    // The byte, or all ones.
    u8::try_from(value).ok()
}

/// The byte at an address, or -1.
///
/// # Safety
///
/// The address is not that of a device that a read would disturb.
#[unsafe(naked)]
unsafe extern "C" fn probe(address: u64) -> u64 {
    naked_asm!(
        "movzx eax, byte ptr [rdi]",
        "ret",
        ".global probe_failed",
        "probe_failed:",
        "mov rax, -1",
        "ret",
    )
}

unsafe extern "C" {
    static probe_failed: u8;
}

/// If a page fault is that of the reading instruction, lets it return "not mapped".
pub(super) fn mend(frame: &mut TrapFrame) -> bool {
    let reading = probe as *const () as u64;
    if frame.rip != reading {
        return false;
    }
    frame.rip = (&raw const probe_failed).addr() as u64;
    true
}
