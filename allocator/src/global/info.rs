//! The allocator's slabs at a glance.

use core::fmt;

use crate::objects::{ClassStats, CpuClassStats, SizeClass};

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
            if stats.slabs == 0 {
                continue;
            }
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

/// A snapshot of what one CPU has of all classes, and of what it did with them. Its `Display` is a table
/// like that of [`SlabInfo`], with the counts behind `cpustat`, of the classes that were ever used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuSlabInfo {
    cpu: usize,
    classes: [CpuClassStats; SizeClass::COUNT],
}

impl CpuSlabInfo {
    pub(super) fn new(cpu: usize) -> Self {
        Self {
            cpu,
            classes: [CpuClassStats::default(); SizeClass::COUNT],
        }
    }

    pub(super) const fn class_mut(&mut self, class: SizeClass) -> &mut CpuClassStats {
        &mut self.classes[class.index()]
    }

    /// The number of the CPU.
    #[must_use]
    pub const fn cpu(&self) -> usize {
        self.cpu
    }

    /// What is known about `class`.
    #[must_use]
    pub const fn class(&self, class: SizeClass) -> &CpuClassStats {
        &self.classes[class.index()]
    }
}

impl fmt::Display for CpuSlabInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "# cpu {:<4} <active_objs> <num_objs> <objsize> : slabdata <slabs> <partial> <full> <empty> \
             : cpustat <cached> <allocs> <frees> <local> <remote> <refills> <drains>",
            self.cpu
        )?;
        for (class, stats) in SizeClass::ALL.iter().zip(&self.classes) {
            if *stats == CpuClassStats::default() {
                continue;
            }
            writeln!(
                f,
                "size-{:<5} {:>12} {:>10} {:>9} : slabdata {:>7} {:>9} {:>6} {:>7} \
                 : cpustat {:>8} {:>8} {:>7} {:>7} {:>8} {:>9} {:>8}",
                class.size(),
                stats.active,
                stats.objects,
                class.size(),
                stats.slabs,
                stats.partial,
                stats.full,
                stats.empty,
                stats.cached,
                stats.allocations,
                stats.frees,
                stats.local_frees,
                stats.remote_frees,
                stats.refills,
                stats.drains,
            )?;
        }
        Ok(())
    }
}
