//! What a piece of work costs: in time, or in instructions.

use core::arch::asm;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use x86_64::instructions::interrupts::without_interrupts;

use super::cases::Case;
use super::footprint;
use super::subjects::Subject;
use crate::arch::{clock, work};

/// How long a subject works at a case at least, in milliseconds.
const LEAST_MS: u64 = if cfg!(debug_assertions) { 1 } else { 4 };
/// How long it may: a round that takes longer is cut short.
const MOST_MS: u64 = 60;
/// How often it does all that. The best time counts: the others show what else the host had to do.
const TIMES: usize = if cfg!(debug_assertions) { 2 } else { 3 };
/// How many instructions a round may take, where those are counted.
const MOST_INSTRUCTIONS: u64 = 40_000_000;

/// A machine whose time stamp counter counts instructions (`-icount`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counted {
    /// An instruction takes `1 << shift` ticks.
    shift: u32,
}

impl Counted {
    /// Finds out, by a loop of known length: on any other machine it does not take exactly twice as
    /// long for twice the turns, several times in a row.
    pub(super) fn find() -> Option<Self> {
        const TURNS: u64 = 1 << 10;
        let mut shift = None;
        for _ in 0..8 {
            let once = without_interrupts(|| time_loop(TURNS));
            let twice = without_interrupts(|| time_loop(2 * TURNS));
            let per_instruction = twice.checked_sub(once)? / (2 * TURNS);
            let found = per_instruction.checked_ilog2()?;
            if twice - once != (2 * TURNS) << found || *shift.get_or_insert(found) != found {
                return None;
            }
        }
        shift.map(|shift| Self { shift })
    }

    /// Instructions in so many ticks.
    pub(super) const fn instructions(self, ticks: u64) -> u64 {
        ticks >> self.shift
    }

    const fn ticks(self, instructions: u64) -> u64 {
        instructions << self.shift
    }

    /// Instructions of a loop of two with so many turns, in excess of those of no turn.
    pub(super) fn count_loop(self, turns: u64) -> u64 {
        without_interrupts(|| {
            // From one turn on, for what is around the loop is the same then.
            let base = time_loop(1);
            self.instructions(time_loop(turns + 1) - base)
        })
    }
}

/// Ticks that `turns` turns of a loop of two instructions take, and what is around them.
#[inline(never)]
fn time_loop(turns: u64) -> u64 {
    let start = clock::ticks();
    // SAFETY: counts a register down.
    unsafe {
        asm!(
            "2:",
            "dec {turns}",
            "jnz 2b",
            turns = inout(reg) turns => _,
            options(nomem, nostack),
        );
    }
    clock::ticks() - start
}

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

/// Has `cpus` CPUs work at `C` with a fresh `S` in `region`; `None` if memory ran out.
pub(super) fn measure<S: Subject, C: Case>(
    region: &mut [u8],
    cpus: usize,
    counted: Option<Counted>,
) -> Option<Measured> {
    let measured = S::new(region).and_then(|subject| match counted {
        Some(counted) => exactly::<S, C>(&subject, counted),
        None => best_time::<S, C>(&subject, cpus),
    });
    // Also of one that failed: the next finds all marks in their places.
    let touched = footprint::take(region);
    measured.map(|measured| Measured {
        touched,
        ..measured
    })
}

/// One round, after one that brings everything into its usual state, with interrupts masked.
fn exactly<S: Subject, C: Case>(subject: &S, counted: Counted) -> Option<Measured> {
    let limit = || Limit(clock::ticks() + counted.ticks(MOST_INSTRUCTIONS));
    let mut case = C::new(1);
    without_interrupts(|| {
        let mut rounds = [(Round::NoMemory, 0); 2];
        for round in &mut rounds {
            let limit = limit();
            let start = clock::ticks();
            let done = case.round(subject, limit);
            *round = (done, clock::ticks() - start);
        }
        match rounds {
            [(Round::Cut(operations), ticks), _] => Some((operations, ticks, true)),
            [_, (Round::Cut(operations), ticks)] => Some((operations, ticks, true)),
            [_, (Round::Whole(operations), ticks)] => Some((operations, ticks, false)),
            _ => None,
        }
    })
    .map(|(operations, ticks, is_cut)| Measured {
        operations,
        ticks: counted.instructions(ticks),
        is_cut,
        touched: 0,
    })
}

/// The best of several times.
fn best_time<S: Subject, C: Case>(subject: &S, cpus: usize) -> Option<Measured> {
    let mut best = in_time::<S, C>(subject, cpus)?;
    for _ in 1..TIMES {
        if best.is_cut {
            break;
        }
        let next = in_time::<S, C>(subject, cpus)?;
        let [of_best, of_next] =
            [best, next].map(|one| u128::from(one.operations) * 1_000_000 / u128::from(one.ticks));
        if of_next > of_best && !next.is_cut {
            best = next;
        }
    }
    Some(best)
}

/// Rounds on every CPU, until time is over.
fn in_time<S: Subject, C: Case>(subject: &S, cpus: usize) -> Option<Measured> {
    let arrived = AtomicUsize::new(0);
    let (operations, failed, whole) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let (first, last) = (AtomicU64::new(u64::MAX), AtomicU64::new(0));
    work::on_all(&|cpu| {
        if cpu >= cpus {
            return;
        }
        let mut case = C::new(cpus);
        arrived.fetch_add(1, Ordering::AcqRel);
        while arrived.load(Ordering::Acquire) < cpus {
            core::hint::spin_loop();
        }
        let start = clock::ticks();
        let enough = Limit(start + clock::from_ms(LEAST_MS));
        let limit = Limit(start + clock::from_ms(MOST_MS));
        loop {
            match case.round(subject, limit) {
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
