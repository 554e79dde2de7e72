//! `cargo test`, and what all its parts add up to.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::time::Instant;

use twinframe_tests::{Context, Problem, Result, Workspace, parent};

use crate::screen::say;

/// What checks the lock-free code under every interleaving: the same tests' crate, with the model
/// checker's atomics.
const MODELS: [&str; 6] = [
    "test",
    "--package=twinframe",
    "--lib",
    "--target-dir=target/loom",
    "--",
    "models::",
];

/// The allocator's tests once more, with every check that its features can add.
const HARDENED: [&str; 5] = [
    "test",
    "--no-fail-fast",
    "--package=twinframe",
    "--lib",
    "--features=hardened,init_on_free,fault_injection",
];

/// The examples in the documentation of what further features of the allocator offer.
const EXAMPLES: [&str; 5] = [
    "test",
    "--no-fail-fast",
    "--package=twinframe",
    "--doc",
    "--features=allocator_api2,conformance",
];

/// The fuzz targets' corpora, without a fuzzer. They are a workspace of their own, but need hardly anything
/// that is not built already.
const CORPORA: [&str; 5] = [
    "test",
    "--no-fail-fast",
    "--manifest-path=fuzz/Cargo.toml",
    "--no-default-features",
    "--target-dir=target",
];

/// Runs every test there is, shows cargo's output as it comes, and ends with the sum. With `arguments`,
/// runs what they select of `cargo test`.
pub(crate) fn run(workspace: &Workspace, arguments: &[OsString]) -> Result<ExitCode> {
    let started = Instant::now();
    let mut sum = Sum::default();
    let mut cargo = cargo(workspace);
    cargo.args(["test", "--no-fail-fast"]).args(arguments);
    let mut status = follow(cargo, &mut sum)?;
    if arguments.is_empty() {
        let mut models = self::cargo(workspace);
        models.args(MODELS).env("RUSTFLAGS", "--cfg loom");
        let mut hardened = self::cargo(workspace);
        hardened.args(HARDENED);
        let mut examples = self::cargo(workspace);
        examples.args(EXAMPLES);
        let mut corpora = self::cargo(workspace);
        corpora.args(CORPORA);
        for further in [hardened, examples, corpora, models] {
            let of_further = follow(further, &mut sum)?;
            if status.success() {
                status = of_further;
            }
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    say(format_args!(
        "\nall tests together: {} passed, {} failed, {} ignored, in {seconds:.0} s\n",
        sum.passed, sum.failed, sum.ignored
    ))?;
    for name in &sum.failures {
        say(format_args!("  failed: {name}\n"))?;
    }
    if status.success() {
        Ok(ExitCode::SUCCESS)
    } else {
        say(format_args!(
            "not everything passed: cargo test ended with {status}\n"
        ))?;
        Ok(ExitCode::FAILURE)
    }
}

fn cargo(workspace: &Workspace) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace.root());
    cargo
}

/// Runs cargo, shows what it prints, and adds it up.
fn follow(mut cargo: Command, sum: &mut Sum) -> Result<ExitStatus> {
    // What is left of the tests, and QEMU, ends when this is told to end.
    parent::tie(&mut cargo);
    let mut cargo = cargo
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run cargo")?;
    let stdout = cargo
        .stdout
        .take()
        .ok_or_else(|| Problem::new("cargo has no standard output"))?;
    let mut screen = std::io::stdout();
    for line in BufReader::new(stdout).split(b'\n') {
        let line = line.context("cannot read cargo's output")?;
        sum.add(&String::from_utf8_lossy(&line));
        screen
            .write_all(&line)
            .and_then(|()| screen.write_all(b"\n"))
            .context("cannot write to standard output")?;
    }
    cargo.wait().context("cannot wait for cargo")
}

/// What the lines of all test programs add up to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sum {
    passed: u64,
    failed: u64,
    ignored: u64,
    failures: Vec<String>,
}

impl Sum {
    /// Takes one line of output. The format is libtest's, and libtest-mimic's likewise.
    fn add(&mut self, line: &str) {
        if let Some(counts) = line.strip_prefix("test result: ") {
            let count = |what: &str| {
                let number = counts
                    .split(['.', ';'])
                    .find_map(|part| part.trim().strip_suffix(what));
                number
                    .and_then(|number| number.trim().parse::<u64>().ok())
                    .unwrap_or(0)
            };
            self.passed += count("passed");
            self.failed += count("failed");
            self.ignored += count("ignored");
        } else if let Some(name) = line
            .strip_prefix("test ")
            .and_then(|line| line.strip_suffix("... FAILED"))
        {
            self.failures.push(name.trim().to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up() {
        let mut sum = Sum::default();
        for line in [
            "running 3 tests",
            "test a::b ... ok",
            "test c::d ... FAILED",
            "test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 4 filtered out; finished in 0.01s",
            "test result: ok. 10 passed; 0 failed; 3 ignored; 0 measured; 0 filtered out; finished in 1.00s",
        ] {
            sum.add(line);
        }
        assert_eq!(
            sum,
            Sum {
                passed: 12,
                failed: 1,
                ignored: 3,
                failures: vec!["c::d".into()]
            }
        );
    }
}
