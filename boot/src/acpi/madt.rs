//! The multiple APIC description table: CPUs and interrupt controllers (ACPI 6.5, section 5.2.12).

use super::entries::{Entries, Entry};
use super::fields::{u8_at, u16_at, u32_at, u64_at};
use super::{Error, Signature, Table};

/// Where the structures start.
const BODY: usize = 44;

/// The most usable CPUs taken from one table. Each is compared with all structures before it, so the
/// limit also bounds the time that a hostile table can take.
pub const MOST_CPUS: usize = 1024;

/// The table, its header checked. Its structures are checked as they are read.
#[derive(Debug, Clone, Copy)]
pub struct Madt<'m> {
    table: Table<'m>,
    address: u32,
    flags: u32,
}

/// A CPU's local APIC, from a structure of kind 0 or 9.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Processor {
    /// The APIC id, which interrupts and start-up messages are addressed to.
    pub apic_id: u32,
    /// The number by which AML knows the CPU.
    pub uid: u32,
    /// Ready to be started.
    pub enabled: bool,
    /// Not there yet, but can be hot-plugged.
    pub online_capable: bool,
}

/// What to make of a [`Processor`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Can be started.
    Usable,
    /// Not there, may come later.
    Later,
    /// Not there, and will not come.
    Absent,
    /// An earlier usable structure has the same APIC id.
    Duplicate,
    /// Its APIC id is the one that addresses all CPUs.
    NoId,
}

/// An I/O APIC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IoApic {
    /// Its id.
    pub id: u8,
    /// Physical address of its registers.
    pub phys: u32,
    /// The global interrupt number of its first input.
    pub first: u32,
}

/// An ISA interrupt that is wired to another input than the one of its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InterruptOverride {
    /// The ISA interrupt.
    pub isa: u8,
    /// The global interrupt number it is wired to.
    pub global: u32,
    /// Polarity (bits 0 and 1) and trigger mode (bits 2 and 3), as MPS has them.
    pub flags: u16,
}

/// One structure of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MadtEntry {
    /// Kinds 0 and 9.
    Processor(Processor),
    /// Kind 1.
    IoApic(IoApic),
    /// Kind 2.
    InterruptOverride(InterruptOverride),
    /// Kind 5: the physical address of the local APICs, instead of the one in the header.
    LocalApics(u64),
    /// Any other kind.
    Other(u8),
}

impl<'m> Madt<'m> {
    /// The table's name.
    pub const NAME: Signature = Signature(*b"APIC");

    /// Reads the fixed part.
    ///
    /// # Errors
    ///
    /// It is another table, or too short.
    pub fn new(table: Table<'m>) -> Result<Self, Error> {
        let table = table.expect(Self::NAME, BODY)?;
        Ok(Self {
            table,
            address: u32_at(table.bytes(), 36).unwrap_or(0),
            flags: u32_at(table.bytes(), 40).unwrap_or(0),
        })
    }

    /// Physical address of the local APICs' registers.
    #[must_use]
    pub fn local_apics(&self) -> u64 {
        self.entries()
            .find_map(|entry| match entry {
                Ok(MadtEntry::LocalApics(phys)) => Some(phys),
                _ => None,
            })
            .unwrap_or(self.address.into())
    }

    /// Whether the machine also has a pair of 8259 controllers, to be masked.
    #[must_use]
    pub fn has_8259(&self) -> bool {
        self.flags & 1 != 0
    }

    /// All structures in order. One that is too short for its kind gives an error, and so does one
    /// whose length makes no sense; after the latter there are no more.
    pub fn entries(&self) -> impl Iterator<Item = Result<MadtEntry, Error>> + Clone + use<'m> {
        Entries::new(&self.table, BODY).map(|entry| {
            let entry = entry?;
            parse(&entry).ok_or_else(|| entry.short())
        })
    }

    /// All CPUs in the table's order, each with what to make of it. Takes O(CPUs × structures) steps;
    /// ends with an error if there are more than [`MOST_CPUS`] usable ones.
    pub fn processors(
        &self,
    ) -> impl Iterator<Item = Result<(Processor, Standing), Error>> + use<'m> {
        let madt = *self;
        let mut usable = 0;
        let mut full = false;
        self.entries()
            .enumerate()
            .filter_map(move |(index, entry)| match entry {
                Ok(MadtEntry::Processor(processor)) => {
                    Some(Ok((processor, madt.standing(processor, index))))
                }
                Ok(_) => None,
                Err(error) => Some(Err(error)),
            })
            .map_while(move |found| {
                if full {
                    return None;
                }
                if matches!(found, Ok((_, Standing::Usable))) {
                    usable += 1;
                    full = usable > MOST_CPUS;
                }
                Some(if full {
                    Err(Error::TooMany {
                        table: Self::NAME,
                        limit: MOST_CPUS,
                    })
                } else {
                    found
                })
            })
    }

    /// The CPUs that can be started, each once.
    pub fn cpus(&self) -> impl Iterator<Item = Processor> + use<'m> {
        self.processors()
            .filter_map(|found| found.ok())
            .filter(|(_, standing)| *standing == Standing::Usable)
            .map(|(processor, _)| processor)
    }

    /// What to make of the processor that is structure number `index`.
    fn standing(&self, processor: Processor, index: usize) -> Standing {
        if !processor.enabled {
            return if processor.online_capable {
                Standing::Later
            } else {
                Standing::Absent
            };
        }
        if processor.apic_id == u32::MAX {
            return Standing::NoId;
        }
        let same = |entry| match entry {
            Ok(MadtEntry::Processor(other)) => other.enabled && other.apic_id == processor.apic_id,
            _ => false,
        };
        if self.entries().take(index).any(same) {
            Standing::Duplicate
        } else {
            Standing::Usable
        }
    }
}

fn parse(entry: &Entry<'_>) -> Option<MadtEntry> {
    let bytes = entry.bytes;
    Some(match entry.kind {
        0 => {
            // With eight bits, 255 is the id that addresses all CPUs.
            let apic_id = match u8_at(bytes, 3)? {
                u8::MAX => u32::MAX,
                id => id.into(),
            };
            processor(apic_id, u8_at(bytes, 2)?.into(), u32_at(bytes, 4)?)
        }
        1 => MadtEntry::IoApic(IoApic {
            id: u8_at(bytes, 2)?,
            phys: u32_at(bytes, 4)?,
            first: u32_at(bytes, 8)?,
        }),
        2 => MadtEntry::InterruptOverride(InterruptOverride {
            isa: u8_at(bytes, 3)?,
            global: u32_at(bytes, 4)?,
            flags: u16_at(bytes, 8)?,
        }),
        5 => MadtEntry::LocalApics(u64_at(bytes, 4)?),
        9 => processor(u32_at(bytes, 4)?, u32_at(bytes, 12)?, u32_at(bytes, 8)?),
        kind => MadtEntry::Other(kind),
    })
}

fn processor(apic_id: u32, uid: u32, flags: u32) -> MadtEntry {
    MadtEntry::Processor(Processor {
        apic_id,
        uid,
        enabled: flags & 1 != 0,
        online_capable: flags & 2 != 0,
    })
}
