//! A serial port that anything may write to, a panic included.

use spin::mutex::SpinMutex;
use uart_16550::backend::PioBackend;
use uart_16550::{Config, Uart16550};
use x86_64::instructions::interrupts::without_interrupts;

/// How often to look for a free lock before the holder counts as dead.
const PATIENCE: u32 = 10_000_000;

/// One port. Silent until [`init`](Self::init) has found it present.
pub(crate) struct Port {
    base: u16,
    uart: SpinMutex<Option<Uart16550<PioBackend>>>,
}

impl Port {
    pub(crate) const fn new(base: u16) -> Self {
        Self {
            base,
            uart: SpinMutex::new(None),
        }
    }

    /// Sets the port up, if the machine has it.
    pub(crate) fn init(&self) {
        // SAFETY: the PC's standard port numbers, which only this type uses once boot is over.
        let Ok(mut uart) = (unsafe { Uart16550::new_port(self.base) }) else {
            return;
        };
        if uart.check_present() && uart.init(Config::default()).is_ok() {
            *self.uart.lock() = Some(uart);
        }
    }

    /// Sends all bytes, or none on a machine without the port.
    pub(crate) fn send(&self, bytes: &[u8]) {
        without_interrupts(|| {
            for _ in 0..PATIENCE {
                if let Some(mut uart) = self.uart.try_lock() {
                    if let Some(uart) = uart.as_mut() {
                        uart.send_bytes_exact(bytes);
                    }
                    return;
                }
                core::hint::spin_loop();
            }
            // The holder was interrupted by the fault that wants to print now, and will not go on.
            // SAFETY: nobody will use the guard again; a torn line is better than a lost report.
            unsafe { self.uart.force_unlock() };
            if let Some(uart) = self.uart.lock().as_mut() {
                uart.send_bytes_exact(bytes);
            }
        });
    }
}
