//! All situations, for people and for programs.

use super::calls::Calls;
use super::situations::{self, Situation};
use crate::arch::{apic, percpu, timer, work};
use crate::console::println;
use crate::events::{self, Event};
use crate::failure::Short;
use crate::harness::Outcome;
use crate::suites::counted::Counted;

/// A situation, and its entry points: the name of each, and how many instructions a call may take.
struct Row {
    situation: Situation,
    count: usize,
    gives: (&'static str, u64),
    takes: (&'static str, u64),
}

const fn row(
    situation: Situation,
    count: usize,
    gives: (&'static str, u64),
    takes: (&'static str, u64),
) -> Row {
    Row {
        situation,
        count,
        gives,
        takes,
    }
}

/// Many calls where they are short.
const MANY: usize = if cfg!(debug_assertions) {
    1_000
} else {
    20_000
};
/// Few where they are long.
const FEW: usize = if cfg!(debug_assertions) { 5 } else { 50 };

/// For how many instructions interrupts may stay masked.
const MASKED: u64 = 20_000;

/// What is not optimised takes more.
const SCALE: u64 = if cfg!(debug_assertions) { 20 } else { 1 };

/// The bounds are constants: how much memory there is does not enter.
#[rustfmt::skip]
static ROWS: &[Row] = &[
    row(situations::objects::<8>, MANY, ("alloc, 8 B", 40_000), ("dealloc, 8 B", 20_000)),
    row(situations::objects::<64>, MANY, ("alloc, 64 B", 40_000), ("dealloc, 64 B", 20_000)),
    row(situations::objects::<512>, MANY, ("alloc, 512 B", 40_000), ("dealloc, 512 B", 20_000)),
    row(situations::objects::<2048>, MANY, ("alloc, 2048 B", 40_000), ("dealloc, 2048 B", 20_000)),
    row(situations::resized, MANY, ("realloc, growing", 40_000), ("realloc, shrinking", 40_000)),
    row(situations::pages::<0, 2_000>, MANY, ("alloc_pages, order 0", 20_000), ("dealloc_pages, order 0", 20_000)),
    row(situations::pages::<3, 500>, MANY, ("alloc_pages, order 3", 20_000), ("dealloc_pages, order 3", 20_000)),
    row(situations::pages::<5, 200>, MANY, ("alloc_pages, order 5", 20_000), ("dealloc_pages, order 5", 20_000)),
    row(situations::pages::<9, 20>, MANY, ("alloc_pages, order 9", 20_000), ("dealloc_pages, order 9", 20_000)),
    row(situations::low_pages, MANY, ("alloc_pages_lowmem", 20_000), ("dealloc_pages, low", 20_000)),
    row(situations::bulk, MANY / 10, ("alloc_bulk, 64 x 64 B", 40_000), ("free_bulk, 64 x 64 B", 40_000)),
    row(situations::drains, FEW, ("drain_cpu", 80_000), ("drain", 400_000)),
    row(situations::kept, FEW, ("drain, 16,000 objects kept", 4_000_000), ("alloc_pages fails, 16,000 kept", 4_000_000)),
    row(situations::failures, FEW, ("alloc_pages fails, caches full", 400_000), ("alloc_pages fails, caches empty", 100_000)),
    row(situations::exhaustion, FEW, ("alloc fails, exhausted", 120_000), ("alloc_pages fails, exhausted", 120_000)),
    row(situations::regions::<2048>, FEW, ("add_region, 8 MiB", 10_000), ("remove_section, 8 MiB", 140_000)),
    row(situations::regions::<8192>, FEW, ("add_region, 32 MiB", 10_000), ("remove_section, 32 MiB", 140_000)),
];

/// What an allocation takes when other CPUs have freed.
static REMOTE: &[Row] = &[row(
    situations::freed_elsewhere,
    MANY,
    ("alloc, 2048 B, of new slabs", 40_000),
    ("alloc, freed by another CPU", 40_000),
)];

/// Measures everything, prints it as it comes, and holds it against the bounds.
pub(super) fn show() -> Outcome {
    show_rows(ROWS)
}

/// The same of what takes a second CPU, which sleeps while the first one is measured.
pub(super) fn show_remote() -> Outcome {
    if percpu::online() == 1 {
        return Outcome::Skip("there is one CPU");
    }
    show_rows(REMOTE)
}

fn show_rows(rows: &[Row]) -> Outcome {
    let Some(counted) = Counted::find() else {
        return Outcome::Skip("instructions are not counted on this machine");
    };
    println!(
        "\nlatency: instructions of a call, exactly; beside it, the longest stretch with interrupts masked"
    );
    println!(
        "{:<32}{:>10}{:>10}{:>10}{:>10}{:>10}",
        "", "median", "99.99 %", "longest", "bound", "masked"
    );
    // No interrupt comes between, nor does another CPU wake up.
    work::on_all(&|_| apic::set_timer(0));
    let mut within = true;
    for row in rows {
        let mut calls = [(); 2].map(|()| Calls::new(counted, row.count));
        let [gives, takes] = &mut calls;
        (row.situation)(gives, takes);
        within &= show_one(row.gives, gives);
        within &= show_one(row.takes, takes);
    }
    work::on_all(&|_| timer::start());
    assert!(within, "a call took longer than its bound, marked with !");
    Outcome::Pass
}

/// A line, and its events. Returns whether it is within its bounds.
fn show_one((name, bound): (&str, u64), calls: &mut Calls) -> bool {
    let masked = calls.longest_masked();
    let bound = bound * SCALE;
    let [median, high, longest] =
        [(1, 2), (9_999, 10_000), (1, 1)].map(|(part, of)| calls.percentile(part, of));
    let within = longest <= bound && masked <= MASKED * SCALE;
    let mark = if within { "" } else { " !" };
    println!("{name:<32}{median:>10}{high:>10}{longest:>10}{bound:>10}{masked:>10}{mark}");
    for (what, instructions) in [
        ("median", median),
        ("99.99 %", high),
        ("longest", longest),
        ("bound", bound),
        ("masked", masked),
    ] {
        let case = Short::<64>::new(format_args!("{name}: {what}"));
        events::emit(&Event::Bench {
            case: case.as_str(),
            subject: "twinframe",
            cpus: 1,
            operations: 1,
            ns: None,
            instructions: Some(instructions),
            cut: false,
            touched: 0,
        });
    }
    within
}
