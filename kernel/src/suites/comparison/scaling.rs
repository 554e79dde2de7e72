//! The same work on more and more CPUs.
//!
//! Where time counts, a rate that falls as CPUs are added shows what they wait for. Where instructions
//! count, the CPUs take turns, and what an operation takes of all of them together must not grow: what
//! grew would be spent on others.

use super::cases::{Boxes, Case, Pair};
use super::measure::Measured;
use super::remote::{self, Remote};
use super::table::{Bench, doubling, with_bench};
use crate::arch::percpu;
use crate::harness::Outcome;

/// By how many percent an operation may take more instructions on many CPUs than on few.
const MORE: u64 = 25;

/// Measures, prints it as it comes, and checks what is exact.
pub(super) fn show() -> Outcome {
    let online = percpu::online().min(remote::MOST_CPUS);
    if online == 1 {
        return Outcome::Skip("there is one CPU");
    }
    with_bench(
        |_| doubling(online),
        |bench| {
            bench.head();
            // Private: nothing is shared but the allocator.
            flat::<Pair<64>>(bench, 1);
            // One CPU alone frees what is its own.
            flat::<Remote>(bench, 2);
            flat::<Pair<4096>>(bench, 1);
            flat::<Boxes>(bench, 1);
        },
    )
}

/// Shows a case. Counted instructions stay what they are on `first` CPUs, whatever is added.
fn flat<C: Case>(bench: &mut Bench, first: usize) {
    let own = bench.case::<C>();
    if bench.counted.is_none() || cfg!(debug_assertions) {
        return;
    }
    let on = |cpus: usize| own.iter().find(|(count, _)| *count == cpus);
    let (_, base) = on(first).expect("so many CPUs were measured");
    for (cpus, measured) in own.iter().filter(|(cpus, _)| *cpus > first) {
        let [few, many] = [base, measured].map(thousandths);
        assert!(
            many * 100 <= few * (100 + MORE),
            "{}: {many} thousandths of an instruction on {cpus} CPUs, {few} on {first}",
            C::NAME
        );
    }
}

/// Of an instruction, for an operation.
const fn thousandths(measured: &Measured) -> u64 {
    measured.ticks * 1000 / measured.operations
}
