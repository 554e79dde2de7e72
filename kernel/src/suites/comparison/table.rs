//! All of it, for people and for programs.

use alloc::vec::Vec;
use core::fmt;

use super::cases::{Batch, Boxes, Case, Entries, Growth, Mixed, Pair, SCALE};
use super::footprint;
use super::measure::{Measured, measure};
use super::peers::{BitTree, BuddySystem, LinkedList, Rlsf, Talc};
use super::subjects::{Floor, Locked, Subject, Twinframe};
use crate::arch::{clock, percpu};
use crate::console::{print, println};
use crate::events::{self, Event};
use crate::harness::Outcome;
use crate::memory::HEAP;
use crate::suites::counted::Counted;
use crate::suites::free_pages;

/// The region that each subject gets, as an order of pages: 64 MiB, or what there is; less for less work.
const ORDERS: [u32; 3] = if cfg!(debug_assertions) {
    [12, 11, 10]
} else {
    [14, 13, 12]
};

/// What is measured on.
pub(super) struct Bench {
    region: &'static mut [u8],
    pub(super) counted: Option<Counted>,
    /// Numbers of CPUs.
    cpus: Vec<usize>,
}

/// Measures everything, and prints it as it comes.
pub(super) fn show() -> Outcome {
    let online = percpu::online();
    let cpus = |counted: Option<Counted>| match counted {
        // Most cases share nothing between CPUs; what does is in the table of `scaling`.
        Some(_) => alloc::vec![1],
        None => doubling(online),
    };
    with_bench(cpus, |bench| {
        bench.head();
        bench.case::<Pair<64>>();
        bench.case::<Pair<1024>>();
        bench.case::<Batch<64, 10_000, 0>>();
        bench.case::<Batch<64, 10_000, 1>>();
        bench.case::<Batch<64, 10_000, 2>>();
        bench.case::<Mixed>();
        bench.case::<Growth>();
        bench.case::<Batch<64, 25_000, 2>>();
        bench.case::<Batch<520, 7_500, 2>>();
        bench.case::<Entries>();
        bench.case::<Boxes>();
    })
}

/// 1, 2, 4 and so on, and at last `most`.
pub(super) fn doubling(most: usize) -> Vec<usize> {
    (0..)
        .map(|power| 1 << power)
        .take_while(|count| *count < most)
        .chain([most])
        .collect()
}

/// Runs `body` with a bench for the numbers of CPUs that `cpus` says.
pub(super) fn with_bench(
    cpus: impl FnOnce(Option<Counted>) -> Vec<usize>,
    body: impl FnOnce(&mut Bench),
) -> Outcome {
    let block = ORDERS
        .iter()
        .map(|order| 1_usize << order)
        .find_map(|count| HEAP.alloc_pages(count, 0).ok().map(|start| (start, count)));
    let Some((start, count)) = block else {
        return Outcome::Skip("there is no large block of memory");
    };
    let memory = core::ptr::with_exposed_provenance_mut(start);
    // SAFETY: allocated just now, and freed when nobody uses it any more.
    let region = unsafe { core::slice::from_raw_parts_mut(memory, count * 4096) };
    footprint::take(region);
    let counted = Counted::find();
    body(&mut Bench {
        region,
        counted,
        cpus: cpus(counted),
    });
    assert_eq!(free_pages(start, count), Ok(()));
    Outcome::Pass
}

impl Bench {
    pub(super) fn head(&self) {
        let what = match self.counted {
            Some(_) => "instructions per operation, exactly",
            None => "operations per second",
        };
        println!(
            "\ncomparison: {what}; beside it, how much of {} MiB was written to",
            self.region.len() >> 20
        );
        println!(
            "(the peers behind a spin lock with interrupts masked; ~: a round was cut short; (nothing): the work \
             without an allocator)"
        );
        if SCALE != 1 {
            println!(
                "(no optimisation: only 1/{SCALE} of the work, and figures that mean nothing)"
            );
        }
        print(format_args!("{:<32}", ""));
        for cpus in &self.cpus {
            let word = if *cpus == 1 { "CPU" } else { "CPUs" };
            print(format_args!("{cpus:>6} {word:<5}"));
        }
        println!("{:>12}", "touched");
    }

    /// A line for each subject. Returns what came of Twinframe, for each number of CPUs.
    pub(super) fn case<C: Case>(&mut self) -> Vec<(usize, Measured)> {
        println!("{}", C::NAME);
        let own = self.subject::<Twinframe, C>();
        self.subject::<Locked<BitTree>, C>();
        self.subject::<Locked<LinkedList>, C>();
        self.subject::<Locked<BuddySystem>, C>();
        self.subject::<Locked<Rlsf>, C>();
        self.subject::<Locked<Talc>, C>();
        // A further subject is one line here, and an implementation of `Subject` or `Heap`.
        self.subject::<Floor, C>();
        own
    }

    fn subject<S: Subject, C: Case>(&mut self) -> Vec<(usize, Measured)> {
        self.line(S::NAME, C::NAME, measure::<S, C>)
    }

    /// A line of the table, from `measure` for each number of CPUs.
    fn line(
        &mut self,
        subject: &str,
        case: &str,
        measure: fn(&mut [u8], usize, Option<Counted>) -> Option<Measured>,
    ) -> Vec<(usize, Measured)> {
        print(format_args!("  {subject:<30}"));
        let mut all = Vec::new();
        for cpus in &self.cpus {
            let measured = measure(self.region, *cpus, self.counted);
            match measured {
                Some(measured) => {
                    let figure = Figure {
                        measured,
                        is_counted: self.counted.is_some(),
                    };
                    print(format_args!("{figure:>11} "));
                    report(subject, case, &measured, *cpus, self.counted.is_some());
                    all.push((*cpus, measured));
                }
                None => print(format_args!("{:>11} ", "no memory")),
            }
        }
        match all.last() {
            Some((_, measured)) => println!("{:>8} KiB", measured.touched / 1024),
            None => println!("{:>12}", "-"),
        }
        all
    }
}

/// A cell of the table.
struct Figure {
    measured: Measured,
    is_counted: bool,
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Measured {
            operations,
            ticks,
            is_cut,
            ..
        } = self.measured;
        let operations = operations.max(1);
        let (tenths, unit) = if self.is_counted {
            (ticks * 10 / operations, "")
        } else {
            let us = clock::to_us(ticks).max(1);
            match operations * 1_000_000 / us {
                rate @ 1_000_000.. => (rate / 100_000, " M/s"),
                rate => (rate / 100, " k/s"),
            }
        };
        let mark = if is_cut { "~" } else { "" };
        let (whole, tenth) = (tenths / 10, tenths % 10);
        let digits = whole.max(1).ilog10() as usize + 1;
        let width = mark.len() + digits + 2 + unit.len();
        let pad = f.width().unwrap_or(0).saturating_sub(width);
        write!(f, "{:pad$}{mark}{whole}.{tenth}{unit}", "")
    }
}

fn report(subject: &str, case: &str, measured: &Measured, cpus: usize, is_counted: bool) {
    let ns = clock::to_us(measured.ticks).saturating_mul(1000);
    events::emit(&Event::Bench {
        case,
        subject,
        cpus,
        operations: measured.operations,
        ns: (!is_counted).then_some(ns),
        instructions: is_counted.then_some(measured.ticks),
        cut: measured.is_cut,
        touched: measured.touched as u64,
    });
}
