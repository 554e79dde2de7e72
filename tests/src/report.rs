//! A verdict for people: what happened, where, what the kernel said last, and how to see it again.

mod words;

use std::fmt::{self, Write as _};
use std::path::Path;

use crate::command::{QEMU, Vm};
use crate::events::{Events, KernelResult};
use crate::qemu::{Ending, Run};
use crate::symbols::{Symbols, Trace};
use crate::verdict::Outcome;
use words::{condition, how, in_test, more_time, word};

/// How much of the serial log is shown.
const TAIL_LINES: usize = 25;

/// How much of a line of it.
const TAIL_WIDTH: usize = 400;

/// Everything there is to say about a run that did not pass.
pub struct Report<'a> {
    /// The verdict.
    pub outcome: &'a Outcome,
    /// The run.
    pub run: &'a Run,
    /// What the kernel reported.
    pub events: &'a Events,
    /// The kernel's line tables, if they could be read.
    pub symbols: Option<&'a Symbols>,
    /// The machine it ran on.
    pub vm: &'a Vm,
    /// The whole of COM1; not shown again where it has just been on the screen.
    pub serial_log: Option<&'a Path>,
    /// The setting that gives a run more time, in seconds, if there is one.
    pub time_knob: Option<&'a str>,
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.headline())?;
        if let (Ending::Deadline(after, _), Some(knob)) = (&self.run.ending, self.time_knob) {
            writeln!(f, "{}", more_time(knob, *after))?;
        }
        self.details(f)?;
        if !self.events.malformed.is_empty() {
            writeln!(
                f,
                "lines on COM2 that are no events ({}):",
                self.vm.events.display()
            )?;
            for (line, why) in self.events.malformed.iter().take(5) {
                writeln!(f, "  line {line}: {why}")?;
            }
        }
        let complaints = self.run.remarks();
        if !complaints.is_empty() {
            writeln!(f, "QEMU says:\n{}", indent(&complaints))?;
        }
        if let Some(path) = self.serial_log {
            let text = String::from_utf8_lossy(&self.run.serial);
            let lines: Vec<&str> = text.lines().collect();
            let tail: Vec<_> = lines[lines.len().saturating_sub(TAIL_LINES)..]
                .iter()
                .map(|line| end_of(line))
                .collect();
            if tail.is_empty() {
                writeln!(f, "the serial log is empty")?;
            } else {
                writeln!(f, "the last lines of the serial log ({}):", path.display())?;
                writeln!(f, "{}", indent(&tail.join("\n")))?;
            }
        }
        if let Some(boot) = &self.events.boot {
            writeln!(f, "{} kernel, seed {}", boot.profile, boot.seed)?;
        }
        write!(f, "to repeat it:\n  {}", self.vm)
    }
}

impl Report<'_> {
    /// The verdict in one line.
    #[must_use]
    pub fn headline(&self) -> String {
        let during = match self.events.running() {
            Some(test) => format!(" during {test}"),
            None if self.events.tests.is_empty() => " before the first test".into(),
            None => " outside any test".into(),
        };
        match self.outcome {
            Outcome::Passed => "passed".into(),
            Outcome::Panicked(result) => format!("panic{}", in_test(result)),
            Outcome::Faulted(result) => format!("CPU exception{}", in_test(result)),
            Outcome::StackOverflow(result) => {
                format!("stack overflow{}: the guard page was hit", in_test(result))
            }
            Outcome::BadCommandLine(_) => "the kernel does not understand its command line".into(),
            Outcome::TripleFault(_) => format!("triple fault{during}: the machine reset itself"),
            Outcome::Hang(ending) => format!("hang{during}: {}", how(ending)),
            Outcome::Silent(ending) => format!(
                "silence: the kernel printed nothing at all; {}",
                how(ending)
            ),
            Outcome::NoResult(ending) => format!(
                "no result: the kernel ended without saying how it went{during}; {}",
                how(ending)
            ),
            Outcome::Inconsistent(ending, result) => {
                format!(
                    "contradiction: the kernel's result is \"{}\", but {}",
                    word(result.verdict),
                    how(ending)
                )
            }
            Outcome::BrokenEvents => {
                "broken events: the kernel reports success, but some of its events cannot be read"
                    .into()
            }
            Outcome::Missing(tests) if tests.is_empty() => {
                "nothing ran: no test was selected".into()
            }
            Outcome::Missing(tests) => format!(
                "incomplete: the kernel reports success, but did not run {}",
                tests.join(", ")
            ),
            Outcome::Skipped(tests) => {
                format!("skipped on a machine it is meant for: {}", tests.join("; "))
            }
            Outcome::QemuError(ending) => format!("QEMU failed: {}", how(ending)),
        }
    }

    /// One line, if QEMU did not even start: there is no run to report then. It may be the machine that it refuses,
    /// or the kernel.
    #[must_use]
    pub fn refusal(&self) -> Option<String> {
        let said = self.run.remarks();
        let is_silent = self.run.serial.is_empty() && !said.is_empty();
        let is_refused =
            is_silent && matches!(self.outcome, Outcome::QemuError(Ending::Exited(..)));
        let said = said.replace(&format!("{QEMU}: "), "").replace('\n', "; ");
        is_refused.then(|| format!("QEMU did not start: {said}"))
    }

    fn trace(&self) -> Trace<'_> {
        Trace {
            symbols: self.symbols,
        }
    }

    fn details(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.outcome {
            Outcome::Panicked(result)
            | Outcome::Faulted(result)
            | Outcome::StackOverflow(result)
            | Outcome::BadCommandLine(result)
            | Outcome::Inconsistent(_, result) => self.result(f, result)?,
            _ => {}
        }
        match self.outcome {
            Outcome::TripleFault(ending)
            | Outcome::Hang(ending)
            | Outcome::Silent(ending)
            | Outcome::Inconsistent(ending, _) => self.where_cpus_were(f, ending),
            _ => Ok(()),
        }
    }

    fn result(&self, f: &mut fmt::Formatter<'_>, result: &KernelResult) -> fmt::Result {
        if let Some(message) = &result.message {
            writeln!(f, "{}", indent(message))?;
        }
        if let Some(location) = &result.location {
            writeln!(f, "  at {location}")?;
        }
        if let Some(cr2) = result.cr2 {
            writeln!(f, "  address {:#x}", cr2.0)?;
        }
        // That of a panic is in the panic handler.
        if let (Some(rip), None) = (result.rip, &result.location) {
            writeln!(f, "  in  {}", self.trace().place(rip.0))?;
        }
        let frames: Vec<u64> = result.backtrace.iter().map(|address| address.0).collect();
        // A fault's backtrace begins with its own address, which has just been shown.
        let faulting = result.rip.map(|rip| rip.0);
        let callers = frames.strip_prefix(faulting.as_slice()).unwrap_or(&frames);
        if !callers.is_empty() {
            writeln!(f, "backtrace:")?;
            write!(f, "{}", self.trace().calls(callers))?;
        }
        Ok(())
    }

    fn where_cpus_were(&self, f: &mut fmt::Formatter<'_>, ending: &Ending) -> fmt::Result {
        let cpus = match ending {
            Ending::Reset(cpus) | Ending::Deadline(_, Ok(cpus)) => cpus,
            Ending::Deadline(_, Err(why)) => {
                return writeln!(f, "where the CPUs were is not known: {why}");
            }
            Ending::Exited(..) | Ending::Stopped(_) | Ending::Killed(_) => return Ok(()),
        };
        for cpu in cpus {
            let place = self.trace().place(cpu.rip);
            writeln!(f, "CPU {}: {place}{}", cpu.index, condition(cpu))?;
            write!(f, "{}", self.trace().calls(&cpu.callers))?;
        }
        Ok(())
    }
}

/// The end of a line that is too long to be read.
fn end_of(line: &str) -> String {
    let length = line.chars().count();
    if length <= TAIL_WIDTH {
        return line.to_owned();
    }
    format!(
        "... {}",
        line.chars().skip(length - TAIL_WIDTH).collect::<String>()
    )
}

fn indent(text: &str) -> String {
    text.lines().fold(String::new(), |mut out, line| {
        let separator = if out.is_empty() { "" } else { "\n" };
        // Writing to a string cannot fail.
        let _ = write!(out, "{separator}  {}", line.trim_end());
        out
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::command::Words;
    use crate::cpus::Cpu;
    use crate::machine::Machine;
    use crate::verdict::judge;

    fn report(ending: Ending, serial: &str, events: &str) -> String {
        let run = Run {
            ending,
            serial: serial.into(),
            complaints: String::new(),
            took: Duration::ZERO,
            peak_kib: 0,
        };
        let events = Events::parse(events);
        let outcome = judge(&run, &events);
        let words = Words::Append("test=slab::a".into());
        let vm = Vm::new(
            Machine::default_machine(),
            Path::new("/k.elf"),
            words,
            Path::new("/out"),
        );
        let serial_log = Some(Path::new("/out/serial.log"));
        Report {
            outcome: &outcome,
            run: &run,
            events: &events,
            symbols: None,
            vm: &vm,
            serial_log,
            time_knob: Some("TIMEOUT"),
        }
        .to_string()
    }

    #[test]
    fn a_panic_has_its_words_its_place_and_its_frames() {
        let text = report(
            Ending::Exited(35, None),
            "line one\r\nline two\r\n",
            r#"{"v":1,"ev":"result","verdict":"panic","test":"slab::a","message":"left\nright","location":"k.rs:1:2","backtrace":["0x10"]}"#,
        );
        assert!(text.starts_with("panic in slab::a\n  left\n  right\n  at k.rs:1:2\nbacktrace:\n   0: 0x0000000000000010"), "{text}");
        assert!(
            text.contains("(/out/serial.log):\n  line one\n  line two\n"),
            "{text}"
        );
        assert!(
            text.ends_with(&format!(
                "-append test=slab::a -serial stdio -serial file:/out/events.jsonl -device {}",
                "isa-debug-exit,iobase=0xf4,iosize=4 -device edu"
            )),
            "{text}"
        );
    }

    #[test]
    fn a_hang_names_the_test_and_every_cpu() {
        let cpu = |index, is_halted| Cpu {
            index,
            rip: 0x1234,
            is_halted,
            callers: vec![0x99],
            ..Cpu::default()
        };
        let ending = Ending::Deadline(
            Duration::from_millis(1500),
            Ok(vec![cpu(0, false), cpu(1, true)]),
        );
        let text = report(
            ending,
            "x",
            r#"{"v":1,"ev":"test","name":"slab::a","state":"start"}"#,
        );
        assert!(text.starts_with("hang during slab::a: no end after 1.5 s\nif it was only slow: TIMEOUT=3 gives it more time\nCPU 0: 0x0000000000001234 (interrupts off)\n"), "{text}");
        assert!(text.contains("CPU 1: 0x0000000000001234 (halted, interrupts off: for ever)\n   0: 0x0000000000000099"), "{text}");
    }

    #[test]
    fn recursion_and_the_faulting_address_are_told_once() {
        let text = report(
            Ending::Exited(35, None),
            "x",
            r#"{"v":1,"ev":"result","verdict":"stack-overflow","rip":"0x1","backtrace":["0x1","0x2","0x2","0x2","0x3"]}"#,
        );
        let frames = "  in  0x0000000000000001\nbacktrace:\n   0: 0x0000000000000002\n      and the same 2 times more\n   3: 0x0000000000000003\n";
        assert!(text.contains(frames), "{text}");
    }

    #[test]
    fn silence_and_contradiction_are_said() {
        let text = report(Ending::Exited(33, None), "", "");
        assert!(
            text.starts_with(
                "silence: the kernel printed nothing at all; QEMU exited with status 33\n"
            ),
            "{text}"
        );
        assert!(text.contains("the serial log is empty"), "{text}");
        let text = report(
            Ending::Exited(35, None),
            "x",
            r#"{"v":1,"ev":"result","verdict":"pass"}"#,
        );
        assert!(
            text.starts_with(
                "contradiction: the kernel's result is \"pass\", but QEMU exited with status 35\n"
            ),
            "{text}"
        );
    }

    #[test]
    fn only_the_end_of_a_long_log_is_shown() {
        let serial: String = (0..100).map(|line| format!("line {line}.\n")).collect();
        let text = report(Ending::Reset(vec![]), &serial, "");
        assert!(
            text.starts_with("triple fault before the first test"),
            "{text}"
        );
        assert!(
            !text.contains("line 74.") && text.contains("line 75.") && text.contains("line 99."),
            "{text}"
        );
    }
}
