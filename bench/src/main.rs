//! Twinframe beside other allocators: the same work, in one process, in turns.
//!
//! `cargo run --release -p twinframe-bench -- [--rounds N] [--json FILE] [WORD..]` runs the cases
//! whose name contains one of the words, or all.

mod harness;
mod memory;
mod pages;
mod peers;
mod platform;

use harness::Runner;

fn main() -> std::process::ExitCode {
    match Runner::from_args(std::env::args().skip(1)) {
        Ok(mut runner) => {
            pages::run(&mut runner);
            runner.finish()
        }
        Err(error) => {
            eprintln!("{error}");
            eprintln!("usage: twinframe-bench [--rounds N] [--json FILE] [WORD..]");
            std::process::ExitCode::from(2)
        }
    }
}
