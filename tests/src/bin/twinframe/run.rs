//! Booting one kernel before the user's eyes.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use twinframe_tests::build::{Kernel, Profile, explain_write_failure};
use twinframe_tests::claim::Claim;
use twinframe_tests::command::{Vm, Words};
use twinframe_tests::events::{Events, TestState};
use twinframe_tests::knobs::Knobs;
use twinframe_tests::qemu::{self, Watch};
use twinframe_tests::report::Report;
use twinframe_tests::symbols::Symbols;
use twinframe_tests::testlist::{self, KernelTest};
use twinframe_tests::verdict::{Outcome, judge, judge_tests};
use twinframe_tests::{Context, Problem, Result, Workspace};

use crate::screen::say;

/// Builds the release kernel and boots it.
pub(crate) fn release(workspace: &Workspace, knobs: &Knobs) -> Result<ExitCode> {
    let kernel = Kernel::build(workspace, Profile::Release)?;
    let tests = testlist::read(&kernel.image)?;
    knobs.check_names(&tests)?;
    let selected = tests.iter().filter(|test| knobs.selects(test)).collect();
    boot(
        workspace,
        &workspace.output(),
        &kernel,
        knobs,
        knobs.words(),
        Some(selected),
    )
}

/// Boots an ELF that cargo has built.
pub(crate) fn elf(
    workspace: &Workspace,
    elf: PathBuf,
    words: &[OsString],
    knobs: &Knobs,
) -> Result<ExitCode> {
    // QEMU's own words for that are about formats of kernels.
    File::open(&elf).context(format_args!("cannot read {}", elf.display()))?;
    let kernel = Kernel {
        image: elf.clone(),
        symbols: elf,
    };
    let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
    let words = if words.is_empty() {
        knobs.words()
    } else {
        words.join(" ")
    };
    boot(
        workspace,
        &workspace.output().join("runner"),
        &kernel,
        knobs,
        words,
        None,
    )
}

fn boot(
    workspace: &Workspace,
    folder: &Path,
    kernel: &Kernel,
    knobs: &Knobs,
    words: String,
    selected: Option<Vec<&KernelTest>>,
) -> Result<ExitCode> {
    let vm = Vm {
        memory: knobs.memory,
        cpus: knobs.cpus,
        accelerator: knobs.accelerator,
        icount: knobs.icount,
        ..Vm::new(knobs.machine, &kernel.image, Words::Append(words), folder)
    };
    let watch = Watch {
        serial_log: folder.join("serial.log"),
        is_shown: true,
        deadline: knobs.timeout,
    };
    // Until the end: the files are read, too.
    let _claim = Claim::take(folder)?;
    say(format_args!("{vm}\n"))?;
    // The kernel may have been in the middle of a line.
    let run = qemu::run(&vm, &watch).inspect_err(|_| drop(say(format_args!("\n"))))?;
    if !run.serial.is_empty() && !run.serial.ends_with(b"\n") {
        say(format_args!("\n"))?;
    }
    let events = Events::read(&vm.events)?;
    let outcome = match &selected {
        Some(selected) => judge_tests(&run, &events, selected, None),
        None => judge(&run, &events),
    };
    if outcome == Outcome::Passed {
        let count = |state| {
            events
                .tests
                .iter()
                .filter(|test| test.state == state)
                .count()
        };
        say(format_args!(
            "all passed: {} tests ran, {} skipped, in {:.1} s; see {} and {}\n",
            count(TestState::Pass),
            count(TestState::Skip),
            run.took.as_secs_f64(),
            workspace.relative(&watch.serial_log.display().to_string()),
            workspace.relative(&vm.events.display().to_string()),
        ))?;
        return Ok(ExitCode::SUCCESS);
    }
    // A kernel without a result on a disk without room: the room is what is missing.
    if let Some(full) = explain_write_failure(folder) {
        return Err(Problem::new(full));
    }
    let symbols = Symbols::open(&kernel.symbols, workspace).ok();
    let report = Report {
        outcome: &outcome,
        run: &run,
        events: &events,
        symbols: symbols.as_ref(),
        vm: &vm,
        serial_log: None,
        time_knob: Some("TIMEOUT"),
    };
    if let Some(refusal) = report.refusal() {
        return Err(Problem::new(refusal));
    }
    say(format_args!("\nFAILED: {report}\n"))?;
    Ok(ExitCode::FAILURE)
}
