//! The parts of a report's sentences.

use std::time::Duration;

use crate::cpus::Cpu;
use crate::events::{KernelResult, KernelVerdict};
use crate::qemu::Ending;

pub(super) fn in_test(result: &KernelResult) -> String {
    match &result.test {
        Some(test) => format!(" in {test}"),
        None => " outside any test".into(),
    }
}

pub(super) fn word(verdict: KernelVerdict) -> &'static str {
    match verdict {
        KernelVerdict::Pass => "pass",
        KernelVerdict::Panic => "panic",
        KernelVerdict::Fault => "fault",
        KernelVerdict::StackOverflow => "stack-overflow",
        KernelVerdict::BadCmdline => "bad-cmdline",
        KernelVerdict::Unknown => "(unknown)",
    }
}

pub(super) fn how(ending: &Ending) -> String {
    match ending {
        Ending::Exited(status, None) => format!("QEMU exited with status {status}"),
        Ending::Exited(status, Some(reason)) => {
            format!("QEMU exited with status {status} ({reason})")
        }
        Ending::Reset(_) => "the machine reset itself".into(),
        Ending::Deadline(after, _) => format!("no end after {} s", after.as_secs_f64()),
        Ending::Stopped(state) => format!("it stopped the machine and calls that {state:?}"),
        Ending::Killed(signal) => format!("QEMU was killed by signal {signal}"),
    }
}

pub(super) fn condition(cpu: &Cpu) -> &'static str {
    match (cpu.is_halted, cpu.takes_interrupts) {
        (true, true) => " (halted)",
        (true, false) => " (halted, interrupts off: for ever)",
        (false, true) => "",
        (false, false) => " (interrupts off)",
    }
}

/// A deadline tells a run that hangs from a slow one only if it was long enough.
pub(super) fn more_time(knob: &str, after: Duration) -> String {
    let seconds = (after * 2).as_secs();
    format!("if it was only slow: {knob}={seconds} gives it more time")
}
