//! The same work with more and more of something: threads, objects, memory.

use crate::harness::{Runner, Subject};
use crate::report::Unit;
use crate::target::Target;

/// Runs a case for each of the `points`, in ascending order, and a row about all of them together.
pub(crate) struct Series<'a> {
    /// What is printed before and after a point.
    pub(crate) name: (&'a str, &'a str),
    pub(crate) points: &'a [usize],
    pub(crate) unit: Unit,
    /// For each point.
    pub(crate) targets: &'a [Target],
    /// For the growth of the cost.
    pub(crate) growth: &'a [Target],
}

impl Series<'_> {
    pub(crate) fn run<'a>(
        &self,
        runner: &mut Runner,
        subjects: impl Fn(usize) -> Vec<Subject<'a>>,
    ) {
        let (before, after) = self.name;
        let mut costs: Vec<(&'static str, Vec<f64>)> = Vec::new();
        for point in self.points {
            let case = format!("{before} {}{after}", with_commas(*point));
            if !runner.wants(&case) {
                return;
            }
            let measured = runner.compare(&case, self.unit, self.targets, subjects(*point));
            for (name, ns) in measured {
                match costs.iter_mut().find(|(other, _)| *other == name) {
                    Some((_, costs)) => costs.push(ns),
                    None => costs.push((name, vec![ns])),
                }
            }
        }
        let figures: Vec<_> = costs
            .iter()
            .filter(|(_, costs)| costs.len() == self.points.len())
            .map(|(name, costs)| (*name, growth(costs)))
            .collect();
        let ends =
            [self.points.first(), self.points.last()].map(|end| with_commas(*end.unwrap_or(&0)));
        let case = format!("{before} {} to {}{after}: growth of cost", ends[0], ends[1]);
        runner.print(&case, Unit::Less("x"), self.growth, &figures);
    }
}

/// How many times the least cost so far a later one is, at worst. 1 or less is a cost that never grows.
fn growth(costs: &[f64]) -> f64 {
    let mut least = f64::INFINITY;
    let mut worst = 0.0_f64;
    for cost in costs {
        worst = worst.max(cost / least);
        least = least.min(*cost);
    }
    worst
}

/// The digits in groups of three.
fn with_commas(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_against_the_least_before() {
        for (costs, expected) in [
            (&[4.0, 2.0, 1.0][..], 0.5),
            (&[1.0, 1.0], 1.0),
            (&[2.0, 1.0, 3.0, 1.0], 3.0),
        ] {
            assert!((growth(costs) - expected).abs() < 1e-9, "{costs:?}");
        }
    }

    #[test]
    fn commas() {
        for (number, text) in [
            (1, "1"),
            (100, "100"),
            (1000, "1,000"),
            (10_000_000, "10,000,000"),
        ] {
            assert_eq!(with_commas(number), text);
        }
    }
}
