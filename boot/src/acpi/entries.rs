//! Lists of structures that each begin with a kind and a length, as MADT and SRAT have them.

use super::fields::u8_at;
use super::{Error, Signature, Table};

/// One structure, the two leading bytes included.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'m> {
    pub(super) table: Signature,
    pub(super) offset: usize,
    pub(super) kind: u8,
    pub(super) bytes: &'m [u8],
}

impl Entry<'_> {
    /// The error that this structure is too short for its kind.
    pub(super) fn short(&self) -> Error {
        Error::Entry {
            table: self.table,
            offset: self.offset,
            kind: self.kind,
            // Never above 255: the length was one byte.
            length: u8_at(self.bytes, 1).unwrap_or(0),
        }
    }
}

/// Walks the structures of a table. Ends after the first whose length makes no sense, because then
/// nobody knows where the next one starts.
#[derive(Debug, Clone)]
pub(super) struct Entries<'m> {
    table: Signature,
    bytes: &'m [u8],
    offset: usize,
}

impl<'m> Entries<'m> {
    /// The structures from `offset` on.
    pub(super) fn new(table: &Table<'m>, offset: usize) -> Self {
        Self {
            table: table.signature(),
            bytes: table.bytes(),
            offset,
        }
    }
}

impl<'m> Iterator for Entries<'m> {
    type Item = Result<Entry<'m>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.bytes.get(self.offset..)?;
        let kind = u8_at(rest, 0)?;
        let length = u8_at(rest, 1).unwrap_or(0);
        let offset = self.offset;
        let Some(bytes) = rest.get(..usize::from(length)).filter(|_| length >= 2) else {
            self.offset = self.bytes.len();
            return Some(Err(Error::Entry {
                table: self.table,
                offset,
                kind,
                length,
            }));
        };
        self.offset += bytes.len();
        Some(Ok(Entry {
            table: self.table,
            offset,
            kind,
            bytes,
        }))
    }
}
