//! The end, before there is a kernel to report it.

use core::fmt::{self, Write};

use uart_16550::{Config, Uart16550};
use x86_64::instructions::hlt;
use x86_64::instructions::port::PortWriteOnly;

const COM1: u16 = 0x3f8;
/// QEMU's `isa-debug-exit`; writing `v` ends QEMU with status `(v << 1) | 1`.
const DEBUG_EXIT: u16 = 0xf4;
const FAILURE: u32 = 0x11;

/// Says on COM1 why the kernel cannot start, and ends the machine (or stops this CPU).
pub(super) fn refuse(why: fmt::Arguments<'_>) -> ! {
    // SAFETY: COM1 is the PC's first serial port, and nothing else runs yet.
    if let Ok(mut port) = unsafe { Uart16550::new_port(COM1) }
        && port.init(Config::default()).is_ok()
    {
        struct Out<F: FnMut(&[u8])>(F);
        impl<F: FnMut(&[u8])> Write for Out<F> {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                (self.0)(text.as_bytes());
                Ok(())
            }
        }
        // The sink never fails.
        let _ = writeln!(
            Out(|bytes| port.send_bytes_exact(bytes)),
            "twinframe-boot: {why}"
        );
    }
    // SAFETY: on a machine without the device the write goes nowhere.
    unsafe { PortWriteOnly::new(DEBUG_EXIT).write(FAILURE) };
    loop {
        hlt();
    }
}
