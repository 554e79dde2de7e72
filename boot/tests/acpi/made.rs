//! Tables made by hand.

use crate::image::{Image, Piece, seal, seal_root_pointer};

impl Image {
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

    /// The bytes of the piece at this physical address.
    pub(crate) fn at(&mut self, phys: u64) -> &mut Vec<u8> {
        let piece = self.pieces.iter_mut().find(|piece| piece.phys == phys);
        &mut piece.unwrap().bytes
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
