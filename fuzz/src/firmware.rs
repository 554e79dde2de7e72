//! What firmware claims: its memory map and its tables, out of bytes that nobody has checked.
//!
//! The rules are those of the property tests in `boot/tests`.

use bootloader_api::info::{MemoryRegion, MemoryRegionKind};
use twinframe_boot::memmap::{Class, Reservation, e820_entry};

#[path = "../../boot/tests/acpi/image.rs"]
#[expect(dead_code, reason = "the property tests use more of it")]
mod image;
#[path = "../../boot/tests/hostile_maps/rules.rs"]
mod map_rules;
#[path = "../../boot/tests/acpi/rules.rs"]
mod table_rules;

/// Bytes of one claim in a map: what it is, base, length.
const CLAIM: usize = 17;
/// Claims looked at: the model takes the cube of their number in steps.
const MOST_CLAIMS: usize = 150;

/// Reads a memory map out of the bytes and checks what becomes of it.
///
/// A claim's first byte is the E820 type; from 0x80 on the type of UEFI, less 0x80; 0xfe is memory of the
/// boot loader, and 0xff a reservation of the kernel's. Base and length follow, little-endian.
pub fn check_map(bytes: &[u8]) {
    let (mut firmware, mut reservations) = (Vec::new(), Vec::new());
    let (claims, _) = bytes.as_chunks::<CLAIM>();
    for [kind, bounds @ ..] in claims.iter().take(MOST_CLAIMS) {
        let bounds = u128::from_le_bytes(*bounds);
        let (base, length) = (bounds as u64, (bounds >> 64) as u64);
        let entry = e820_entry(base, length, (*kind).into());
        let kind = match *kind {
            0xff => {
                reservations.push(Reservation {
                    start: entry.start,
                    end: entry.end,
                    owner: "kernel",
                });
                continue;
            }
            0xfe => MemoryRegionKind::Bootloader,
            kind @ 0x80.. => MemoryRegionKind::UnknownUefi(u32::from(kind) - 0x80),
            _ => entry.kind,
        };
        firmware.push(MemoryRegion { kind, ..entry });
    }
    map_rules::check(&firmware, &reservations, Class::Usable);
    map_rules::check(&firmware, &reservations, Class::Reclaimable);
}

/// Takes the bytes for pieces of physical memory, as the files in `boot/fixtures/acpi` are, the root
/// pointer first, and asks everything of the tables in them: once as they are, and once with every
/// checksum made right, or little else would be reached.
pub fn check_tables(bytes: &[u8]) {
    let mut image = image::Image::load(bytes);
    table_rules::ask(&image, image.rsdp);
    image.seal();
    table_rules::ask(&image, image.rsdp);
}
