//! The last log lines of all CPUs, those too that are too detailed for the console.
//!
//! A ring of slots, each with a lock of its own that nobody waits for: a line that finds its slot in use
//! (by a CPU that a whole round of lines has overtaken, or by code that this handler interrupted) is
//! lost, and so is one that a report finds half-written.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use spin::mutex::SpinMutex;

use crate::arch::percpu;
use crate::console::println;
use crate::failure::Short;

const LINES: usize = 32;

struct Line {
    /// Its number, counted from 1; 0 for none.
    number: u64,
    cpu: usize,
    text: Short<120>,
}

static RING: [SpinMutex<Line>; LINES] = [const {
    SpinMutex::new(Line {
        number: 0,
        cpu: 0,
        text: Short::EMPTY,
    })
}; LINES];

/// How many lines there have been.
static COUNT: AtomicU64 = AtomicU64::new(0);

/// The slot of a line, by its number.
fn slot(number: u64) -> &'static SpinMutex<Line> {
    &RING[usize::try_from(number % LINES as u64).unwrap_or(0)]
}

/// Remembers a line of this CPU.
pub(crate) fn remember(text: fmt::Arguments<'_>) {
    let number = COUNT.fetch_add(1, Ordering::Relaxed) + 1;
    let Some(mut line) = slot(number).try_lock() else {
        return;
    };
    *line = Line {
        number,
        cpu: percpu::id(),
        text: Short::new(text),
    };
}

/// Prints what is remembered, the oldest line first. Part of a report: the other CPUs are stopped.
pub(crate) fn print() {
    let last = COUNT.load(Ordering::Relaxed);
    println!("recent log lines:");
    for number in last.saturating_sub(LINES as u64 - 1)..=last {
        if let Some(line) = slot(number).try_lock()
            && line.number == number
            && number != 0
        {
            println!("  CPU {}: {}", line.cpu, line.text.as_str());
        }
    }
}
