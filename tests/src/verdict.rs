//! What a run means: QEMU's way of ending and the kernel's own events, held against each other.
//!
//! A run has passed only if both agree: QEMU exits with [`SUCCESS`] *and* the last event says "pass". Either alone
//! proves nothing, since QEMU exits with 0 on a triple fault and a kernel can report success and then crash.

use crate::events::{Events, KernelResult, KernelVerdict, TestState};
use crate::machine::Machine;
use crate::qemu::{Ending, Run};
use crate::testlist::KernelTest;

/// QEMU's exit status when the kernel writes 0x10 to `isa-debug-exit`: success.
pub const SUCCESS: i32 = 33;

/// QEMU's exit status when the kernel writes 0x11 there: failure.
pub const FAILURE: i32 = 35;

/// What a run turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Everything that ran passed.
    Passed,
    /// The kernel panicked; a failing assertion does that.
    Panicked(KernelResult),
    /// A CPU exception that nobody expected.
    Faulted(KernelResult),
    /// The stack ran into its guard page.
    StackOverflow(KernelResult),
    /// The kernel did not understand its command line.
    BadCommandLine(KernelResult),
    /// The machine reset: an exception that could not even be delivered.
    TripleFault(Ending),
    /// The deadline passed.
    Hang(Ending),
    /// Not one byte came out of the kernel.
    Silent(Ending),
    /// The kernel spoke, and ended without a result.
    NoResult(Ending),
    /// QEMU's status and the kernel's result contradict each other.
    Inconsistent(Ending, KernelResult),
    /// There are lines on COM2 that are no events.
    BrokenEvents,
    /// Tests that should have run have no end.
    Missing(Vec<String>),
    /// Tests skipped themselves on a machine they are meant for, each with its reason.
    Skipped(Vec<String>),
    /// QEMU itself failed.
    QemuError(Ending),
}

/// Judges a run by itself.
#[must_use]
pub fn judge(run: &Run, events: &Events) -> Outcome {
    let ending = run.ending.clone();
    if let Some(result) = events.result.clone() {
        let failed_properly = ending == Ending::Exited(FAILURE, None);
        return match result.verdict {
            KernelVerdict::Pass if ending == Ending::Exited(SUCCESS, None) => {
                if events.malformed.is_empty() {
                    Outcome::Passed
                } else {
                    Outcome::BrokenEvents
                }
            }
            KernelVerdict::Panic if failed_properly => Outcome::Panicked(result),
            KernelVerdict::Fault if failed_properly => Outcome::Faulted(result),
            KernelVerdict::StackOverflow if failed_properly => Outcome::StackOverflow(result),
            KernelVerdict::BadCmdline if failed_properly => Outcome::BadCommandLine(result),
            _ => Outcome::Inconsistent(ending, result),
        };
    }
    let said_nothing = run.serial.is_empty() && events.is_empty();
    match ending {
        Ending::Killed(_) | Ending::Stopped(_) => Outcome::QemuError(ending),
        Ending::Exited(1, _) if said_nothing && !run.complaints.is_empty() => {
            Outcome::QemuError(ending)
        }
        Ending::Exited(_, Some(ref reason)) if reason.starts_with("host-") => {
            Outcome::QemuError(ending)
        }
        Ending::Reset(_) => Outcome::TripleFault(ending),
        _ if said_nothing => Outcome::Silent(ending),
        Ending::Deadline(..) => Outcome::Hang(ending),
        Ending::Exited(..) => Outcome::NoResult(ending),
    }
}

/// Judges a run by what should have run in it. `machine` is given where the tests meant for it may not be skipped.
#[must_use]
pub fn judge_tests(
    run: &Run,
    events: &Events,
    expected: &[&KernelTest],
    machine: Option<&Machine>,
) -> Outcome {
    let outcome = judge(run, events);
    if outcome != Outcome::Passed {
        return outcome;
    }
    let end_of = |test: &KernelTest| {
        let mut ends = events
            .tests
            .iter()
            .filter(|event| event.state != TestState::Start);
        ends.find(|event| event.name == test.name)
    };
    let missing: Vec<_> = expected
        .iter()
        .filter(|test| end_of(test).is_none())
        .map(|test| test.name.clone())
        .collect();
    if !missing.is_empty() || expected.is_empty() {
        return Outcome::Missing(missing);
    }
    let is_meant =
        |test: &KernelTest| machine.is_some_and(|machine| test.machines.contains(&machine));
    let skipped: Vec<_> = expected
        .iter()
        .filter(|test| is_meant(test))
        .filter_map(|test| end_of(test).filter(|end| end.state == TestState::Skip))
        .map(|end| {
            format!(
                "{}: {}",
                end.name,
                end.reason.as_deref().unwrap_or("no reason given")
            )
        })
        .collect();
    if skipped.is_empty() {
        Outcome::Passed
    } else {
        Outcome::Skipped(skipped)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn run(ending: Ending, serial: &str) -> Run {
        Run {
            ending,
            serial: serial.into(),
            complaints: String::new(),
            took: Duration::ZERO,
            peak_kib: 0,
        }
    }

    fn exited(status: i32) -> Ending {
        Ending::Exited(status, None)
    }

    fn hung() -> Ending {
        Ending::Deadline(Duration::from_secs(1), Ok(vec![]))
    }

    fn result(verdict: &str) -> Events {
        Events::parse(&format!(
            r#"{{"v":1,"ev":"result","verdict":"{verdict}","passed":1}}"#
        ))
    }

    fn judged(ending: Ending, verdict: &str) -> Outcome {
        judge(&run(ending, "hello"), &result(verdict))
    }

    #[test]
    fn both_must_agree_on_success() {
        assert_eq!(judged(exited(SUCCESS), "pass"), Outcome::Passed);
        let reset = Ending::Reset(vec![]);
        let killed = Ending::Killed(9);
        for ending in [
            exited(FAILURE),
            exited(0),
            exited(1),
            exited(5),
            reset,
            hung(),
            killed,
        ] {
            assert!(matches!(judged(ending, "pass"), Outcome::Inconsistent(..)));
        }
        for verdict in [
            "panic",
            "fault",
            "stack-overflow",
            "bad-cmdline",
            "something new",
        ] {
            assert!(matches!(
                judged(exited(SUCCESS), verdict),
                Outcome::Inconsistent(..)
            ));
        }
        assert!(matches!(
            judge(&run(exited(SUCCESS), "hello"), &Events::default()),
            Outcome::NoResult(_)
        ));
    }

    #[test]
    fn failures_are_what_the_kernel_calls_them() {
        assert!(matches!(
            judged(exited(FAILURE), "panic"),
            Outcome::Panicked(_)
        ));
        assert!(matches!(
            judged(exited(FAILURE), "fault"),
            Outcome::Faulted(_)
        ));
        assert!(matches!(
            judged(exited(FAILURE), "stack-overflow"),
            Outcome::StackOverflow(_)
        ));
        assert!(matches!(
            judged(exited(FAILURE), "bad-cmdline"),
            Outcome::BadCommandLine(_)
        ));
        assert!(matches!(
            judged(exited(FAILURE), "something new"),
            Outcome::Inconsistent(..)
        ));
    }

    #[test]
    fn without_a_result_the_ending_speaks() {
        let judged = |ending, serial: &str| judge(&run(ending, serial), &Events::default());
        assert!(matches!(
            judged(Ending::Reset(vec![]), ""),
            Outcome::TripleFault(_)
        ));
        assert!(matches!(judged(hung(), "hello"), Outcome::Hang(_)));
        assert!(matches!(judged(hung(), ""), Outcome::Silent(_)));
        assert!(matches!(judged(exited(SUCCESS), ""), Outcome::Silent(_)));
        assert!(matches!(
            judged(exited(FAILURE), "hello"),
            Outcome::NoResult(_)
        ));
        assert!(matches!(judged(exited(1), "hello"), Outcome::NoResult(_)));
        assert!(matches!(
            judged(Ending::Killed(9), "hello"),
            Outcome::QemuError(_)
        ));
        assert!(matches!(
            judged(Ending::Stopped("internal-error".into()), ""),
            Outcome::QemuError(_)
        ));
        let stopped = Ending::Exited(0, Some("host-signal".into()));
        assert!(matches!(judged(stopped, "hello"), Outcome::QemuError(_)));
        let off = Ending::Exited(0, Some("guest-shutdown".into()));
        assert!(matches!(judged(off, "hello"), Outcome::NoResult(_)));
    }

    #[test]
    fn qemu_complaining_before_anything_ran_is_qemus_failure() {
        let mut refused = run(exited(1), "");
        assert!(matches!(
            judge(&refused, &Events::default()),
            Outcome::Silent(_)
        ));
        refused.complaints = "qemu-system-x86_64: unsupported machine type".into();
        assert!(matches!(
            judge(&refused, &Events::default()),
            Outcome::QemuError(_)
        ));
    }

    #[test]
    fn garbage_among_the_events_is_no_pass() {
        let mut events = result("pass");
        events.malformed.push((3, "?".into()));
        assert_eq!(
            judge(&run(exited(SUCCESS), "hello"), &events),
            Outcome::BrokenEvents
        );
    }

    #[test]
    fn what_should_have_run_must_have_run() {
        let machine = Machine::default_machine();
        let here = KernelTest {
            name: "a::here".into(),
            machines: vec![machine],
            is_proof: false,
        };
        let elsewhere = KernelTest {
            name: "a::elsewhere".into(),
            machines: vec![],
            is_proof: false,
        };
        let events = |here: &str| {
            Events::parse(&format!(
                "{{\"v\":1,\"ev\":\"test\",\"name\":\"a::here\",\"state\":\"start\"}}\n{here}\
                 {{\"v\":1,\"ev\":\"test\",\"name\":\"a::elsewhere\",\"state\":\"skip\",\"reason\":\"r\"}}\n\
                 {{\"v\":1,\"ev\":\"result\",\"verdict\":\"pass\"}}\n"
            ))
        };
        let passed = events("{\"v\":1,\"ev\":\"test\",\"name\":\"a::here\",\"state\":\"pass\"}\n");
        let skipped = events("{\"v\":1,\"ev\":\"test\",\"name\":\"a::here\",\"state\":\"skip\"}\n");
        let run = run(exited(SUCCESS), "hello");
        let both = [&here, &elsewhere];
        assert_eq!(
            judge_tests(&run, &passed, &both, Some(machine)),
            Outcome::Passed
        );
        assert_eq!(judge_tests(&run, &skipped, &both, None), Outcome::Passed);
        let outcome = judge_tests(&run, &skipped, &both, Some(machine));
        assert_eq!(
            outcome,
            Outcome::Skipped(vec!["a::here: no reason given".into()])
        );
        let outcome = judge_tests(&run, &events(""), &both, Some(machine));
        assert_eq!(outcome, Outcome::Missing(vec!["a::here".into()]));
        assert_eq!(
            judge_tests(&run, &passed, &[], None),
            Outcome::Missing(vec![])
        );
    }
}
