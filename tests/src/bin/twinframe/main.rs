//! The front door: what `make` calls.

mod run;
mod screen;
mod suite;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use lexopt::Arg::{Long, Short, Value};
use lexopt::ValueExt;
use twinframe_tests::build::{Kernel, Profile};
use twinframe_tests::knobs::{Knobs, NAMES};
use twinframe_tests::target::Target;
use twinframe_tests::{Problem, Result, Workspace, install, parent};

use crate::screen::say;

const USAGE: &str = "\
usage: twinframe COMMAND

  run              build the kernel, boot it, exit with 0 only if everything passed
  runner ELF WORDS boot this ELF, with these words as its command line (cargo's runner)
  kernel           build the release kernel; the last line is the path of its ELF
  test ARGUMENTS   cargo test with these arguments, and a summary at its end
  qemu             get QEMU, if it is missing and that can be done without asking
  target           the triple that the kernel is built for

The knobs of `run` and `runner` are environment variables and, for `run`, options in lower case:
  SMP MEM MACHINE ACCEL ICOUNT SEED SUITE TEST MINUTES TIMEOUT (--smp 1 --mem 64M ...); `make help` explains them.
";

fn main() -> ExitCode {
    match dispatch() {
        Ok(code) => code,
        Err(problem) => {
            eprintln!("twinframe: {problem}");
            ExitCode::from(2)
        }
    }
}

fn dispatch() -> Result<ExitCode> {
    parent::tie_if_asked();
    let workspace = Workspace::find();
    let mut options = lexopt::Parser::from_env();
    let command = match options.next().map_err(misuse)? {
        Some(Value(command)) => command,
        Some(Long("help") | Short('h')) => {
            print!("{USAGE}");
            return Ok(ExitCode::SUCCESS);
        }
        Some(other) => return Err(misuse(other.unexpected())),
        None => return Err(misuse("no command")),
    };
    match command.to_str().unwrap_or_default() {
        "run" => {
            let knobs = knobs(&mut options)?;
            install::require()?;
            run::release(&workspace, &knobs)
        }
        "runner" => {
            let elf = options.value().map_err(misuse)?;
            let words = rest(&mut options)?;
            let knobs = Knobs::read(from_environment)?;
            install::require()?;
            run::elf(&workspace, PathBuf::from(elf), &words, &knobs)
        }
        "kernel" => {
            nothing_more(&mut options)?;
            let kernel = Kernel::build(&workspace, Profile::Release)?;
            say(format_args!("{}\n", kernel.image.display()))?;
            Ok(ExitCode::SUCCESS)
        }
        "test" => suite::run(&workspace, &rest(&mut options)?),
        "qemu" => {
            nothing_more(&mut options)?;
            install::ensure().map(|()| ExitCode::SUCCESS)
        }
        "target" => {
            nothing_more(&mut options)?;
            say(format_args!("{}\n", Target::choose(&workspace)?.triple()))?;
            Ok(ExitCode::SUCCESS)
        }
        other => Err(misuse(format!("no such command: {other:?}"))),
    }
}

/// The knobs from the options, else from the environment.
fn knobs(options: &mut lexopt::Parser) -> Result<Knobs> {
    let mut given = Vec::new();
    while let Some(option) = options.next().map_err(misuse)? {
        let Long(name) = option else {
            return Err(misuse(option.unexpected()));
        };
        let Some(name) = NAMES.iter().find(|known| known.eq_ignore_ascii_case(name)) else {
            return Err(misuse(option.unexpected()));
        };
        let value = options
            .value()
            .and_then(|value| value.string())
            .map_err(misuse)?;
        given.push((*name, value));
    }
    Knobs::read(|name| {
        let option = given.iter().rev().find(|(knob, _)| *knob == name);
        option
            .map(|(_, value)| value.clone())
            .or_else(|| from_environment(name))
    })
}

/// What is no text is no value of any knob; so it is refused as what it looks like.
fn from_environment(name: &str) -> Option<String> {
    let value = std::env::var_os(name)?;
    Some(value.to_string_lossy().into_owned())
}

fn rest(options: &mut lexopt::Parser) -> Result<Vec<OsString>> {
    Ok(options.raw_args().map_err(misuse)?.collect())
}

fn nothing_more(options: &mut lexopt::Parser) -> Result<()> {
    match options.next().map_err(misuse)? {
        None => Ok(()),
        Some(other) => Err(misuse(other.unexpected())),
    }
}

fn misuse(what: impl std::fmt::Display) -> Problem {
    Problem::new(format!(
        "{what}; see `cargo run -q -p twinframe-tests -- --help`"
    ))
}
