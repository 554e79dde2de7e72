//! One system description table: a header, and what it vouches for (ACPI 6.5, section 5.2.6).

use super::fields::{sum, u8_at, u32_at};
use super::memory::read;
use super::{Error, PhysicalMemory, Signature};

/// Bytes of the header that every table begins with.
pub(super) const HEADER: usize = 36;

/// The longest table accepted. The longest in the field are the AML tables of large servers, at a
/// few hundred KiB; a corrupt length is far more often beyond this limit than below it.
pub const LONGEST_TABLE: usize = 1 << 20;

/// A table whose length is plausible, whose bytes are readable and add up to 0.
#[derive(Debug, Clone, Copy)]
pub struct Table<'m> {
    phys: u64,
    signature: Signature,
    bytes: &'m [u8],
}

impl<'m> Table<'m> {
    /// Reads the table at the physical address `phys`. Costs a pass over its bytes.
    ///
    /// # Errors
    ///
    /// Its length is impossible, its checksum is wrong, or it cannot be read.
    pub fn read<M>(memory: &'m M, phys: u64) -> Result<Self, Error>
    where
        M: PhysicalMemory + ?Sized,
    {
        let header = read(memory, phys, HEADER)?;
        let unreadable = Error::Unreadable {
            phys,
            bytes: HEADER,
        };
        let signature = signature(header).ok_or(unreadable)?;
        let stated = u32_at(header, 4).ok_or(unreadable)?;
        let length = usize::try_from(stated)
            .ok()
            .filter(|length| (HEADER..=LONGEST_TABLE).contains(length))
            .ok_or(Error::Length {
                table: signature,
                stated: stated.into(),
                accepted: (HEADER, LONGEST_TABLE),
            })?;
        let bytes = read(memory, phys, length)?;
        match sum(bytes) {
            0 => Ok(Self {
                phys,
                signature,
                bytes,
            }),
            sum => Err(Error::Checksum {
                table: signature,
                phys,
                sum,
            }),
        }
    }

    /// The name in the header at `phys`, unchecked.
    pub(super) fn peek<M>(memory: &M, phys: u64) -> Result<Signature, Error>
    where
        M: PhysicalMemory + ?Sized,
    {
        let header = read(memory, phys, HEADER)?;
        signature(header).ok_or(Error::Unreadable {
            phys,
            bytes: HEADER,
        })
    }

    /// The table itself if it has the name `wanted` and at least `least` bytes.
    pub(super) fn expect(self, wanted: Signature, least: usize) -> Result<Self, Error> {
        if self.signature != wanted {
            return Err(Error::Signature {
                phys: self.phys,
                found: self.signature,
                wanted,
            });
        }
        if self.bytes.len() < least {
            return Err(Error::Length {
                table: wanted,
                stated: self.bytes.len() as u64,
                accepted: (least, LONGEST_TABLE),
            });
        }
        Ok(self)
    }

    /// Physical address of the first byte.
    #[must_use]
    pub fn phys(&self) -> u64 {
        self.phys
    }

    /// The name.
    #[must_use]
    pub fn signature(&self) -> Signature {
        self.signature
    }

    /// The revision of the table's own format.
    #[must_use]
    pub fn revision(&self) -> u8 {
        u8_at(self.bytes, 8).unwrap_or(0)
    }

    /// All bytes, the header included. Never empty.
    #[must_use]
    pub fn bytes(&self) -> &'m [u8] {
        self.bytes
    }
}

fn signature(header: &[u8]) -> Option<Signature> {
    header.first_chunk().copied().map(Signature)
}
