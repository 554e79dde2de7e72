//! The allocator's slabs at a glance.

use core::fmt;

use crate::objects::{ClassStats, SizeClass};

/// A snapshot of all classes. Its `Display` is the table that `/proc/slabinfo` shows on Linux,
/// cut to the columns that mean something here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlabInfo {
    pub(super) classes: [ClassStats; SizeClass::COUNT],
}

impl SlabInfo {
    /// What is known about `class`.
    #[must_use]
    pub const fn class(&self, class: SizeClass) -> &ClassStats {
        &self.classes[class.index()]
    }

    /// Objects handed out and not yet given back, in all classes.
    #[must_use]
    pub fn live(&self) -> usize {
        self.classes.iter().map(|class| class.live).sum()
    }
}

impl fmt::Display for SlabInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "# name     <active_objs> <num_objs> <objsize> : slabdata <slabs> <partial> <full> <empty>"
        )?;
        for (class, stats) in SizeClass::ALL.iter().zip(&self.classes) {
            writeln!(
                f,
                "size-{:<5} {:>12} {:>10} {:>9} : slabdata {:>7} {:>9} {:>6} {:>7}",
                class.size(),
                stats.live,
                stats.objects,
                class.size(),
                stats.slabs,
                stats.partial,
                stats.full,
                stats.empty,
            )?;
        }
        Ok(())
    }
}
