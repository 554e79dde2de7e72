//! The system resource affinity table: which CPU and which memory belongs to which node (ACPI 6.5,
//! section 5.2.16).

use super::entries::{Entries, Entry};
use super::fields::{u8_at, u32_at, u64_at};
use super::{Error, Signature, Table};

/// Where the structures start.
const BODY: usize = 48;

/// The table, its header checked. Its structures are checked as they are read.
#[derive(Debug, Clone, Copy)]
pub struct Srat<'m> {
    table: Table<'m>,
}

/// A CPU and its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuAffinity {
    /// The CPU's APIC id.
    pub apic_id: u32,
    /// The node: its number is the firmware's, not necessarily dense.
    pub node: u32,
}

/// A stretch of physical memory and its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryAffinity {
    /// Physical address of the first byte.
    pub start: u64,
    /// Physical address of the last byte, at or above `start`.
    pub last: u64,
    /// The node: its number is the firmware's, not necessarily dense.
    pub node: u32,
    /// Memory may appear here later; what the memory map lists is there already.
    pub hot_pluggable: bool,
    /// It keeps its contents without power.
    pub non_volatile: bool,
}

/// One structure of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Affinity {
    /// Kinds 0 and 2.
    Cpu(CpuAffinity),
    /// Kind 1.
    Memory(MemoryAffinity),
    /// One that is switched off, or empty, or of another kind.
    Unused(u8),
}

impl<'m> Srat<'m> {
    /// The table's name.
    pub const NAME: Signature = Signature(*b"SRAT");

    /// Reads the fixed part.
    ///
    /// # Errors
    ///
    /// It is another table, or too short.
    pub fn new(table: Table<'m>) -> Result<Self, Error> {
        let table = table.expect(Self::NAME, BODY)?;
        Ok(Self { table })
    }

    /// All structures in order. One that is too short for its kind, or whose range wraps around,
    /// gives an error; so does one whose length makes no sense, and after that there are no more.
    pub fn entries(&self) -> impl Iterator<Item = Result<Affinity, Error>> + Clone + use<'m> {
        // The first revision has eight bits for the node and leaves the others undefined.
        let wide = self.table.revision() >= 2;
        Entries::new(&self.table, BODY).map(move |entry| {
            let entry = entry?;
            parse(&entry, wide).ok_or_else(|| entry.short())?
        })
    }

    /// The CPUs and their nodes, without what is malformed.
    pub fn cpus(&self) -> impl Iterator<Item = CpuAffinity> + Clone + use<'m> {
        self.entries().filter_map(|entry| match entry {
            Ok(Affinity::Cpu(cpu)) => Some(cpu),
            _ => None,
        })
    }

    /// The memory and its nodes, without what is malformed. Ranges may overlap and come in any order.
    pub fn memory(&self) -> impl Iterator<Item = MemoryAffinity> + Clone + use<'m> {
        self.entries().filter_map(|entry| match entry {
            Ok(Affinity::Memory(memory)) => Some(memory),
            _ => None,
        })
    }

    /// The node of the CPU with this APIC id. Takes a pass over the table.
    #[must_use]
    pub fn node_of_cpu(&self, apic_id: u32) -> Option<u32> {
        self.cpus()
            .find(|cpu| cpu.apic_id == apic_id)
            .map(|cpu| cpu.node)
    }

    /// The node of a physical address. Takes a pass over the table.
    #[must_use]
    pub fn node_of_address(&self, phys: u64) -> Option<u32> {
        self.memory()
            .find(|memory| (memory.start..=memory.last).contains(&phys))
            .map(|memory| memory.node)
    }
}

fn parse(entry: &Entry<'_>, wide: bool) -> Option<Result<Affinity, Error>> {
    let bytes = entry.bytes;
    let mask = if wide { u32::MAX } else { 0xff };
    let unused = Affinity::Unused(entry.kind);
    Some(Ok(match entry.kind {
        0 => {
            let low = u8_at(bytes, 2)?;
            // Three bytes, the top ones of four.
            let high = u32_at(bytes, 8)? & 0xffff_ff00;
            let cpu = CpuAffinity {
                apic_id: u8_at(bytes, 3)?.into(),
                node: (high | u32::from(low)) & mask,
            };
            if u32_at(bytes, 4)? & 1 == 0 {
                unused
            } else {
                Affinity::Cpu(cpu)
            }
        }
        1 => {
            let node = u32_at(bytes, 2)? & mask;
            let (start, length) = (u64_at(bytes, 8)?, u64_at(bytes, 16)?);
            let flags = u32_at(bytes, 28)?;
            if flags & 1 == 0 || length == 0 {
                return Some(Ok(unused));
            }
            let Some(last) = start.checked_add(length - 1) else {
                return Some(Err(Error::Range {
                    table: entry.table,
                    offset: entry.offset,
                }));
            };
            Affinity::Memory(MemoryAffinity {
                start,
                last,
                node,
                hot_pluggable: flags & 2 != 0,
                non_volatile: flags & 4 != 0,
            })
        }
        2 => {
            let cpu = CpuAffinity {
                apic_id: u32_at(bytes, 8)?,
                node: u32_at(bytes, 4)?,
            };
            if u32_at(bytes, 12)? & 1 == 0 {
                unused
            } else {
                Affinity::Cpu(cpu)
            }
        }
        _ => unused,
    }))
}
