//! Every in-kernel test on every machine it is for, each in a fresh virtual machine; every machine with a whole
//! boot; and the proofs that the runner tells failures apart.
//!
//! | trials | what |
//! |--------|------|
//! | `MACHINE::suite::test` | one in-kernel test, alone |
//! | `matrix::MACHINE` | all of them in one boot |
//! | `scale::...` | what must not grow with the machine: memory touched, the longest calls |
//! | `runner::...` | kernels that fail on purpose, and mistakes a user can make: the report must name them |

mod front_door;
mod handmade;
mod proofs;
mod scale;
mod stage;
mod trials;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::Arguments;
use twinframe_tests::{Result, install, parent};

use stage::Stage;

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(problem) => {
            eprintln!("twinframe: {problem}");
            ExitCode::from(101)
        }
    }
}

fn run() -> Result<ExitCode> {
    parent::tie_if_asked();
    let arguments = Arguments::from_args();
    if !arguments.list {
        install::require()?;
    }
    let stage = Arc::new(Stage::set(arguments.nocapture)?);
    let mut all = trials::tests(&stage);
    all.extend(trials::matrix(&stage));
    all.extend(scale::trials(&stage));
    all.extend(proofs::trials(&stage));
    all.extend(handmade::trials(&stage));
    all.extend(front_door::trials(&stage));
    Ok(libtest_mimic::run(&arguments, all).exit_code())
}
