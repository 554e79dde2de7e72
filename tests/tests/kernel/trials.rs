//! The kernel's own tests.

use std::collections::BTreeSet;
use std::sync::Arc;

use libtest_mimic::{Failed, Trial};
use twinframe_tests::build::{Kernel, Profile};
use twinframe_tests::machine::{MACHINES, Machine};
use twinframe_tests::testlist::KernelTest;
use twinframe_tests::verdict::{Outcome, judge_tests};

use crate::stage::{BOOT_TIME, Boot, Stage, ensure, trial};

/// `MACHINE::suite::test`, machine by machine.
pub(crate) fn tests(stage: &Arc<Stage>) -> Vec<Trial> {
    let on = |machine: &'static Machine| {
        let meant = stage
            .tests
            .iter()
            .filter(move |test| !test.is_proof && test.machines.contains(&machine));
        meant.map(move |test| {
            let test = test.clone();
            trial(
                stage,
                format!("{}::{}", machine.name, test.name),
                move |stage, name| {
                    let words = stage.words(&format!("test={}", test.name));
                    let vm = stage.vm(name, machine, &stage.kernel.image, words);
                    let boot = stage.boot(vm, Some(&stage.kernel.symbols), stage.test_time)?;
                    passes(&boot, &[&test], machine, name)
                },
            )
        })
    };
    MACHINES.iter().flat_map(on).collect()
}

/// Suites that take long, and longer without optimisation.
const LONG: [&str; 4] = ["comparison", "interrupts", "parity", "stress"];

/// `matrix::MACHINE`: everything but the long suites in one boot, and once everything, as `make run` does
/// it, optimised. Not where many emulated CPUs share few real ones, nor where memory is not there before it is
/// written to: there the tests that are meant for it run alone.
pub(crate) fn matrix(stage: &Arc<Stage>) -> Vec<Trial> {
    const MOST_CPUS: u32 = 8;
    let mut trials: Vec<Trial> = MACHINES
        .iter()
        .filter(|machine| machine.cpus <= MOST_CPUS && !machine.is_sparse)
        .map(|machine| {
            trial(stage, format!("matrix::{}", machine.name), |stage, name| {
                boots(stage, name, machine, &stage.kernel, &LONG)
            })
        })
        .collect();
    trials.push(trial(stage, "matrix::release", |stage, name| {
        let kernel = Kernel::build_once_per_run(&stage.workspace, Profile::Release)?;
        boots(stage, name, Machine::default_machine(), &kernel, &[])
    }));
    trials
}

fn suite(test: &KernelTest) -> &str {
    test.name.split_once("::").map_or("", |(suite, _)| suite)
}

/// Runs all suites but some in one boot.
fn boots(
    stage: &Stage,
    name: &str,
    machine: &'static Machine,
    kernel: &Kernel,
    left_out: &[&str],
) -> Result<(), Failed> {
    let is_wanted = |test: &&KernelTest| !test.is_proof && !left_out.contains(&suite(test));
    let expected: Vec<_> = stage.tests.iter().filter(is_wanted).collect();
    let words = if left_out.is_empty() {
        String::new()
    } else {
        let suites: BTreeSet<_> = expected.iter().map(|test| suite(test)).collect();
        let suites: Vec<_> = suites.into_iter().collect();
        format!("suite={}", suites.join(","))
    };
    let vm = stage.vm(name, machine, &kernel.image, stage.words(&words));
    let boot = stage.boot(vm, Some(&kernel.symbols), BOOT_TIME)?;
    passes(&boot, &expected, machine, name)
}

/// Fails with the whole report unless these tests have run and none was skipped that is meant for this machine.
fn passes(
    boot: &Boot,
    expected: &[&KernelTest],
    machine: &Machine,
    name: &str,
) -> Result<(), Failed> {
    let outcome = judge_tests(&boot.run, &boot.events, expected, Some(machine));
    ensure(outcome == Outcome::Passed, || {
        let again = format!("cargo test -p twinframe-tests --test kernel -- --exact {name}");
        format!(
            "{}\nor with all that is around it:\n  {again}",
            boot.report(&outcome)
        )
    })
}
