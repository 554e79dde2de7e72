//! What can be wrong with a table.

use core::fmt::{self, Write};

/// A table's four-character name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature(pub [u8; 4]);

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            for c in byte.escape_ascii() {
                f.write_char(c.into())?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a table, or a part of one, is refused. Displayed as one line for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// The memory view does not give these bytes.
    Unreadable {
        /// Physical address of the first byte.
        phys: u64,
        /// How many bytes were asked for.
        bytes: usize,
    },
    /// There is no root pointer at this physical address.
    NotRootPointer(u64),
    /// The table at a physical address is not the one that belongs there.
    Signature {
        /// Where the table is.
        phys: u64,
        /// The name that it has.
        found: Signature,
        /// The name that it should have.
        wanted: Signature,
    },
    /// The bytes of the table do not add up to 0.
    Checksum {
        /// Which table.
        table: Signature,
        /// Where it is.
        phys: u64,
        /// What the bytes add up to.
        sum: u8,
    },
    /// The length that the table states cannot be its length.
    Length {
        /// Which table.
        table: Signature,
        /// The length it states.
        stated: u64,
        /// The least and the greatest length accepted.
        accepted: (usize, usize),
    },
    /// A structure inside a table runs past the table's end, or is too short for its kind.
    Entry {
        /// Which table.
        table: Signature,
        /// Where the structure starts, in bytes from the start of the table.
        offset: usize,
        /// The kind that it says it is.
        kind: u8,
        /// The length that it says it has.
        length: u8,
    },
    /// A structure describes a range that wraps around the end of its space or is upside down.
    Range {
        /// Which table.
        table: Signature,
        /// Where the structure starts, in bytes from the start of the table.
        offset: usize,
    },
    /// The table lists more than this many things; the rest is ignored.
    TooMany {
        /// Which table.
        table: Signature,
        /// How many are looked at.
        limit: usize,
    },
    /// No table has this name.
    Missing(Signature),
    /// The tables do not say how to switch the machine off.
    NoPowerOff,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Unreadable { phys, bytes } => {
                write!(f, "{bytes} bytes at {phys:#x} are not readable")
            }
            Self::NotRootPointer(phys) => write!(f, "no root pointer at {phys:#x}"),
            Self::Signature {
                phys,
                found,
                wanted,
            } => write!(f, "{found} instead of {wanted} at {phys:#x}"),
            Self::Checksum { table, phys, sum } => {
                write!(
                    f,
                    "{table} at {phys:#x}: the bytes add up to {sum:#x}, not to 0"
                )
            }
            Self::Length {
                table,
                stated,
                accepted: (least, most),
            } => write!(
                f,
                "{table}: a length of {stated} bytes, not between {least} and {most}"
            ),
            Self::Entry {
                table,
                offset,
                kind,
                length,
            } => write!(
                f,
                "{table}: the structure at {offset:#x} (kind {kind}) cannot be {length} bytes long"
            ),
            Self::Range { table, offset } => {
                write!(
                    f,
                    "{table}: the structure at {offset:#x} has an impossible range"
                )
            }
            Self::TooMany { table, limit } => {
                write!(f, "{table}: more than {limit} listed, the rest is ignored")
            }
            Self::Missing(table) => write!(f, "there is no {table}"),
            Self::NoPowerOff => f.write_str("no way to switch the machine off"),
        }
    }
}

impl core::error::Error for Error {}
