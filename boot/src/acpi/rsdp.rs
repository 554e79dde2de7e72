//! The root pointer: what firmware hands over (ACPI 6.5, section 5.2.5.3).

use super::fields::{sum, u8_at, u32_at, u64_at};
use super::memory::read;
use super::{Error, PhysicalMemory, Signature};

/// Bytes of the structure of ACPI 1.0, which all later ones begin with.
const FIRST: usize = 20;
/// Bytes of the structure since ACPI 2.0.
const SECOND: usize = 36;
/// More than any revision has; a longer one is a corrupt length.
const LONGEST: usize = 256;

/// The root pointer, intact by its checksums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rsdp {
    /// 0 for ACPI 1.0, 2 since ACPI 2.0.
    pub revision: u8,
    /// Physical address of the table of 32-bit addresses.
    pub rsdt: u32,
    /// Physical address of the table of 64-bit addresses; 0 if there is none.
    pub xsdt: u64,
}

impl Rsdp {
    const NAME: Signature = Signature(*b"RSDP");

    /// Reads the root pointer at the physical address `phys`.
    ///
    /// # Errors
    ///
    /// It is not one, one of its two checksums or its length is wrong, or it cannot be read.
    pub fn read<M: PhysicalMemory + ?Sized>(memory: &M, phys: u64) -> Result<Self, Error> {
        let first = read(memory, phys, FIRST)?;
        if !first.starts_with(b"RSD PTR ") {
            return Err(Error::NotRootPointer(phys));
        }
        let checked = |bytes| match sum(bytes) {
            0 => Ok(()),
            sum => Err(Error::Checksum {
                table: Self::NAME,
                phys,
                sum,
            }),
        };
        checked(first)?;
        let lost = Error::NotRootPointer(phys);
        let revision = u8_at(first, 15).ok_or(lost)?;
        let rsdt = u32_at(first, 16).ok_or(lost)?;
        if revision < 2 {
            return Ok(Self {
                revision,
                rsdt,
                xsdt: 0,
            });
        }
        let second = read(memory, phys, SECOND)?;
        let stated = u32_at(second, 20).ok_or(lost)?;
        let length = usize::try_from(stated)
            .ok()
            .filter(|length| (SECOND..=LONGEST).contains(length))
            .ok_or(Error::Length {
                table: Self::NAME,
                stated: stated.into(),
                accepted: (SECOND, LONGEST),
            })?;
        checked(read(memory, phys, length)?)?;
        Ok(Self {
            revision,
            rsdt,
            xsdt: u64_at(second, 24).ok_or(lost)?,
        })
    }
}
