//! Object allocators.

mod batches;
mod boxes;
mod floor;
mod heaps;
mod held;
#[cfg(feature = "mallocs")]
mod mallocs;
mod mixed;
mod pairs;
mod size;
mod subjects;
mod threads;

use std::alloc::Layout;

use crate::harness::Runner;
use subjects::Subjects;

/// The sizes that are measured one by one.
const SIZES: [usize; 4] = [8, 64, 256, 2048];

pub(crate) fn run(runner: &mut Runner) {
    held::run(runner);
    let subjects = Subjects::new();
    pairs::run(runner, &subjects);
    batches::run(runner, &subjects);
    mixed::run(runner, &subjects);
    threads::run(runner, &subjects);
    boxes::run(runner, &subjects);
    size::run(runner);
}

/// Answers the arguments of a process that a case has started; `None` if these are not such ones.
pub(crate) fn answer(args: &[String]) -> Option<String> {
    match args {
        [option, name, sizes] if option == held::HELD => held::report(name, sizes),
        _ => None,
    }
}

/// Objects of that size, aligned for a word.
const fn layout(size: usize) -> Layout {
    match Layout::from_size_align(size, 8) {
        Ok(layout) => layout,
        Err(_) => panic!("a size of a few bytes"),
    }
}
