//! What the figures are held against.

/// Which figures are ours, and which are no competitors but yardsticks.
pub(crate) const OURS: &str = "twinframe";
const YARDSTICKS: [&str; 4] = ["floor", "harness", "any memory", "first region"];

/// Is `name` a peer that `ours` is compared with? What is shared by CPUs is compared with what is
/// shared by CPUs.
pub(crate) fn is_peer(ours: &str, name: &str) -> bool {
    let other_kind = if ours == OURS { "-alone" } else { "+lock" };
    let is_other = name.starts_with(OURS) || YARDSTICKS.contains(&name);
    !is_other && !name.ends_with(other_kind)
}

/// What our figure must reach.
#[derive(Clone, Copy)]
pub(crate) enum Target {
    /// At most so many times the figure of that subject.
    Of(&'static str, f64),
    /// At most (where more is better: at least) so many times the best peer's figure.
    Peer(f64),
    /// At most, and at least, the best peer's figure itself.
    NoMoreThanPeers,
    NoLessThanPeers,
    AtMost(f64),
    AtLeast(f64),
    /// So much, or what half of the peers keep to if that is more.
    AtMostOrPeers(f64),
}

impl Target {
    /// In words, and whether `ours` reaches it. `None` if there is nothing to compare with.
    pub(crate) fn judge(
        self,
        ours: f64,
        more_is_better: bool,
        figures: &[(&str, f64)],
    ) -> Option<(String, bool)> {
        let peers = figures.iter().filter(|(name, _)| is_peer(OURS, name));
        let mut peers = peers.map(|(_, value)| *value);
        Some(match self {
            Self::Of(name, factor) => {
                let (_, value) = figures.iter().find(|(other, _)| *other == name)?;
                let words = format!("at most {factor} x {name}");
                (words, ours <= factor * value)
            }
            Self::Peer(factor) if more_is_better => {
                let best = peers.max_by(f64::total_cmp)?;
                let words = format!("at least {factor} x best peer");
                (words, ours >= factor * best)
            }
            Self::Peer(factor) => {
                let best = peers.min_by(f64::total_cmp)?;
                let words = format!("at most {factor} x best peer");
                (words, ours <= factor * best)
            }
            Self::NoMoreThanPeers => {
                let words = String::from("no more than any peer");
                (words, peers.all(|value| ours <= value))
            }
            Self::NoLessThanPeers => {
                let words = String::from("no less than any peer");
                (words, peers.all(|value| ours >= value))
            }
            Self::AtMost(limit) => (format!("at most {limit}"), ours <= limit),
            Self::AtLeast(limit) => (format!("at least {limit}"), ours >= limit),
            Self::AtMostOrPeers(limit) => {
                let words = format!("at most {limit}, or as half of the peers");
                let mut all: Vec<f64> = peers.collect();
                all.sort_by(f64::total_cmp);
                let half = all.get(all.len() / 2).copied().unwrap_or(limit);
                (words, ours <= half.max(limit))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_met(target: Target, ours: f64, more_is_better: bool) -> Option<bool> {
        let figures = [
            ("floor", 1.0),
            ("a+lock", 2.0),
            ("b+lock", 3.0),
            ("c-alone", 0.5),
        ];
        Some(target.judge(ours, more_is_better, &figures)?.1)
    }

    #[test]
    fn targets_are_met_up_to_their_limits() {
        for (target, more_is_better, met, missed) in [
            (Target::Of("floor", 1.6), false, 1.6, 1.7),
            (Target::Peer(1.0), false, 2.0, 2.1),
            (Target::Peer(1.0), true, 3.0, 2.9),
            (Target::NoMoreThanPeers, false, 2.0, 2.1),
            (Target::NoLessThanPeers, true, 3.0, 2.9),
            (Target::AtMost(5.0), false, 5.0, 5.1),
            (Target::AtLeast(5.0), true, 5.0, 4.9),
            (Target::AtMostOrPeers(1.5), false, 3.0, 3.1),
            (Target::AtMostOrPeers(3.5), false, 3.5, 3.6),
        ] {
            assert_eq!(is_met(target, met, more_is_better), Some(true));
            assert_eq!(is_met(target, missed, more_is_better), Some(false));
        }
    }

    #[test]
    fn nothing_is_judged_beside_nothing() {
        assert_eq!(is_met(Target::Of("any memory", 1.0), 1.0, false), None);
        assert!(
            Target::Peer(1.0)
                .judge(1.0, false, &[("floor", 1.0)])
                .is_none()
        );
    }
}
