//! Kernels that fail on purpose: each trial passes when the runner says what happened, and where.

use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use twinframe_tests::command::{Vm, Words};
use twinframe_tests::events::KernelVerdict;
use twinframe_tests::machine::{Board, MACHINES, Machine};
use twinframe_tests::qemu::Ending;
use twinframe_tests::testlist::KernelTest;
use twinframe_tests::verdict::{Outcome, judge_tests};

use crate::stage::{Boot, Stage, ensure, expect, table};

/// How long a kernel gets that is known to hang: it has to get there first, on a machine under load.
const HANG_TIME: Duration = Duration::from_secs(10);

/// All of them.
pub(crate) fn trials(stage: &Arc<Stage>) -> Vec<Trial> {
    table(
        stage,
        &[
            ("runner::reports_failed_assertion", failed_assertion),
            ("runner::reports_panic", panic),
            ("runner::reports_fault", fault),
            ("runner::reports_wild_pointer", wild_pointer),
            ("runner::reports_fault_in_report", fault_in_report),
            ("runner::reports_stack_overflow", stack_overflow),
            ("runner::reports_triple_fault", triple_fault),
            ("runner::reports_hang", hang),
            ("runner::reports_silence", silence),
            ("runner::reports_missing_result", missing_result),
            ("runner::reports_lies", lies),
            ("runner::reports_skipped_test", skipped_test),
            ("runner::reports_bad_command_line", bad_command_line),
            ("runner::reports_long_command_line", long_command_line),
            ("runner::passes_words_by_fw_cfg", words_by_fw_cfg),
            ("runner::sees_power_off_by_acpi", power_off_by_acpi),
            ("runner::reports_damage_under_stress", damage_under_stress),
            ("runner::reports_leak_under_stress", leak_under_stress),
            (
                "runner::reports_double_free_under_stress",
                double_free_under_stress,
            ),
            (
                "runner::reports_lost_page_under_stress",
                lost_page_under_stress,
            ),
        ],
    )
}

fn failed_assertion(stage: &Stage, name: &str) -> Result<(), Failed> {
    let boot = boot(stage, name, "test=proof::fails")?;
    boot.is(|outcome| matches!(outcome, Outcome::Panicked(_)))?;
    boot.says(&["panic in proof::fails\n", "assertion", " at kernel/src/"])?;
    boot.says(&["backtrace:", "proof::fails at kernel/src/"])
}

fn panic(stage: &Stage, name: &str) -> Result<(), Failed> {
    let boot = boot(stage, name, "test=proof::panics")?;
    boot.is(|outcome| matches!(outcome, Outcome::Panicked(_)))?;
    boot.says(&["panic in proof::panics\n", " at kernel/src/"])?;
    boot.says(&["backtrace:", "proof::panics at kernel/src/"])
}

fn fault(stage: &Stage, name: &str) -> Result<(), Failed> {
    let boot = boot(stage, name, "test=proof::page_fault")?;
    boot.is(|outcome| matches!(outcome, Outcome::Faulted(_)))?;
    boot.says(&[
        "CPU exception in proof::page_fault\n",
        "address 0x",
        "in  0x",
        " at kernel/src/",
    ])
}

/// The serial log says what the registers lead to, and what every CPU logged last.
fn wild_pointer(stage: &Stage, name: &str) -> Result<(), Failed> {
    let machine = MACHINES.iter().find(|machine| machine.name == "smp4");
    let machine = machine.ok_or("no machine of that name")?;
    let words = Words::Append("test=proof::wild_pointer".into());
    let vm = stage.vm(name, machine, &stage.kernel.image, words);
    let boot = stage.boot(vm, Some(&stage.kernel.symbols), stage.test_time)?;
    boot.is(|outcome| matches!(outcome, Outcome::Faulted(_)))?;
    let serial = String::from_utf8_lossy(&boot.run.serial);
    expect(
        &serial,
        &[
            "*** general protection fault",
            "rdi leads to the 8-byte object at 0x",
            ", which is free, in a slab 0x",
            "recent log lines:",
            "CPU 0: test proof::wild_pointer begins",
        ],
    )?;
    for cpu in 0..4 {
        expect(&serial, &[&format!("  CPU {cpu}: CPU {cpu} is here\n")])?;
    }
    Ok(())
}

fn stack_overflow(stage: &Stage, name: &str) -> Result<(), Failed> {
    let boot = boot(stage, name, "test=proof::overflows_stack")?;
    boot.is(|outcome| matches!(outcome, Outcome::StackOverflow(_)))?;
    let headline = "stack overflow in proof::overflows_stack: the guard page was hit\n";
    boot.says(&[headline, " at kernel/src/"])
}

fn triple_fault(stage: &Stage, name: &str) -> Result<(), Failed> {
    let boot = boot(stage, name, "test=proof::triple_faults")?;
    boot.is(|outcome| matches!(outcome, Outcome::TripleFault(_)))?;
    boot.says(&[
        "triple fault during proof::triple_faults",
        "CPU 0: 0x",
        " at kernel/src/",
    ])
}

fn hang(stage: &Stage, name: &str) -> Result<(), Failed> {
    let boot = boot_within(stage, name, "test=proof::hangs", HANG_TIME)?;
    boot.is(|outcome| matches!(outcome, Outcome::Hang(_)))?;
    boot.says(&[
        "hang during proof::hangs: no end after 10 s\n",
        "CPU 0: 0x",
        " at kernel/src/",
    ])
}

fn silence(stage: &Stage, name: &str) -> Result<(), Failed> {
    let boot = boot_within(stage, name, "test=proof::mute", HANG_TIME)?;
    boot.is(|outcome| matches!(outcome, Outcome::Silent(_)))?;
    let headline = "silence: the kernel printed nothing at all; no end after 10 s\n";
    boot.says(&[
        headline,
        "CPU 0: 0x",
        " at kernel/src/",
        "the serial log is empty",
    ])
}

fn missing_result(stage: &Stage, name: &str) -> Result<(), Failed> {
    let boot = boot(stage, name, "test=proof::silent")?;
    boot.is(|outcome| matches!(outcome, Outcome::NoResult(_)))?;
    let headline = "no result: the kernel ended without saying how it went";
    boot.says(&[headline, "QEMU exited with status 33\n"])
}

fn lies(stage: &Stage, name: &str) -> Result<(), Failed> {
    let boot = boot(stage, name, "test=proof::lies")?;
    boot.is(|outcome| matches!(outcome, Outcome::Inconsistent(..)))?;
    let headline =
        "contradiction: the kernel's result is \"pass\", but QEMU exited with status 35\n";
    boot.says(&[headline])
}

fn fault_in_report(stage: &Stage, name: &str) -> Result<(), Failed> {
    let boot = boot(stage, name, "test=proof::fails_in_its_report")?;
    boot.is(|outcome| matches!(outcome, Outcome::NoResult(..)))?;
    boot.says(&[
        "QEMU exited with status 35",
        "*** failed again while reporting: page fault: read of 0xfffffffffff00000",
    ])
}

fn skipped_test(stage: &Stage, name: &str) -> Result<(), Failed> {
    let boot = boot(stage, name, "test=proof::skips")?;
    let machine = Machine::default_machine();
    let meant = KernelTest {
        name: "proof::skips".into(),
        machines: vec![machine],
        is_proof: true,
    };
    let outcome = judge_tests(&boot.run, &boot.events, &[&meant], Some(machine));
    let headline = "skipped on a machine it is meant for: proof::skips: ";
    expect(&boot.report(&outcome), &[headline])
}

/// Whose block it was, what happened to it, and the one command that repeats it all.
fn damage_under_stress(stage: &Stage, name: &str) -> Result<(), Failed> {
    let boot = boot(stage, name, "test=proof::stress_finds_a_write seed=77")?;
    boot.is(|outcome| matches!(outcome, Outcome::Panicked(_)))?;
    boot.says(&[
        "panic in proof::stress_finds_a_write\n",
        "stress a_write, seed 77: block 0x",
        "64 bytes, of CPU 0: at +0x28 is 0x0000000000000bad, where 0x",
        "there is the 64-byte object at 0x",
        "history of this address:",
        "us: taken by CPU 0, kernel/src/suites/stress/spoil.rs:",
        "to repeat it:\n  qemu-system-x86_64 ",
        "'test=proof::stress_finds_a_write seed=77'",
    ])
}

fn leak_under_stress(stage: &Stage, name: &str) -> Result<(), Failed> {
    let boot = boot(stage, name, "test=proof::stress_finds_a_leak")?;
    boot.is(|outcome| matches!(outcome, Outcome::Panicked(_)))?;
    boot.says(&[
        "stress a_leak, seed 1: leaks, by the call that allocated:",
        "1 blocks, 64 bytes: kernel/src/suites/stress/spoil.rs:",
    ])
}

fn double_free_under_stress(stage: &Stage, name: &str) -> Result<(), Failed> {
    let boot = boot(
        stage,
        name,
        "test=proof::stress_finds_a_double_free seed=78",
    )?;
    boot.is(|outcome| matches!(outcome, Outcome::Panicked(_)))?;
    boot.says(&[
        "stress a_double_free, seed 78: block 0x",
        "4096 bytes, of CPU 0: refused: ",
        "history of this address:",
        "us: taken by CPU 0, kernel/src/suites/stress/spoil.rs:",
        "us: freed by CPU 0, ",
        "us: freed by CPU 0, ",
    ])
}

fn lost_page_under_stress(stage: &Stage, name: &str) -> Result<(), Failed> {
    let boot = boot(stage, name, "test=proof::stress_finds_a_lost_page seed=79")?;
    boot.is(|outcome| matches!(outcome, Outcome::Panicked(_)))?;
    boot.says(&["stress a_lost_page, seed 79: free blocks, after and before"])
}

/// The kernel refuses, and names what it could not read, to people and to programs.
fn bad_command_line(stage: &Stage, name: &str) -> Result<(), Failed> {
    for (words, culprit) in [
        ("frobnicate", "frobnicate"),
        ("seed=lucky", "lucky"),
        ("seed=1 suite=nope", "nope"),
        ("test=no::such", "no::such"),
        ("test=", "test"),
    ] {
        let boot = boot(stage, name, words)?;
        boot.is(|outcome| matches!(outcome, Outcome::BadCommandLine(_)))?;
        boot.says(&["the kernel does not understand its command line\n", culprit])?;
        expect(&String::from_utf8_lossy(&boot.run.serial), &[culprit])?;
    }
    Ok(())
}

/// The end of a line that is too long is not there to be read: cut off it would be another seed, and nobody would know.
fn long_command_line(stage: &Stage, name: &str) -> Result<(), Failed> {
    let words = format!("suite=boot{:4076} seed=12345", "");
    for words in [Words::Append(words.clone()), Words::FwCfg(words)] {
        let machine = Machine::default_machine();
        let vm = stage.vm(name, machine, &stage.kernel.image, words);
        let boot = stage.boot(vm, Some(&stage.kernel.symbols), stage.test_time)?;
        boot.is(|outcome| matches!(outcome, Outcome::BadCommandLine(_)))?;
        boot.says(&["command line: longer than 2048 bytes"])?;
    }
    Ok(())
}

fn words_by_fw_cfg(stage: &Stage, name: &str) -> Result<(), Failed> {
    let machine = Machine::default_machine();
    let test = stage
        .tests
        .iter()
        .find(|test| !test.is_proof && test.machines.contains(&machine));
    let test = test.ok_or("there is no test for the default machine")?;
    let words = format!("test={} seed=0x2a", test.name);
    let vm = stage.vm(
        name,
        machine,
        &stage.kernel.image,
        Words::FwCfg(words.clone()),
    );
    let boot = stage.boot(vm, Some(&stage.kernel.symbols), stage.test_time)?;
    boot.is(|outcome| *outcome == Outcome::Passed)?;
    let told = boot.events.boot.as_ref().ok_or("no boot event")?;
    let arrived = (
        told.cmdline.as_str(),
        told.cmdline_source.as_str(),
        told.seed,
    );
    ensure(arrived == (&words, "fw_cfg", 42), || {
        format!("what arrived is {arrived:?}")
    })
}

/// Without the device that ends QEMU with a status, a kernel that is done switches the machine off.
fn power_off_by_acpi(stage: &Stage, name: &str) -> Result<(), Failed> {
    for board in [Board::Q35, Board::Pc] {
        let machine = MACHINES
            .iter()
            .find(|machine| machine.board == board)
            .ok_or("no machine of that kind")?;
        let words = Words::Append("suite=virt_to_phys".into());
        let vm = Vm {
            has_debug_exit: false,
            ..stage.vm(name, machine, &stage.kernel.image, words)
        };
        let boot = stage.boot(vm, Some(&stage.kernel.symbols), stage.test_time)?;
        let off = Ending::Exited(0, Some("guest-shutdown".into()));
        ensure(boot.run.ending == off, || format!("{:?}", boot.run.ending))?;
        let result = boot.events.result.as_ref().map(|result| result.verdict);
        ensure(result == Some(KernelVerdict::Pass), || {
            format!("{result:?}")
        })?;
    }
    Ok(())
}

fn boot(stage: &Stage, name: &str, words: &str) -> Result<Boot, Failed> {
    boot_within(stage, name, words, stage.test_time)
}

fn boot_within(stage: &Stage, name: &str, words: &str, deadline: Duration) -> Result<Boot, Failed> {
    let words = Words::Append(words.into());
    let vm = stage.vm(name, Machine::default_machine(), &stage.kernel.image, words);
    Ok(stage.boot(vm, Some(&stage.kernel.symbols), deadline)?)
}
