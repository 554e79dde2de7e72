//! Sleeping until the next interrupt, none of which is slept through.
//!
//! Who sleeps has asked with interrupts masked whether there is something to do. An interrupt that is taken between `sti` and
//! `hlt` would be over before the CPU sleeps; `sti` holds interrupts back for one instruction, so that none is (Intel SDM volume 2, `STI`). But the
//! non-maskable interrupt comes all the same, and when its handler returns, nothing is held back any more. So that
//! handler never returns to a `hlt`.

use x86_64::VirtAddr;
use x86_64::instructions::interrupts;

use super::image;
use super::traps::TrapFrame;

/// The instruction, of one byte.
const HLT: u8 = 0xf4;

/// Opens interrupts and sleeps until there was one, or for no reason. The caller has masked them before it looked whether there is
/// something to do, and looks again.
pub(crate) fn until_interrupt() {
    interrupts::enable_and_hlt();
}

/// Has the non-maskable interrupt return behind the `hlt` that it came before, if it did.
pub(super) fn step_over(frame: &mut TrapFrame) {
    // A fault in here would open the way for the next such interrupt, which would be on the same stack.
    if !image::text().contains(&frame.rip) {
        return;
    }
    let instruction = VirtAddr::new(frame.rip).as_ptr::<u8>();
    // SAFETY: the kernel's code is mapped and never changes.
    if unsafe { instruction.read() } == HLT {
        frame.rip += 1;
    }
}
