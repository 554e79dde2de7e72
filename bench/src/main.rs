//! Twinframe beside other allocators: the same work, in one process, in turns.
//!
//! `cargo run --release -p twinframe-bench -- [--seconds N] [--json FILE] [--svg FILE] [WORD..]` runs the cases
//! whose name contains one of the words, or all.

mod counter;
#[cfg(test)]
mod defects;
mod harness;
mod memory;
mod objects;
mod options;
mod pages;
mod peers;
mod platform;
mod report;
mod series;
mod svg;
mod target;
mod threads;

use std::process::ExitCode;

use harness::Runner;
use options::{Options, USAGE};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some(answer) = objects::answer(&args) {
        println!("{answer}");
        return ExitCode::SUCCESS;
    }
    let options = match Options::parse(args.into_iter()) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}\nusage: {USAGE}");
            return ExitCode::from(2);
        }
    };
    let mut runner = Runner::new(options);
    objects::run(&mut runner);
    pages::run(&mut runner);
    if let Err(error) = runner.finish() {
        eprintln!("cannot write the results: {error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
