//! What became of every firmware entry.

use core::fmt;

use bootloader_api::info::MemoryRegion;

use super::extent::{Extent, Span};
use super::{Class, MemoryMap, Region, TypeName};

/// What became of one firmware entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Pages of it are in the result.
    Added,
    /// Of another class than the one asked for, so its bytes were kept out.
    Kept(Class),
    /// As `Kept`, but its end lies beyond 2^64: everything from its start on was kept out.
    KeptToTop(Class),
    /// Gave nothing to the result.
    Dropped(DropReason),
}

/// Why an entry of the wanted class gave nothing to the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropReason {
    /// No length. (This one is said of entries of every class.)
    Empty,
    /// Its end lies beyond 2^64, so its length cannot be true.
    Wraps,
    /// Entries above it in the table have all its bytes already.
    Duplicate,
    /// No page was left when reservations were taken out and the rest rounded to whole pages.
    NoWholePage,
}

impl Verdict {
    /// The verdict in one word: `added`, `usable`, `reclaimable`, `reserved` or `dropped`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Kept(class) | Self::KeptToTop(class) => class.name(),
            Self::Dropped(_) => "dropped",
        }
    }

    /// What the word leaves out, if anything.
    #[must_use]
    pub const fn note(self) -> Option<&'static str> {
        match self {
            Self::Added | Self::Kept(_) => None,
            Self::KeptToTop(_) => Some("wraps, kept up to 2^64"),
            Self::Dropped(DropReason::Empty) => Some("zero length"),
            Self::Dropped(DropReason::Wraps) => Some("wraps around 2^64"),
            Self::Dropped(DropReason::Duplicate) => Some("covered by entries above"),
            Self::Dropped(DropReason::NoWholePage) => Some("no whole page left"),
        }
    }
}

/// One firmware entry and its fate.
///
/// Every byte is counted once, for the first entry in the table that has it; so the columns add up
/// to the totals even where entries overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The entry, with its bounds as the firmware gave them.
    pub entry: MemoryRegion,
    /// What became of it.
    pub verdict: Verdict,
    /// Bytes of it that regions of the result cover.
    pub managed: u64,
    /// Bytes of the wanted class that no region covers, by rounding or because something else
    /// claims them. An entry whose length cannot be true has no count, and loses 0.
    pub lost: u64,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let MemoryRegion { start, end, kind } = self.entry;
        write!(
            f,
            "{start:#018x}..{end:#018x}  {:<16}  {:<11}  {:>16}  {:>10}",
            TypeName(kind),
            self.verdict.name(),
            self.managed,
            self.lost,
        )?;
        match self.verdict.note() {
            Some(note) => write!(f, "  ({note})"),
            None => Ok(()),
        }
    }
}

/// Sums over a [`Report`]. All of them saturate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Firmware entries.
    pub entries: usize,
    /// Firmware entries with the verdict [`Verdict::Dropped`].
    pub dropped: usize,
    /// Regions in the result.
    pub regions: usize,
    /// Bytes in the result.
    pub managed: u64,
    /// Bytes of the wanted class that are not in the result.
    pub lost: u64,
}

/// What became of every firmware entry when pages of one class were asked for.
///
/// Displays as a table with a line of totals.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    map: MemoryMap<'a>,
    class: Class,
}

impl<'a> Report<'a> {
    pub(super) const fn new(map: MemoryMap<'a>, class: Class) -> Self {
        Self { map, class }
    }

    /// The rows, in the order of [`MemoryMap::firmware`]. The whole iteration costs O(n).
    pub fn rows(&self) -> impl Iterator<Item = Row> + Clone + use<'a> {
        let class = self.class;
        let mut ledger = Ledger::new(self.map.regions(class));
        self.map
            .firmware()
            .iter()
            .map(move |entry| ledger.enter(*entry, class))
    }

    /// The sums of the rows.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let none = Totals {
            regions: self.map.regions(self.class).count(),
            ..Totals::default()
        };
        self.rows().fold(none, |sum, row| Totals {
            entries: sum.entries + 1,
            dropped: sum.dropped + usize::from(matches!(row.verdict, Verdict::Dropped(_))),
            managed: sum.managed.saturating_add(row.managed),
            lost: sum.lost.saturating_add(row.lost),
            ..sum
        })
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<38}  {:<16}  {:<11}  {:>16}  {:>10}",
            "firmware range", "type", "verdict", "bytes managed", "bytes lost"
        )?;
        for row in self.rows() {
            writeln!(f, "{row}")?;
        }
        let totals = self.totals();
        write!(
            f,
            "total: {} entries, {} dropped, {} regions, {} bytes managed, {} bytes lost",
            totals.entries, totals.dropped, totals.regions, totals.managed, totals.lost
        )
    }
}

/// Splits the bytes of the result among the entries that gave them, in one sweep over both.
#[derive(Clone)]
struct Ledger<I> {
    regions: I,
    /// The first region that may hold bytes of entries to come.
    region: Option<Region>,
    /// First byte above all wanted entries so far; `None` once they have reached the top.
    frontier: Option<u64>,
}

impl<I: Iterator<Item = Region>> Ledger<I> {
    fn new(mut regions: I) -> Self {
        let region = regions.next();
        Self {
            regions,
            region,
            frontier: Some(0),
        }
    }

    fn enter(&mut self, entry: MemoryRegion, wanted: Class) -> Row {
        let (verdict, managed, lost) = self.judge(&entry, wanted);
        Row {
            entry,
            verdict,
            managed,
            lost,
        }
    }

    fn judge(&mut self, entry: &MemoryRegion, wanted: Class) -> (Verdict, u64, u64) {
        let class = Class::of(entry.kind);
        let span = match Extent::of(entry) {
            Extent::Empty => return (Verdict::Dropped(DropReason::Empty), 0, 0),
            Extent::Span(_) if class != wanted => return (Verdict::Kept(class), 0, 0),
            Extent::Wraps { .. } if class != wanted => return (Verdict::KeptToTop(class), 0, 0),
            Extent::Wraps { .. } => return (Verdict::Dropped(DropReason::Wraps), 0, 0),
            Extent::Span(span) => span,
        };
        let Some(own) = self.claim(span) else {
            return (Verdict::Dropped(DropReason::Duplicate), 0, 0);
        };
        let managed = self.managed(own);
        let verdict = if managed == 0 {
            Verdict::Dropped(DropReason::NoWholePage)
        } else {
            Verdict::Added
        };
        (verdict, managed, own.len() - managed)
    }

    /// The bytes of `span` that no earlier entry had. Entries come sorted, so that is one piece.
    fn claim(&mut self, span: Span) -> Option<Span> {
        let own = Span::new(span.first.max(self.frontier?), span.last)?;
        self.frontier = own.last.checked_add(1);
        Some(own)
    }

    /// How many bytes of `own` the result holds. Each call must ask for bytes above the last ones.
    fn managed(&mut self, own: Span) -> u64 {
        let mut bytes = 0;
        while let Some(region) = self.region {
            bytes += region.span().common(own).map_or(0, Span::len);
            if region.last() > own.last {
                break;
            }
            self.region = self.regions.next();
        }
        bytes
    }
}
