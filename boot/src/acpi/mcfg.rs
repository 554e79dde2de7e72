//! PCI configuration space in memory (PCI Firmware Specification 3.3, section 4.1.2).

use super::fields::{u8_at, u16_at, u64_at};
use super::{Error, Signature, Table};

/// Where the structures start.
const BODY: usize = 44;
/// Bytes of one structure.
const STEP: usize = 16;

/// The table, its header checked.
#[derive(Debug, Clone, Copy)]
pub struct Mcfg<'m> {
    table: Table<'m>,
}

/// The configuration space of some buses of one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConfigSpace {
    /// Physical address of bus 0, whether or not that is one of the buses.
    pub phys: u64,
    /// The segment.
    pub segment: u16,
    /// The first bus.
    pub first_bus: u8,
    /// The last bus, at or above the first.
    pub last_bus: u8,
}

impl<'m> Mcfg<'m> {
    /// The table's name.
    pub const NAME: Signature = Signature(*b"MCFG");

    /// Reads the fixed part.
    ///
    /// # Errors
    ///
    /// It is another table, or too short.
    pub fn new(table: Table<'m>) -> Result<Self, Error> {
        let table = table.expect(Self::NAME, BODY)?;
        Ok(Self { table })
    }

    /// All structures in order; one whose buses are upside down gives an error.
    pub fn entries(&self) -> impl Iterator<Item = Result<ConfigSpace, Error>> + use<'m> {
        let body = self.table.bytes().get(BODY..).unwrap_or_default();
        let (structures, _) = body.as_chunks::<STEP>();
        structures.iter().enumerate().map(|(index, bytes)| {
            parse(bytes).ok_or(Error::Range {
                table: Self::NAME,
                offset: BODY + index * STEP,
            })
        })
    }
}

fn parse(bytes: &[u8]) -> Option<ConfigSpace> {
    let space = ConfigSpace {
        phys: u64_at(bytes, 0)?,
        segment: u16_at(bytes, 8)?,
        first_bus: u8_at(bytes, 10)?,
        last_bus: u8_at(bytes, 11)?,
    };
    (space.first_bus <= space.last_bus).then_some(space)
}
