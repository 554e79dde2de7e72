//! What the figures are held against.

use crate::harness::{OURS, is_peer};

/// What our figure must reach.
#[derive(Clone, Copy)]
pub(crate) enum Target {
    /// At most so many times the figure of that subject.
    Of(&'static str, f64),
    /// At most so many times the best peer's figure.
    Peer(f64),
    /// At most, and at least, the best peer's figure itself.
    NoMoreThanPeers,
    NoLessThanPeers,
    AtMost(f64),
    AtLeast(f64),
}

impl Target {
    pub(crate) const fn more_is_better(self) -> bool {
        matches!(self, Self::NoLessThanPeers | Self::AtLeast(_))
    }

    /// In words, and whether `ours` reaches it. `None` if there is nothing to compare with.
    pub(crate) fn judge(self, ours: f64, figures: &[(&str, f64)]) -> Option<(String, bool)> {
        let mut peers = figures.iter().filter(|(name, _)| is_peer(OURS, name));
        Some(match self {
            Self::Of(name, factor) => {
                let (_, value) = figures.iter().find(|(other, _)| *other == name)?;
                let words = format!("at most {factor} x {name}");
                (words, ours <= factor * value)
            }
            Self::Peer(factor) => {
                let best = peers.map(|(_, value)| *value).min_by(f64::total_cmp)?;
                let words = format!("at most {factor} x best peer");
                (words, ours <= factor * best)
            }
            Self::NoMoreThanPeers => {
                let words = String::from("no more than any peer");
                (words, peers.all(|(_, value)| ours <= *value))
            }
            Self::NoLessThanPeers => {
                let words = String::from("no less than any peer");
                (words, peers.all(|(_, value)| ours >= *value))
            }
            Self::AtMost(limit) => (format!("at most {limit}"), ours <= limit),
            Self::AtLeast(limit) => (format!("at least {limit}"), ours >= limit),
        })
    }
}
