//! COM1: text for people.

use core::fmt::{self, Write};

use log::{LevelFilter, Log, Metadata, Record};

use crate::recent;
use crate::serial::Port;

static COM1: Port = Port::new(0x3f8);

/// What the console shows. More is remembered for reports.
const SHOWN: LevelFilter = LevelFilter::Info;

struct Console;

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        COM1.send(text.as_bytes());
        Ok(())
    }
}

/// Writes to the console. Lines of other CPUs may come between two calls.
pub(crate) fn print(text: fmt::Arguments<'_>) {
    // The console itself never fails; a failing `Display` loses its own text only.
    let _ = Console.write_fmt(text);
}

/// Prints a line on the console.
macro_rules! println {
    () => { $crate::console::print(format_args!("\n")) };
    ($($text:tt)*) => { $crate::console::print(format_args!("{}\n", format_args!($($text)*))) };
}
pub(crate) use println;

impl Log for Console {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= SHOWN
    }

    fn log(&self, record: &Record<'_>) {
        recent::remember(*record.args());
        if self.enabled(record.metadata()) {
            println!(
                "[{:5}] {}: {}",
                record.level(),
                record.target(),
                record.args()
            );
        }
    }

    fn flush(&self) {}
}

/// Brings COM1 up and sends the `log` crate's messages there.
pub(crate) fn init() {
    COM1.init();
    if log::set_logger(&Console).is_ok() {
        log::set_max_level(LevelFilter::Debug);
    }
}
