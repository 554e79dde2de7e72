//! What must not grow with the machine.

use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use twinframe_tests::build::{Kernel, Profile};
use twinframe_tests::command::Words;
use twinframe_tests::machine::{Machine, Mebibytes};
use twinframe_tests::verdict::Outcome;

use crate::stage::{Boot, Stage, ensure, table};

/// All of them.
pub(crate) fn trials(stage: &Arc<Stage>) -> Vec<Trial> {
    table(
        stage,
        &[
            (
                "scale::four_tebibytes_touch_little",
                four_tebibytes_touch_little,
            ),
            (
                "scale::latency_does_not_depend_on_memory",
                latency_does_not_depend_on_memory,
            ),
        ],
    )
}

fn machine(name: &str) -> Result<&'static Machine, Failed> {
    Machine::named(name).ok_or_else(|| format!("no machine {name}").into())
}

/// Boots, and fails unless everything passed.
fn passing(
    stage: &Stage,
    name: &str,
    kernel: &Kernel,
    machine: &'static Machine,
    memory: Mebibytes,
    words: &str,
) -> Result<Boot, Failed> {
    const DEADLINE: Duration = Duration::from_secs(300);
    let words = Words::Append(words.into());
    let mut vm = stage.vm(name, machine, &kernel.image, words);
    vm.memory = memory;
    let boot = stage.boot(vm, Some(&kernel.symbols), DEADLINE)?;
    boot.is(|outcome| matches!(outcome, Outcome::Passed))?;
    Ok(boot)
}

/// A heap of 4 TiB is there at once, and most of the host's memory that the machine takes is QEMU's own.
fn four_tebibytes_touch_little(stage: &Stage, name: &str) -> Result<(), Failed> {
    const MOST_KIB: u64 = 512 << 10;
    let machine = machine("mem4t")?;
    let words = "test=low_memory::low_is_low_and_ordinary_is_high";
    let boot = passing(stage, name, &stage.kernel, machine, machine.memory, words)?;
    let ready = boot
        .events
        .stats
        .iter()
        .find(|stat| stat.name == "boot.heap_ready")
        .ok_or("the kernel does not say when its heap was ready")?;
    let peak = boot.run.peak_kib;
    println!(
        "{name}: the heap was ready after {} ms; {} MiB of the host were touched, QEMU's own included",
        ready.value / 1000,
        peak >> 10
    );
    // Where the host does not tell, there is nothing to check.
    ensure(peak <= MOST_KIB, || {
        format!("{peak} KiB of the host's memory were touched, more than {MOST_KIB}")
    })
}

/// The longest call of every entry point is no longer on a large machine than on a small one.
fn latency_does_not_depend_on_memory(stage: &Stage, name: &str) -> Result<(), Failed> {
    let kernel = Kernel::build_once_per_run(&stage.workspace, Profile::Release)?;
    let machine = machine("icount")?;
    let longest = |memory| -> Result<Vec<(String, u64)>, Failed> {
        let boot = passing(stage, name, &kernel, machine, memory, "suite=latency")?;
        let cases = boot.events.benches.into_iter().filter_map(|bench| {
            let entry_point = bench.case.strip_suffix(": longest")?;
            Some((entry_point.to_owned(), bench.instructions?))
        });
        Ok(cases.collect())
    };
    let small = longest(Mebibytes(128))?;
    let large = longest(Mebibytes(6 << 10))?;
    ensure(small.len() >= 20 && small.len() == large.len(), || {
        format!("{} entry points, then {}", small.len(), large.len())
    })?;
    for ((entry_point, few), (_, many)) in small.iter().zip(&large) {
        // Where there is more memory a cache may hold more, up to a limit, or be there at all; and memory
        // is laid out otherwise.
        ensure(*many <= few * 2 + 2_000, || {
            format!("{entry_point}: {few} instructions with 128 MiB, {many} with 6 GiB")
        })?;
    }
    Ok(())
}
