//! What a piece of work costs: in time, or in instructions.

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use x86_64::instructions::interrupts::without_interrupts;

use super::cases::Case;
use super::footprint;
use super::subjects::Subject;
use crate::arch::{apic, clock, timer, work};
use crate::suites::counted::Counted;

/// How long a subject works at a case at least, in milliseconds.
const LEAST_MS: u64 = if cfg!(debug_assertions) { 1 } else { 4 };
/// How long it may: a round that takes longer is cut short.
const MOST_MS: u64 = 60;
/// How often it does all that. The best time counts: the others show what else the host had to do.
const TIMES: usize = if cfg!(debug_assertions) { 2 } else { 3 };
/// How many instructions a round may take, where those are counted.
const MOST_INSTRUCTIONS: u64 = 40_000_000;

/// How long work may go on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit(u64);

impl Limit {
    pub(super) fn is_over(self) -> bool {
        clock::ticks() >= self.0
    }
}

/// What came of a round of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Round {
    /// So many operations, everything freed.
    Whole(u64),
    /// Time was over after so many.
    Cut(u64),
    /// Memory ran out.
    NoMemory,
}

/// What came of a subject at a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Measured {
    pub(super) operations: u64,
    pub(super) ticks: u64,
    pub(super) is_cut: bool,
    /// Bytes of the region that were written to, in whole pages.
    pub(super) touched: usize,
}

/// Has one CPU do its part: makes a case, and lets `rounds` call for one round after the other. What measures is
/// compiled once in this way, and not for each subject at each case.
type Part<'a> = &'a (dyn Fn(Rounds<'_>) + Sync);
type Rounds<'a> = &'a mut dyn FnMut(&mut dyn FnMut(Limit) -> Round);

/// Has `cpus` CPUs work at `C` with a fresh `S` in `region`; `None` if memory ran out.
pub(super) fn measure<S: Subject, C: Case>(
    region: &mut [u8],
    cpus: usize,
    counted: Option<Counted>,
) -> Option<Measured> {
    let measured = S::new(region).and_then(|subject| {
        let part = |rounds: Rounds<'_>| {
            let mut case = C::new(cpus);
            rounds(&mut |limit| case.round(&subject, limit));
        };
        match counted {
            Some(counted) if cpus == 1 => exactly(&part, counted),
            Some(counted) => exactly_together(&part, cpus, counted),
            None => best_time(&part, cpus),
        }
    });
    // Also of one that failed: the next finds all marks in their places.
    let touched = footprint::take(region);
    measured.map(|measured| Measured {
        touched,
        ..measured
    })
}

/// One round, after one that brings everything into its usual state, with interrupts masked.
fn exactly(part: Part<'_>, counted: Counted) -> Option<Measured> {
    let limit = || Limit(clock::ticks() + counted.ticks(MOST_INSTRUCTIONS));
    let mut rounds = [(Round::NoMemory, 0); 2];
    part(&mut |work| {
        without_interrupts(|| {
            for round in &mut rounds {
                let limit = limit();
                let start = clock::ticks();
                let done = work(limit);
                *round = (done, clock::ticks() - start);
            }
        });
    });
    let (operations, ticks, is_cut) = match rounds {
        [(Round::Cut(operations), ticks), _] | [_, (Round::Cut(operations), ticks)] => {
            (operations, ticks, true)
        }
        [_, (Round::Whole(operations), ticks)] => (operations, ticks, false),
        _ => return None,
    };
    Some(Measured {
        operations,
        ticks: counted.instructions(ticks),
        is_cut,
        touched: 0,
    })
}

/// The same on several CPUs, which take turns: the instructions of all of them, waiting for each other
/// included. Without timers, so that nothing but the work comes between.
fn exactly_together(part: Part<'_>, cpus: usize, counted: Counted) -> Option<Measured> {
    let arrived = AtomicUsize::new(0);
    let (operations, cut, failed) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let (first, last) = (AtomicU64::new(u64::MAX), AtomicU64::new(0));
    let meet = |time: usize| {
        arrived.fetch_add(1, Ordering::AcqRel);
        while arrived.load(Ordering::Acquire) < time * cpus {
            core::hint::spin_loop();
        }
    };
    let limit = || Limit(clock::ticks() + counted.ticks(MOST_INSTRUCTIONS * cpus as u64));
    work::on_all(&|cpu| {
        if cpu >= cpus {
            return;
        }
        apic::set_timer(0);
        part(&mut |work| {
            meet(1);
            let warm = work(limit());
            meet(2);
            first.fetch_min(clock::ticks(), Ordering::Relaxed);
            let round = work(limit());
            last.fetch_max(clock::ticks(), Ordering::Relaxed);
            for round in [warm, round] {
                match round {
                    Round::Whole(_) => {}
                    Round::Cut(_) => _ = cut.fetch_add(1, Ordering::Relaxed),
                    Round::NoMemory => _ = failed.fetch_add(1, Ordering::Relaxed),
                }
            }
            if let Round::Whole(done) | Round::Cut(done) = round {
                operations.fetch_add(done, Ordering::Relaxed);
            }
            meet(3);
        });
        timer::start();
    });
    let ticks = last.into_inner().saturating_sub(first.into_inner());
    (failed.into_inner() == 0).then(|| Measured {
        operations: operations.into_inner(),
        ticks: counted.instructions(ticks),
        is_cut: cut.into_inner() != 0,
        touched: 0,
    })
}

/// The best of several times.
fn best_time(part: Part<'_>, cpus: usize) -> Option<Measured> {
    let mut best = in_time(part, cpus)?;
    for _ in 1..TIMES {
        if best.is_cut {
            break;
        }
        let next = in_time(part, cpus)?;
        let [of_best, of_next] =
            [best, next].map(|one| u128::from(one.operations) * 1_000_000 / u128::from(one.ticks));
        if of_next > of_best && !next.is_cut {
            best = next;
        }
    }
    Some(best)
}

/// Rounds on every CPU, until time is over.
fn in_time(part: Part<'_>, cpus: usize) -> Option<Measured> {
    let arrived = AtomicUsize::new(0);
    let (operations, failed, whole) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let (first, last) = (AtomicU64::new(u64::MAX), AtomicU64::new(0));
    work::on_all(&|cpu| {
        if cpu >= cpus {
            return;
        }
        part(&mut |work| {
            arrived.fetch_add(1, Ordering::AcqRel);
            while arrived.load(Ordering::Acquire) < cpus {
                core::hint::spin_loop();
            }
            let start = clock::ticks();
            let enough = Limit(start + clock::from_ms(LEAST_MS));
            let limit = Limit(start + clock::from_ms(MOST_MS));
            loop {
                match work(limit) {
                    Round::Whole(done) => {
                        whole.fetch_add(1, Ordering::Relaxed);
                        operations.fetch_add(done, Ordering::Relaxed);
                    }
                    Round::Cut(done) => {
                        operations.fetch_add(done, Ordering::Relaxed);
                        break;
                    }
                    Round::NoMemory => {
                        failed.fetch_add(1, Ordering::Relaxed);
                        break;
                    }
                }
                if enough.is_over() {
                    break;
                }
            }
            first.fetch_min(start, Ordering::Relaxed);
            last.fetch_max(clock::ticks(), Ordering::Relaxed);
        });
    });
    if failed.into_inner() != 0 {
        return None;
    }
    Some(Measured {
        operations: operations.into_inner(),
        ticks: last.into_inner().saturating_sub(first.into_inner()).max(1),
        is_cut: whole.into_inner() == 0,
        touched: 0,
    })
}
