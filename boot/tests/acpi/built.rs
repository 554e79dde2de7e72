//! Whole tables made by hand, each defect by itself.

use twinframe_boot::acpi::{
    Error, LONGEST_TABLE, MOST_TABLES, Madt, PhysicalMemory, Register, Rsdp, Signature, Table,
    Tables, Width,
};

use crate::image::{Image, Piece, seal};
use crate::made::{MADT_HEAD, body, local_apic, root_pointer, table};

fn madt(id: u8) -> Vec<u8> {
    table(b"APIC", 1, &body(&MADT_HEAD, &[local_apic(0, id, 1)]))
}

#[test]
fn a_root_pointer_has_two_checksums() {
    let read = |bytes: Vec<u8>| {
        let image = Image {
            pieces: vec![Piece {
                phys: 0x1000,
                bytes,
            }],
            rsdp: 0x1000,
        };
        Rsdp::read(&image, image.rsdp)
    };
    let good = |revision| root_pointer(revision, 0x1234, 0x5678);
    assert_eq!(read(good(0)).unwrap().xsdt, 0);
    assert_eq!(read(good(2)).unwrap().xsdt, 0x5678);
    for (revision, at) in [(0, 8), (0, 19), (2, 8), (2, 19), (2, 20), (2, 32), (2, 35)] {
        let mut bad = good(revision);
        bad[at] ^= 0x10;
        assert!(read(bad).is_err(), "revision {revision}, byte {at}");
    }
    let mut cut = good(2);
    cut.truncate(35);
    assert!(matches!(read(cut), Err(Error::Unreadable { .. })));
    for length in [0, 35, 257, u32::MAX] {
        let mut bad = good(2);
        bad[20..24].copy_from_slice(&length.to_le_bytes());
        assert!(matches!(read(bad), Err(Error::Length { .. })), "{length}");
    }
    // Longer than known, by a later revision: fine if it is all there and adds up.
    let mut longer = good(2);
    longer.extend([0; 4]);
    longer[20] = 40;
    longer[32] = longer[32].wrapping_sub(4);
    assert!(read(longer).is_ok());
    assert_eq!(read(vec![0; 64]), Err(Error::NotRootPointer(0x1000)));
}

#[test]
fn impossible_lengths_are_refused() {
    let read = |length: u32, bytes: usize| {
        let mut found = table(b"TEST", 1, &vec![0; bytes - 36]);
        found[4..8].copy_from_slice(&length.to_le_bytes());
        seal(&mut found);
        let image = Image {
            pieces: vec![Piece {
                phys: 0,
                bytes: found,
            }],
            rsdp: 0,
        };
        Table::read(&image, 0).map(|table| table.bytes().len())
    };
    assert_eq!(read(36, 36), Ok(36));
    for length in [0, 1, 35] {
        assert!(matches!(read(length, 36), Err(Error::Length { .. })));
    }
    assert!(matches!(read(37, 36), Err(Error::Unreadable { .. })));
    let most = LONGEST_TABLE as u32;
    assert_eq!(read(most, LONGEST_TABLE), Ok(LONGEST_TABLE));
    for length in [most + 1, u32::MAX] {
        let bytes = LONGEST_TABLE + 1;
        assert!(matches!(read(length, bytes), Err(Error::Length { .. })));
    }
}

#[test]
fn the_other_root_table_stands_in() {
    let mut image = Image::build(2, &[madt(0)]);
    let rsdp = image.tables().unwrap().rsdp();
    image.at(rsdp.xsdt)[40] ^= 1;
    let tables = image.tables().unwrap();
    assert_eq!(tables.root().signature(), Signature(*b"RSDT"));
    assert!(matches!(tables.refused(), Some(Error::Checksum { .. })));
    assert_eq!(tables.madt().unwrap().cpus().count(), 1);
    // Both corrupt: the reason is that of the first.
    image.at(rsdp.rsdt.into()).truncate(20);
    assert!(matches!(image.tables(), Err(Error::Checksum { .. })));
}

#[test]
fn a_root_table_that_is_none_is_refused() {
    let mut image = Image::build(2, &[madt(0)]);
    let rsdp = image.tables().unwrap().rsdp();
    let other = table(b"FACP", 1, &[0; 80]);
    *image.at(rsdp.xsdt) = other.clone();
    *image.at(rsdp.rsdt.into()) = other;
    assert!(matches!(image.tables(), Err(Error::Signature { .. })));
}

#[test]
fn an_intact_table_wins_over_a_corrupt_one() {
    let corrupt = |id| {
        let mut found = madt(id);
        found[50] ^= 0xff;
        found
    };
    let intact = madt(7);
    let image = Image::build(0, &[corrupt(1), intact, corrupt(2)]);
    let tables = image.tables().unwrap();
    let found = tables.madt().unwrap();
    assert_eq!(found.cpus().next().unwrap().apic_id, 7);
    assert_eq!(tables.iter().filter(Result::is_err).count(), 2);
    let image = Image::build(0, &[corrupt(1)]);
    assert!(matches!(
        image.tables().unwrap().madt().unwrap_err(),
        Error::Checksum { .. }
    ));
}

#[test]
fn there_is_a_limit_to_tables() {
    let mut many = vec![table(b"NONE", 1, &[]); MOST_TABLES];
    many.push(table(b"APIC", 1, &MADT_HEAD));
    let image = Image::build(0, &many);
    let tables = image.tables().unwrap();
    assert_eq!(tables.iter().count(), MOST_TABLES + 1);
    assert!(matches!(
        tables.iter().last(),
        Some(Err(Error::TooMany { .. }))
    ));
    assert!(tables.madt().is_err());
}

#[test]
fn a_table_too_short_for_its_fields_is_refused() {
    for (name, bytes) in [(b"APIC", 7), (b"SRAT", 11), (b"FACP", 79), (b"MCFG", 7)] {
        let image = Image::build(2, &[table(name, 1, &vec![0; bytes])]);
        let tables = image.tables().unwrap();
        let error = match name {
            b"APIC" => tables.madt().err(),
            b"SRAT" => tables.srat().err(),
            b"FACP" => tables.fadt().err(),
            _ => tables.mcfg().err(),
        };
        assert!(matches!(error, Some(Error::Length { .. })), "{error:?}");
    }
}

#[test]
fn a_machine_without_its_definition_block_stays_on() {
    let image = Image::build(2, &[table(b"FACP", 1, &[0; 80])]);
    let tables = image.tables().unwrap();
    let fadt = tables.fadt().unwrap();
    assert_eq!(fadt.pm1_control, [None; 2]);
    assert_eq!((fadt.reset, fadt.timer), (None, None));
    assert_eq!(tables.power_off(), Err(Error::Missing(Signature(*b"DSDT"))));
}

#[test]
fn a_reset_register_counts_only_with_its_flag() {
    let reset = |flags: u32| {
        let mut body = vec![0; 208];
        body[112 - 36..116 - 36].copy_from_slice(&flags.to_le_bytes());
        // Port 0xcf9, and the value 6.
        body[116 - 36..128 - 36].copy_from_slice(&[1, 8, 0, 1, 0xf9, 0xc, 0, 0, 0, 0, 0, 0]);
        body[128 - 36] = 6;
        let image = Image::build(2, &[table(b"FACP", 3, &body)]);
        image.tables().unwrap().fadt().unwrap().reset
    };
    assert_eq!(reset(0), None);
    let write = reset(1 << 10).unwrap();
    assert_eq!(write.register, Register::Port(0xcf9, Width::Byte));
    assert_eq!(write.value, 6);
}

/// A view that gives what it likes, not what it is asked for.
struct Careless(Image, isize);

impl PhysicalMemory for Careless {
    fn read(&self, phys: u64, bytes: usize) -> Option<&[u8]> {
        self.0.read(phys, bytes.checked_add_signed(self.1)?)
    }
}

#[test]
fn a_careless_view_is_not_relied_on() {
    let find = |off| {
        let mut image = Image::build(0, &[madt(0)]);
        // Room to give more than was asked for.
        for piece in &mut image.pieces {
            piece.bytes.extend([0; 64]);
        }
        let rsdp = image.rsdp;
        Tables::find(&Careless(image, off), rsdp).map(|_| ())
    };
    assert_eq!(find(0), Ok(()));
    for off in [-1, 1, 16] {
        assert!(matches!(find(off), Err(Error::Unreadable { .. })), "{off}");
    }
}

#[test]
fn errors_are_one_line() {
    let errors = [
        Error::Unreadable { phys: 1, bytes: 2 },
        Error::NotRootPointer(3),
        Error::Signature {
            phys: 4,
            found: Signature(*b"a\n\xff'"),
            wanted: Madt::NAME,
        },
        Error::Missing(Madt::NAME),
        Error::NoPowerOff,
    ];
    let lines: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(lines[0], "2 bytes at 0x1 are not readable");
    assert_eq!(lines[2], r"a\n\xff\' instead of APIC at 0x4");
    assert!(lines.iter().all(|line| !line.contains('\n')));
}
