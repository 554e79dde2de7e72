//! How a run ended, and what is left of it.

use std::time::Duration;

use crate::cpus::Cpu;

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// QEMU exited by itself, with this status and, if it gave one, this reason.
    Exited(i32, Option<String>),
    /// The machine reset itself, which without a reboot is the end. Where its CPUs were.
    Reset(Vec<Cpu>),
    /// The deadline passed. Where the CPUs were, or why that is not known.
    Deadline(Duration, Result<Vec<Cpu>, String>),
    /// QEMU stopped the machine for a reason of its own: in this state it was left.
    Stopped(String),
    /// Somebody killed QEMU, with this signal.
    Killed(i32),
}

/// What is left of a run.
#[derive(Debug)]
pub struct Run {
    /// How it ended.
    pub ending: Ending,
    /// The end of what came from COM1; empty only if nothing came.
    pub serial: Vec<u8>,
    /// What QEMU itself complained of.
    pub complaints: String,
    /// The time from QEMU's start to its end.
    pub took: Duration,
    /// The most memory of the host that QEMU had at a time, in KiB, itself included, up to the last output of
    /// COM1; 0 where the host does not tell.
    pub peak_kib: u64,
}

impl Run {
    /// What QEMU complained of, without the long list of features that a CPU model has and TCG has not.
    #[must_use]
    pub fn remarks(&self) -> String {
        let is_of_interest =
            |line: &&str| !line.contains("warning: TCG doesn't support requested feature");
        let lines = self.complaints.lines().filter(is_of_interest);
        lines.collect::<Vec<_>>().join("\n")
    }
}
