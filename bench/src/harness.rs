//! Taking turns, and medians.

use std::cell::RefCell;
use std::hint::black_box;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::counter;
use crate::options::Options;
use crate::report::{Figure, Report, Unit};
use crate::target::Target;

/// What a turn cost, for each operation.
#[derive(Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) ns: f64,
    /// Where they are counted.
    pub(crate) instructions: Option<f64>,
}

/// Measures something that does `operations`.
pub(crate) fn time(operations: usize, work: impl FnOnce()) -> Cost {
    let before = counter::instructions();
    let start = Instant::now();
    work();
    let ns = start.elapsed().as_secs_f64() * 1e9;
    let after = counter::instructions();
    let each = |count: u64| count as f64 / operations as f64;
    Cost {
        ns: ns / operations as f64,
        instructions: before
            .zip(after)
            .map(|(before, after)| each(after - before)),
    }
}

/// One subject of a case: does a share of the work in each turn.
pub(crate) struct Subject<'a> {
    name: &'static str,
    turn: Box<dyn FnMut() -> Cost + 'a>,
    /// Counts the instructions of an operation, once, where turns cannot.
    count: Option<Box<dyn FnOnce() -> Option<f64> + 'a>>,
}

impl<'a> Subject<'a> {
    pub(crate) fn new(name: &'static str, turn: impl FnMut() -> Cost + 'a) -> Self {
        Self {
            name,
            turn: Box::new(turn),
            count: None,
        }
    }

    /// A subject whose operations are all alike: `work` does as many as it is told, `operations` in a turn.
    pub(crate) fn repeating(
        name: &'static str,
        operations: usize,
        work: impl FnMut(usize) + 'a,
    ) -> Self {
        /// Few, for they may be counted in single steps.
        const COUNTED: usize = 8;
        let work = Rc::new(RefCell::new(work));
        let again = Rc::clone(&work);
        Self {
            count: Some(Box::new(move || {
                let mut work = again.borrow_mut();
                // Hidden from the optimiser, or it unrolls the loop for these numbers.
                let mut steps = |operations| counter::step(|| work(black_box(operations)));
                let (few, many) = (steps(COUNTED)?, steps(2 * COUNTED)?);
                // The difference is free of what surrounds the operations.
                Some(many.saturating_sub(few) as f64 / COUNTED as f64)
            })),
            ..Self::new(name, move || {
                time(operations, || (work.borrow_mut())(operations))
            })
        }
    }
}

/// Turns that a subject takes in a case, at least and at most.
const TURNS: (usize, usize) = (5, 101);

/// Runs the cases that were asked for and collects what they give.
pub(crate) struct Runner {
    options: Options,
    report: Report,
}

impl Runner {
    pub(crate) fn new(options: Options) -> Self {
        Self {
            options,
            report: Report::default(),
        }
    }

    /// Is this case asked for?
    pub(crate) fn wants(&self, case: &str) -> bool {
        let words = &self.options.words;
        words.is_empty() || words.iter().any(|word| case.contains(word.as_str()))
    }

    /// Lets the subjects take turns and prints the median of each; returns the nanoseconds.
    pub(crate) fn compare<'a>(
        &mut self,
        case: &str,
        unit: Unit,
        targets: &[Target],
        mut subjects: Vec<Subject<'a>>,
    ) -> Vec<(&'static str, f64)> {
        if !self.wants(case) {
            return Vec::new();
        }
        let mut costs: Vec<Vec<Cost>> = vec![Vec::new(); subjects.len()];
        let share = self.options.time.div_f64(subjects.len() as f64);
        let turns: Vec<usize> = subjects
            .iter_mut()
            .map(|subject| {
                turns_in(share, || {
                    let start = Instant::now();
                    (subject.turn)();
                    start.elapsed()
                })
            })
            .collect();
        let rounds = turns.iter().copied().max().unwrap_or(0);
        for round in 0..rounds {
            for i in 0..subjects.len() {
                let i = (i + round) % subjects.len();
                // Who takes fewer turns has them in rounds that lie evenly apart.
                if round * turns[i] / rounds != (round + 1) * turns[i] / rounds {
                    costs[i].push((subjects[i].turn)());
                }
            }
        }
        let medians: Vec<Cost> = subjects
            .iter_mut()
            .zip(&costs)
            .map(|(subject, costs)| {
                let counted = costs.iter().map(|cost| cost.instructions).collect();
                Cost {
                    ns: median(costs.iter().map(|cost| cost.ns).collect()).expect("several turns"),
                    instructions: Option::<Vec<f64>>::and_then(counted, median)
                        .or_else(|| subject.count.take().and_then(|count| count())),
                }
            })
            .collect();
        let named = || subjects.iter().map(|subject| subject.name).zip(&medians);
        let figures = named().map(|(name, cost)| Figure {
            name,
            value: unit.of_nanoseconds(cost.ns),
            instructions: cost.instructions,
        });
        self.report.add(case, unit, targets, figures.collect());
        named().map(|(name, cost)| (name, cost.ns)).collect()
    }

    /// Prints figures that were measured elsewhere.
    pub(crate) fn print(
        &mut self,
        case: &str,
        unit: Unit,
        targets: &[Target],
        figures: &[(&'static str, f64)],
    ) {
        let figure = |(name, value): &(&'static str, f64)| Figure {
            name,
            value: *value,
            instructions: None,
        };
        let figures = figures.iter().map(figure).collect();
        self.report.add(case, unit, targets, figures);
    }

    /// Prints the summary, and writes the files that were asked for.
    pub(crate) fn finish(self) -> std::io::Result<()> {
        self.report.print_summary();
        if let Some(path) = &self.options.json {
            std::fs::write(path, self.report.json())?;
        }
        if let Some(path) = &self.options.svg {
            std::fs::write(path, crate::svg::draw(&self.report))?;
        }
        Ok(())
    }
}

/// How many turns fit into `share`, if each takes what `turn` says.
///
/// The first one warms up, and touches memory that was never touched, so it says little about the others: unless it
/// takes so long that they will be few all the same.
fn turns_in(share: Duration, mut turn: impl FnMut() -> Duration) -> usize {
    let first = turn();
    let usual = if first < share * 8 { turn() } else { first };
    let turns = share.as_nanos() / usual.as_nanos().max(1);
    usize::try_from(turns).map_or(TURNS.1, |turns| turns.clamp(TURNS.0, TURNS.1))
}

/// The middle one; `None` of none.
pub(crate) fn median(mut samples: Vec<f64>) -> Option<f64> {
    samples.sort_by(f64::total_cmp);
    samples.get(samples.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cold_first_turn_does_not_decide_how_many_there_are() {
        let turns = |first: u64, then: u64| {
            let mut times = [first, then].into_iter().map(Duration::from_millis);
            turns_in(Duration::from_millis(100), || {
                times.next().expect("two at most")
            })
        };
        assert_eq!(turns(50, 5), 20);
        assert_eq!(turns(5, 50), TURNS.0);
        assert_eq!(turns(1, 0), TURNS.1);
        assert_eq!(turns(800, 5), TURNS.0);
    }
}
