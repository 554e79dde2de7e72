//! Twinframe beside other allocators: the same work, in one process, in turns.
//!
//! `cargo run --release -p twinframe-bench -- [--rounds N] [--json FILE] [WORD..]` runs the cases
//! whose name contains one of the words, or all.

#[cfg(test)]
mod defects;
mod harness;
mod memory;
mod objects;
mod pages;
mod peers;
mod platform;
mod target;
mod threads;

use harness::Runner;

fn main() -> std::process::ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some(answer) = objects::answer(&args) {
        println!("{answer}");
        return std::process::ExitCode::SUCCESS;
    }
    match Runner::from_args(args.into_iter()) {
        Ok(mut runner) => {
            objects::run(&mut runner);
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
