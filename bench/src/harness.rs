//! Taking turns, medians, and what is printed.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::target::Target;

/// One subject of a case: does a share of the work and returns the cost per operation.
pub(crate) struct Subject<'a> {
    name: &'static str,
    turn: Box<dyn FnMut() -> f64 + 'a>,
}

impl<'a> Subject<'a> {
    pub(crate) fn new(name: &'static str, turn: impl FnMut() -> f64 + 'a) -> Self {
        Self {
            name,
            turn: Box::new(turn),
        }
    }
}

/// Times something that does `operations`; in nanoseconds for each.
pub(crate) fn time(operations: usize, work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64() * 1e9 / operations as f64
}

/// Which figures count as ours, and which are no competitors but yardsticks.
pub(crate) const OURS: &str = "twinframe";
const YARDSTICKS: [&str; 4] = ["floor", "harness", "any memory", "first region"];

/// A turn that takes longer is not taken in every round.
const LONG: Duration = Duration::from_millis(5);

/// How often such a subject takes its turn at least.
const LEAST: usize = 3;

/// Is `name` a peer that `ours` is compared with? What is shared by CPUs is compared with what is
/// shared by CPUs.
pub(crate) fn is_peer(ours: &str, name: &str) -> bool {
    let other_kind = if ours == OURS { "-alone" } else { "+lock" };
    let is_other = name.starts_with(OURS) || YARDSTICKS.contains(&name);
    !is_other && !name.ends_with(other_kind)
}

/// Runs the cases that were asked for and collects what they give.
pub(crate) struct Runner {
    rounds: usize,
    words: Vec<String>,
    json: Option<String>,
    lines: String,
}

impl Runner {
    pub(crate) fn from_args(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut runner = Self {
            rounds: 41,
            words: Vec::new(),
            json: None,
            lines: String::new(),
        };
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--rounds" => {
                    let rounds = args.next().and_then(|text| text.parse().ok());
                    runner.rounds = rounds
                        .filter(|rounds| *rounds > 0)
                        .ok_or("--rounds needs a number")?;
                }
                "--json" => runner.json = Some(args.next().ok_or("--json needs a file")?),
                option if option.starts_with('-') => {
                    return Err(format!("unknown option {option}"));
                }
                _ => runner.words.push(arg),
            }
        }
        Ok(runner)
    }

    /// Is this case asked for?
    pub(crate) fn wants(&self, case: &str) -> bool {
        self.words.is_empty() || self.words.iter().any(|word| case.contains(word.as_str()))
    }

    /// Lets the subjects take turns and prints the median of each.
    pub(crate) fn compare(
        &mut self,
        case: &str,
        unit: &str,
        targets: &[Target],
        mut subjects: Vec<Subject<'_>>,
    ) {
        if !self.wants(case) {
            return;
        }
        let mut samples = vec![Vec::with_capacity(self.rounds); subjects.len()];
        // The first round warms up.
        let strides: Vec<usize> = subjects
            .iter_mut()
            .map(|subject| {
                let start = Instant::now();
                (subject.turn)();
                let stride = start.elapsed().as_nanos() / LONG.as_nanos();
                let most = (self.rounds / LEAST).max(1);
                usize::try_from(stride).map_or(most, |stride| stride.clamp(1, most))
            })
            .collect();
        for round in 0..self.rounds {
            for i in 0..subjects.len() {
                let i = (i + round) % subjects.len();
                if round % strides[i] == 0 {
                    samples[i].push((subjects[i].turn)());
                }
            }
        }
        let figures: Vec<(&str, f64)> = subjects
            .iter()
            .zip(samples)
            .map(|(subject, samples)| (subject.name, median(samples)))
            .collect();
        self.print(case, unit, targets, &figures);
    }

    /// Prints figures that were measured elsewhere.
    pub(crate) fn print(
        &mut self,
        case: &str,
        unit: &str,
        targets: &[Target],
        figures: &[(&str, f64)],
    ) {
        let figure = |name: &str| {
            figures
                .iter()
                .find(|(other, _)| *other == name)
                .map(|(_, v)| *v)
        };
        let floor = figure("floor");
        let more_is_better = targets.iter().any(|target| target.more_is_better());
        let best_peer = |ours: &str| {
            figures
                .iter()
                .filter(|(name, _)| is_peer(ours, name))
                .map(|(_, value)| *value)
                .filter(|value| *value > 0.0)
                .reduce(if more_is_better { f64::max } else { f64::min })
        };
        println!("{case} [{unit}]");
        for (name, value) in figures {
            let mut line = format!("  {name:<24} {value:>12.1}");
            let mut json = format!(
                r#"{{"v":1,"ev":"bench","name":"{case}","subject":"{name}","value":{value:.3},"unit":"{unit}""#
            );
            if let Some(floor) = floor {
                let _ = write!(line, "  {:>7.2} x floor", value / floor);
                let _ = write!(json, r#","floor_ratio":{:.3}"#, value / floor);
            }
            if name.starts_with(OURS)
                && let Some(peer) = best_peer(name)
            {
                let _ = write!(line, "  {:>7.2} x best peer", value / peer);
                let _ = write!(json, r#","peer_ratio":{:.3}"#, value / peer);
            }
            println!("{line}");
            if *name == OURS {
                let judged: Vec<_> = targets
                    .iter()
                    .filter_map(|target| target.judge(*value, figures))
                    .collect();
                for (words, is_met) in &judged {
                    let outcome = if *is_met { "met" } else { "MISSED" };
                    println!("    target: {words}: {outcome}");
                }
                let json_of = |(words, is_met): &(String, bool)| {
                    format!(r#"{{"want":"{words}","met":{is_met}}}"#)
                };
                let all: Vec<String> = judged.iter().map(json_of).collect();
                let _ = write!(json, r#","targets":[{}]"#, all.join(","));
            }
            self.lines.push_str(&json);
            self.lines.push_str("}\n");
        }
    }

    /// Writes the JSON lines, if they were asked for.
    pub(crate) fn finish(self) -> ExitCode {
        if let Some(path) = self.json
            && let Err(error) = std::fs::write(&path, self.lines)
        {
            eprintln!("cannot write {path}: {error}");
            return ExitCode::FAILURE;
        }
        ExitCode::SUCCESS
    }
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

/// A small generator of random numbers (xorshift64).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        let wide = u128::from(self.next()) * limit as u128;
        usize::try_from(wide >> 64).unwrap_or(0)
    }
}
