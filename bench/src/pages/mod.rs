//! Page allocators.

mod lowmem;
mod mixed;
mod pairs;
mod regions;
mod setup;
mod size;
mod subjects;
mod threads;

use crate::harness::Runner;

const PAGE: usize = 4096;
const MIB: usize = 1 << 20;

pub(crate) fn run(runner: &mut Runner) {
    pairs::run(runner);
    mixed::run(runner);
    lowmem::run(runner);
    regions::run(runner);
    threads::run(runner);
    size::run(runner);
    setup::run(runner);
}
