//! What all trials share: the kernel, its tests, and one way to boot it and to tell what happened.

use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use std::sync::Arc;
use twinframe_tests::build::{Kernel, Profile};
use twinframe_tests::claim::Claim;
use twinframe_tests::command::{Accelerator, Vm, Words};
use twinframe_tests::events::Events;
use twinframe_tests::knobs::{accelerator, seconds, seed};
use twinframe_tests::machine::Machine;
use twinframe_tests::qemu::{self, Run, Watch};
use twinframe_tests::report::Report;
use twinframe_tests::symbols::Symbols;
use twinframe_tests::testlist::{self, KernelTest};
use twinframe_tests::verdict::{Outcome, judge};
use twinframe_tests::{Result, Workspace};

/// The kernel is built as this program is.
pub(crate) const PROFILE: Profile = if cfg!(debug_assertions) {
    Profile::Debug
} else {
    Profile::Release
};

/// How long one in-kernel test may take: hundreds of times what it does take, for a machine under load.
const TEST_TIME: Duration = Duration::from_secs(120);

/// What changes that.
const TEST_TIME_KNOB: &str = "TWINFRAME_TEST_TIMEOUT";

/// How long all of them may take in one boot.
pub(crate) const BOOT_TIME: Duration = Duration::from_secs(600);

/// The shared part.
pub(crate) struct Stage {
    pub(crate) workspace: Workspace,
    pub(crate) kernel: Kernel,
    pub(crate) tests: Vec<KernelTest>,
    pub(crate) test_time: Duration,
    accelerator: Option<Accelerator>,
    seed: Option<u64>,
    is_shown: bool,
}

/// A run, and what it takes to report it.
pub(crate) struct Boot {
    pub(crate) vm: Vm,
    pub(crate) run: Run,
    pub(crate) events: Events,
    symbols: Option<Symbols>,
    serial_log: PathBuf,
    time_knob: Option<&'static str>,
}

impl Stage {
    /// Builds the kernel and reads its tests.
    pub(crate) fn set(is_shown: bool) -> Result<Self> {
        let workspace = Workspace::find();
        let test_time = match env::var(TEST_TIME_KNOB) {
            Ok(text) if !text.is_empty() => seconds(TEST_TIME_KNOB, &text)?,
            _ => TEST_TIME,
        };
        // Emulated unless asked otherwise: the same on every host.
        let accelerator = match env::var("ACCEL") {
            Ok(text) if !text.is_empty() => Some(accelerator(&text)?),
            _ => None,
        };
        let seed = match env::var("SEED") {
            Ok(text) if !text.is_empty() => Some(seed(&text)?),
            _ => None,
        };
        let kernel = Kernel::build_once_per_run(&workspace, PROFILE)?;
        let tests = testlist::read(&kernel.image)?;
        Ok(Self {
            workspace,
            kernel,
            tests,
            test_time,
            accelerator,
            seed,
            is_shown,
        })
    }

    /// `kernel` on `machine`; the files of the run lie in a folder of the trial's name.
    pub(crate) fn vm(
        &self,
        trial: &str,
        machine: &'static Machine,
        kernel: &Path,
        words: Words,
    ) -> Vm {
        let mut vm = Vm::new(machine, kernel, words, &self.folder(trial));
        if let Some(accelerator) = self.accelerator
            && !machine.is_scheduled()
        {
            vm.accelerator = accelerator;
        }
        vm
    }

    /// What a kernel is told that runs these tests: their choices are those of `SEED`, if that is set.
    pub(crate) fn words(&self, tests: &str) -> Words {
        let seed = self.seed.map(|seed| format!("seed={seed}"));
        let words = [Some(tests.to_owned()), seed].into_iter().flatten();
        let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
        Words::Append(words.join(" "))
    }

    pub(crate) fn folder(&self, trial: &str) -> PathBuf {
        self.workspace
            .output()
            .join("trials")
            .join(trial.replace("::", "."))
    }

    /// Boots `vm`, whose kernel has its line tables in `symbols`.
    pub(crate) fn boot(&self, vm: Vm, symbols: Option<&Path>, deadline: Duration) -> Result<Boot> {
        // Another `cargo test` may be at the same trial.
        let _claim = Claim::take(vm.events.parent().unwrap_or(Path::new("/")))?;
        let serial_log = vm.events.with_file_name("serial.log");
        let run = qemu::run(
            &vm,
            &Watch {
                serial_log: serial_log.clone(),
                is_shown: self.is_shown,
                deadline,
            },
        )?;
        let events = Events::read(&vm.events)?;
        let symbols = symbols.and_then(|elf| Symbols::open(elf, &self.workspace).ok());
        Ok(Boot {
            vm,
            run,
            events,
            symbols,
            serial_log,
            // The other deadlines are fixed.
            time_knob: (deadline == self.test_time).then_some(TEST_TIME_KNOB),
        })
    }
}

impl Boot {
    /// The report on the run, if it is taken to be this.
    pub(crate) fn report(&self, outcome: &Outcome) -> String {
        let report = Report {
            outcome,
            run: &self.run,
            events: &self.events,
            symbols: self.symbols.as_ref(),
            vm: &self.vm,
            serial_log: Some(&self.serial_log),
            time_knob: self.time_knob,
        };
        report.to_string()
    }

    /// Fails unless the run is judged so.
    pub(crate) fn is(&self, expected: impl FnOnce(&Outcome) -> bool) -> Result<(), Failed> {
        let outcome = judge(&self.run, &self.events);
        let taken_for = || format!("it was taken for {outcome:?}\n{}", self.report(&outcome));
        ensure(expected(&outcome), taken_for)
    }

    /// Fails unless the report has all of `needles`, in this order.
    pub(crate) fn says(&self, needles: &[&str]) -> Result<(), Failed> {
        expect(&self.report(&judge(&self.run, &self.events)), needles)
    }
}

/// What a trial does, given its own name.
type Body = fn(&Stage, &str) -> Result<(), Failed>;

/// Trials from a table of names and functions.
pub(crate) fn table(stage: &Arc<Stage>, rows: &[(&str, Body)]) -> Vec<Trial> {
    rows.iter()
        .map(|(name, body)| trial(stage, *name, *body))
        .collect()
}

/// A trial that is given the stage and its own name.
pub(crate) fn trial(
    stage: &Arc<Stage>,
    name: impl Into<String>,
    body: impl FnOnce(&Stage, &str) -> Result<(), Failed> + Send + 'static,
) -> Trial {
    let (name, stage) = (name.into(), Arc::clone(stage));
    Trial::test(name.clone(), move || body(&stage, &name))
}

/// Fails unless all of `needles` are in `text`, in this order.
pub(crate) fn expect(text: &str, needles: &[&str]) -> Result<(), Failed> {
    let mut rest = text;
    for needle in needles {
        let Some((_, after)) = rest.split_once(needle) else {
            return Err(
                format!("{needle:?} is not there, or not in its place, in:\n{text}").into(),
            );
        };
        rest = after;
    }
    Ok(())
}

/// Fails with `text` unless `condition` holds.
pub(crate) fn ensure(condition: bool, text: impl FnOnce() -> String) -> Result<(), Failed> {
    if condition {
        Ok(())
    } else {
        Err(text().into())
    }
}
