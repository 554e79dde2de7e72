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
    /// physical address (8 bytes, little-endian), its length (4 bytes), and its bytes.
    pub(crate) fn load(mut file: &[u8]) -> Self {
        let mut pieces = Vec::new();
        while let Some((head, rest)) = file.split_first_chunk::<12>() {
            let phys = u64::from_le_bytes(head[..8].try_into().unwrap());
            let length = u32::from_le_bytes(head[8..].try_into().unwrap());
            let (bytes, rest) = rest.split_at(length as usize);
            pieces.push(Piece {
                phys,
                bytes: bytes.into(),
            });
            file = rest;
        }
        let rsdp = pieces[0].phys;
        Self { pieces, rsdp }
    }

    /// A machine whose tables are these, at 1 MiB, 2 MiB and so on. Its root pointer has the revision
    /// `revision`; from 2 on there are both root tables.
    pub(crate) fn build(revision: u8, tables: &[Vec<u8>]) -> Self {
        let mut image = Self {
            pieces: Vec::new(),
            rsdp: 0xf_0010,
        };
        let mut place = |bytes: Vec<u8>| {
            let phys = (image.pieces.len() as u64 + 1) << 20;
            image.pieces.push(Piece { phys, bytes });
            phys
        };
        let addresses: Vec<u64> = tables.iter().cloned().map(&mut place).collect();
        let narrow: Vec<u8> = addresses
            .iter()
            .flat_map(|&phys| (phys as u32).to_le_bytes())
            .collect();
        let wide: Vec<u8> = addresses
            .iter()
            .flat_map(|phys| phys.to_le_bytes())
            .collect();
        let rsdt = place(table(b"RSDT", 1, &narrow));
        let xsdt = place(table(b"XSDT", 1, &wide));
        image.pieces.push(Piece {
            phys: image.rsdp,
            bytes: root_pointer(revision, rsdt as u32, xsdt),
        });
        image
    }

    pub(crate) fn tables(&self) -> Result<Tables<'_, Self>, Error> {
        Tables::find(self, self.rsdp)
    }

    /// The bytes of the piece at this physical address.
    pub(crate) fn at(&mut self, phys: u64) -> &mut Vec<u8> {
        let piece = self.pieces.iter_mut().find(|piece| piece.phys == phys);
        &mut piece.unwrap().bytes
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

/// A root pointer of this revision.
pub(crate) fn root_pointer(revision: u8, rsdt: u32, xsdt: u64) -> Vec<u8> {
    let mut bytes = b"RSD PTR \0TWINFR".to_vec();
    bytes[8..].rotate_left(1);
    bytes.truncate(15);
    bytes[8] = 0;
    bytes.push(revision);
    bytes.extend(rsdt.to_le_bytes());
    if revision >= 2 {
        bytes.extend(36u32.to_le_bytes());
        bytes.extend(xsdt.to_le_bytes());
        bytes.extend([0; 4]);
    }
    seal_root_pointer(&mut bytes);
    bytes
}

fn seal_root_pointer(bytes: &mut [u8]) {
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

/// A table with this body behind its header.
pub(crate) fn table(signature: &[u8; 4], revision: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = signature.to_vec();
    bytes.extend((36 + body.len() as u32).to_le_bytes());
    bytes.extend([revision, 0]);
    bytes.extend(b"TWINFRTWINFRAM\x01\0\0\0TEST\x01\0\0\0");
    assert_eq!(bytes.len(), 36);
    bytes.extend(body);
    seal(&mut bytes);
    bytes
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

/// The structures of a MADT, or of another table with such, behind `fixed` bytes of its own.
pub(crate) fn body(fixed: &[u8], entries: &[Vec<u8>]) -> Vec<u8> {
    let mut body = fixed.to_vec();
    body.extend(entries.iter().flatten());
    body
}

/// What comes before the structures of a MADT.
pub(crate) const MADT_HEAD: [u8; 8] = [0, 0, 0xe0, 0xfe, 1, 0, 0, 0];
/// What comes before the structures of an SRAT.
pub(crate) const SRAT_HEAD: [u8; 12] = [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// A MADT's structure of kind 0.
pub(crate) fn local_apic(uid: u8, id: u8, flags: u32) -> Vec<u8> {
    let mut entry = vec![0, 8, uid, id];
    entry.extend(flags.to_le_bytes());
    entry
}

/// A MADT's structure of kind 9.
pub(crate) fn local_x2apic(uid: u32, id: u32, flags: u32) -> Vec<u8> {
    let mut entry = vec![9, 16, 0, 0];
    entry.extend(id.to_le_bytes());
    entry.extend(flags.to_le_bytes());
    entry.extend(uid.to_le_bytes());
    entry
}

/// An SRAT's structure of kind 0.
pub(crate) fn cpu_node(id: u8, node: u32, flags: u32) -> Vec<u8> {
    let [low, high @ ..] = node.to_le_bytes();
    let mut entry = vec![0, 16, low, id];
    entry.extend(flags.to_le_bytes());
    entry.push(0);
    entry.extend(high);
    entry.extend([0; 4]);
    entry
}

/// An SRAT's structure of kind 2.
pub(crate) fn x2apic_node(id: u32, node: u32, flags: u32) -> Vec<u8> {
    let mut entry = vec![2, 24, 0, 0];
    entry.extend(node.to_le_bytes());
    entry.extend(id.to_le_bytes());
    entry.extend(flags.to_le_bytes());
    entry.extend([0; 8]);
    entry
}

/// An SRAT's structure of kind 1.
pub(crate) fn memory_node(start: u64, length: u64, node: u32, flags: u32) -> Vec<u8> {
    let mut entry = vec![1, 40];
    entry.extend(node.to_le_bytes());
    entry.extend([0; 2]);
    entry.extend(start.to_le_bytes());
    entry.extend(length.to_le_bytes());
    entry.extend([0; 4]);
    entry.extend(flags.to_le_bytes());
    entry.extend([0; 8]);
    entry
}
