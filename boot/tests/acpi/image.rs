//! Physical memory with tables in it.

use twinframe_boot::acpi::{Error, PhysicalMemory, Tables};

/// Pieces of physical memory; between them there is nothing.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    pub(crate) pieces: Vec<Piece>,
    /// Where the root pointer is.
    pub(crate) rsdp: u64,
}

#[derive(Debug, Clone)]
pub(crate) struct Piece {
    pub(crate) phys: u64,
    pub(crate) bytes: Vec<u8>,
}

impl PhysicalMemory for Image {
    fn read(&self, phys: u64, bytes: usize) -> Option<&[u8]> {
        self.pieces.iter().find_map(|piece| {
            let start = usize::try_from(phys.checked_sub(piece.phys)?).ok()?;
            piece.bytes.get(start..start.checked_add(bytes)?)
        })
    }
}

impl Image {
    /// A file of `boot/fixtures/acpi`: pieces one after another, the root pointer first, each as its
    /// physical address (8 bytes, little-endian), its length (4 bytes), and its bytes. The last piece
    /// may be cut short.
    pub(crate) fn load(mut file: &[u8]) -> Self {
        let mut pieces = Vec::new();
        while let Some((head, rest)) = file.split_first_chunk::<12>() {
            let phys = u64::from_le_bytes(head[..8].try_into().unwrap());
            let length = u32::from_le_bytes(head[8..].try_into().unwrap());
            let (bytes, rest) = rest.split_at(rest.len().min(length as usize));
            pieces.push(Piece {
                phys,
                bytes: bytes.into(),
            });
            file = rest;
        }
        let rsdp = pieces.first().map_or(0, |root: &Piece| root.phys);
        Self { pieces, rsdp }
    }

    pub(crate) fn tables(&self) -> Result<Tables<'_, Self>, Error> {
        Tables::find(self, self.rsdp)
    }

    /// Makes every checksum right again, as far as the stated length allows.
    pub(crate) fn seal(&mut self) {
        for piece in &mut self.pieces {
            if piece.bytes.starts_with(b"RSD PTR ") {
                seal_root_pointer(&mut piece.bytes);
            } else {
                seal(&mut piece.bytes);
            }
        }
    }
}

pub(crate) fn seal_root_pointer(bytes: &mut [u8]) {
    let total = |bytes: &[u8]| bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    if bytes.len() >= 20 {
        bytes[8] = bytes[8].wrapping_sub(total(&bytes[..20]));
    }
    if bytes.len() >= 36 && bytes[15] >= 2 {
        let length = u32::from_le_bytes(bytes[20..24].try_into().unwrap()) as usize;
        let length = length.clamp(36, bytes.len());
        bytes[32] = bytes[32].wrapping_sub(total(&bytes[..length]));
    }
}

/// Makes the checksum right.
pub(crate) fn seal(bytes: &mut [u8]) {
    if bytes.len() < 36 {
        return;
    }
    let length = u32::from_le_bytes(bytes[4..8].try_into().unwrap()) as usize;
    let length = length.clamp(36, bytes.len());
    let sum = bytes[..length]
        .iter()
        .fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    bytes[9] = bytes[9].wrapping_sub(sum);
}
