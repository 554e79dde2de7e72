//! Control of the running CPU, and of the machine's end.

use x86_64::instructions::port::PortWriteOnly;
use x86_64::instructions::{hlt, interrupts};

use crate::firmware;

/// QEMU's `isa-debug-exit` at its usual port; writing `v` ends QEMU with status `(v << 1) | 1`.
const DEBUG_EXIT: u16 = 0xf4;

/// How a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Exit {
    /// QEMU status 33.
    Success = 0x10,
    /// QEMU status 35.
    Failure = 0x11,
}

/// Ends the machine; where it has no device for that, stops the CPU for good.
pub(crate) fn exit(code: Exit) -> ! {
    // SAFETY: the device only ends the machine; without it the write goes nowhere.
    unsafe { PortWriteOnly::new(DEBUG_EXIT).write(code as u32) };
    // A machine without the device: switched off if we know how.
    firmware::power_off();
    stop()
}

/// Stops this CPU for good.
pub(crate) fn stop() -> ! {
    loop {
        interrupts::disable();
        hlt();
    }
}
