//! What was measured: lines as it comes, a summary at the end, JSON for programs.

use std::fmt::{self, Write as _};

use crate::target::{OURS, Target, is_peer};

/// What a figure counts, and which way is better.
#[derive(Clone, Copy)]
pub(crate) enum Unit {
    /// Less is better.
    Less(&'static str),
    /// More is better.
    More(&'static str),
    /// Millions of operations in a second, of all threads together.
    Rate,
}

impl Unit {
    pub(crate) const fn more_is_better(self) -> bool {
        matches!(self, Self::More(_) | Self::Rate)
    }

    /// The figure for a cost; those that are no times are given in this unit anyway.
    pub(crate) fn of_nanoseconds(self, ns: f64) -> f64 {
        match self {
            Self::Rate => 1e3 / ns,
            Self::Less(_) | Self::More(_) => ns,
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Less(unit) | Self::More(unit) => unit,
            Self::Rate => "M/s",
        })
    }
}

/// What a subject reached.
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) value: f64,
    /// Of an operation, where they are counted.
    pub(crate) instructions: Option<f64>,
}

/// A case, and all that its subjects reached.
pub(crate) struct Row {
    pub(crate) case: String,
    unit: Unit,
    figures: Vec<Figure>,
    /// Targets in words, and whether they are met.
    outcomes: Vec<(String, bool)>,
}

impl Row {
    fn figure(&self, name: &str) -> Option<&Figure> {
        self.figures.iter().find(|figure| figure.name == name)
    }

    fn best_peer(&self, ours: &str) -> Option<&Figure> {
        let better = |a: &&Figure, b: &&Figure| a.value.total_cmp(&b.value);
        let peers = self.figures.iter();
        let peers = peers.filter(|figure| is_peer(ours, figure.name) && figure.value > 0.0);
        if self.unit.more_is_better() {
            peers.max_by(better)
        } else {
            peers.min_by(better)
        }
    }

    /// How many times the best peer's cost each figure is: below 1 is better than that, whatever the unit. The
    /// first one is ours.
    pub(crate) fn costs(&self) -> Option<Vec<(&'static str, f64)>> {
        let best = self.best_peer(OURS)?.value;
        let cost = |figure: &Figure| {
            let ratio = figure.value / best;
            let cost = if self.unit.more_is_better() {
                1.0 / ratio
            } else {
                ratio
            };
            (figure.name, cost)
        };
        let ours = self.figure(OURS)?;
        let peers = self.figures.iter();
        let peers = peers.filter(|figure| is_peer(OURS, figure.name) && figure.value > 0.0);
        Some(std::iter::once(ours).chain(peers).map(cost).collect())
    }

    fn print(&self) {
        println!("{} [{}]", self.case, self.unit);
        for figure in &self.figures {
            let of = |other: Option<&Figure>| other.map(|other| figure.value / other.value);
            println!(
                "  {:<22}{:>12.1}{:>10}{:>13}{:>14}",
                figure.name,
                figure.value,
                cell(of(self.figure("floor")), 2),
                cell(self.peer_ratio(figure), 2),
                cell(figure.instructions, 1),
            );
        }
        for (words, is_met) in &self.outcomes {
            let outcome = if *is_met { "met" } else { "MISSED" };
            println!("    target: {words}: {outcome}");
        }
    }

    fn peer_ratio(&self, figure: &Figure) -> Option<f64> {
        let best = || self.best_peer(figure.name);
        let is_ours = figure.name.starts_with(OURS);
        is_ours.then(best)?.map(|best| figure.value / best.value)
    }

    fn summarise(&self) -> Option<String> {
        let ours = self.figure(OURS)?;
        let best = self.best_peer(OURS);
        let missed = self.outcomes.iter().filter(|(_, is_met)| !is_met);
        let missed: Vec<&str> = missed.map(|(words, _)| words.as_str()).collect();
        let outcome = match (self.outcomes.is_empty(), missed.is_empty()) {
            (true, _) => String::new(),
            (false, true) => String::from("met"),
            (false, false) => format!("MISSED: {}", missed.join(", ")),
        };
        Some(format!(
            "{:<68}{:>10.1}{:>10}  {:<18}{:>6}{:>8}  {outcome}",
            format!("{} [{}]", self.case, self.unit),
            ours.value,
            cell(best.map(|best| best.value), 1),
            best.map_or("-", |best| best.name),
            cell(best.map(|best| ours.value / best.value), 2),
            cell(ours.instructions, 1),
        ))
    }

    fn json(&self, figure: &Figure) -> String {
        let mut json = format!(
            r#"{{"v":1,"ev":"bench","name":"{}","subject":"{}","value":{:.3},"unit":"{}","more_is_better":{}"#,
            self.case,
            figure.name,
            figure.value,
            self.unit,
            self.unit.more_is_better()
        );
        let floor = self.figure("floor");
        let optional = [
            ("floor_ratio", floor.map(|floor| figure.value / floor.value)),
            ("peer_ratio", self.peer_ratio(figure)),
            ("instructions", figure.instructions),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                let _ = write!(json, r#","{name}":{value:.3}"#);
            }
        }
        if figure.name == OURS {
            let outcomes = self.outcomes.iter();
            let outcomes: Vec<String> = outcomes
                .map(|(words, is_met)| format!(r#"{{"want":"{words}","met":{is_met}}}"#))
                .collect();
            let _ = write!(json, r#","targets":[{}]"#, outcomes.join(","));
        }
        json.push('}');
        json
    }
}

/// A number, or what stands for none.
fn cell(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| String::from("-"), |value| format!("{value:.digits$}"))
}

/// All rows so far.
#[derive(Default)]
pub(crate) struct Report(Vec<Row>);

impl Report {
    /// Judges a row, and prints it.
    pub(crate) fn add(&mut self, case: &str, unit: Unit, targets: &[Target], figures: Vec<Figure>) {
        let values: Vec<_> = figures.iter().map(|f| (f.name, f.value)).collect();
        let ours = values.iter().find(|(name, _)| *name == OURS);
        let judge = |target: &Target| target.judge(ours?.1, unit.more_is_better(), &values);
        let row = Row {
            case: String::from(case),
            unit,
            outcomes: targets.iter().filter_map(judge).collect(),
            figures,
        };
        if self.0.is_empty() {
            println!(
                "{:<24}{:>12}{:>10}{:>13}{:>14}",
                "case [unit], subject", "median", "x floor", "x best peer", "instructions"
            );
        }
        row.print();
        self.0.push(row);
    }

    pub(crate) fn rows(&self) -> &[Row] {
        &self.0
    }

    pub(crate) fn print_summary(&self) {
        println!(
            "\n{:<68}{:>10}{:>10}  {:<18}{:>6}{:>8}  targets",
            "summary", OURS, "best peer", "", "ratio", "instr."
        );
        for line in self.0.iter().filter_map(Row::summarise) {
            println!("{line}");
        }
        let outcomes = || self.0.iter().flat_map(|row| &row.outcomes);
        let met = outcomes().filter(|(_, is_met)| *is_met).count();
        println!("{met} of {} targets met", outcomes().count());
        println!("{NOTES}");
    }

    /// An array with an object for each figure, a line for each.
    pub(crate) fn json(&self) -> String {
        let rows = self.0.iter();
        let objects: Vec<String> = rows
            .flat_map(|row| row.figures.iter().map(|figure| row.json(figure)))
            .collect();
        format!("[\n{}\n]\n", objects.join(",\n"))
    }
}

/// What the tables cannot say.
const NOTES: &str = "\
Instructions are those of an operation, in user mode: from the processor's counter where there is one, else
counted in single steps for cases whose operations are all alike; `-` where neither goes.
LLFree is missing: it is in no package registry, and its sources ask for a later compiler than this project's.";

#[cfg(test)]
mod tests {
    use super::*;

    fn report(unit: Unit, values: &[(&'static str, f64)]) -> Report {
        let mut report = Report::default();
        let figures = values.iter().map(|(name, value)| Figure {
            name,
            value: *value,
            instructions: Some(2.0),
        });
        report.add("case", unit, &[Target::Peer(1.0)], figures.collect());
        report
    }

    const VALUES: [(&str, f64); 4] = [("floor", 1.0), (OURS, 4.0), ("a", 8.0), ("b", 2.0)];

    #[test]
    fn the_best_peer_depends_on_the_unit() {
        for (unit, costs) in [
            (Unit::Less("ns"), [2.0, 4.0, 1.0]),
            (Unit::Rate, [2.0, 1.0, 4.0]),
        ] {
            let report = report(unit, &VALUES);
            let expected = [OURS, "a", "b"].into_iter().zip(costs).collect();
            assert_eq!(report.rows()[0].costs(), Some(expected));
        }
    }

    #[test]
    fn json_says_all() {
        let json = report(Unit::Less("ns"), &VALUES).json();
        let ours = json.lines().nth(2).expect("four figures");
        assert_eq!(
            ours,
            r#"{"v":1,"ev":"bench","name":"case","subject":"twinframe","value":4.000,"unit":"ns","more_is_better":false,"floor_ratio":4.000,"peer_ratio":2.000,"instructions":2.000,"targets":[{"want":"at most 1 x best peer","met":false}]},"#
        );
    }

    #[test]
    fn the_summary_names_what_is_missed() {
        let lines = |values| report(Unit::Less("ns"), values).rows()[0].summarise();
        let line = lines(&VALUES).expect("a line for our figure");
        assert!(line.ends_with("MISSED: at most 1 x best peer"), "{line}");
        assert!(line.contains(" b "), "{line}");
        let met = lines(&[(OURS, 1.0), ("b", 2.0)]).expect("a line for our figure");
        assert!(met.ends_with("met"), "{met}");
        assert_eq!(lines(&[("floor", 1.0)]), None);
    }
}
