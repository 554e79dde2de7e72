//! Bytes that no honest firmware leaves, held against the rules.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use twinframe_boot::acpi::{MadtEntry, Processor, Standing};

use crate::image::{Image, Piece};
use crate::made::{MADT_HEAD, SRAT_HEAD, body, local_apic, local_x2apic, root_pointer, table};
use crate::real;
use crate::rules::ask;

/// What can happen to one byte, or a few, of one piece of an image.
#[derive(Debug, Clone)]
enum Damage {
    Flip(Index, u8),
    Cut(Index),
    Length(u32),
    Overwrite(Index, Vec<u8>),
    Move(u64),
}

fn damage() -> impl Strategy<Value = Damage> {
    let length = prop_oneof![
        0u32..64,
        any::<u32>(),
        select(vec![36, 44, 48, 1 << 20, u32::MAX])
    ];
    prop_oneof![
        (any::<Index>(), 0u8..8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        any::<Index>().prop_map(Damage::Cut),
        length.prop_map(Damage::Length),
        (any::<Index>(), vec(any::<u8>(), 1..12))
            .prop_map(|(at, bytes)| { Damage::Overwrite(at, bytes) }),
        any::<u64>().prop_map(Damage::Move),
    ]
}

fn apply(piece: &mut Piece, damage: &Damage) {
    let length = piece.bytes.len();
    match damage {
        _ if length == 0 => {}
        Damage::Flip(at, bit) => piece.bytes[at.index(length)] ^= 1 << bit,
        Damage::Cut(at) => piece.bytes.truncate(at.index(length)),
        Damage::Length(stated) => {
            if let Some(field) = piece.bytes.get_mut(4..8) {
                field.copy_from_slice(&stated.to_le_bytes());
            }
        }
        Damage::Overwrite(at, bytes) => {
            let start = at.index(length);
            for (old, new) in piece.bytes[start..].iter_mut().zip(bytes) {
                *old = *new;
            }
        }
        Damage::Move(phys) => piece.phys = *phys,
    }
}

/// A MADT's structure, and what it must be read as.
fn structure() -> impl Strategy<Value = (Vec<u8>, Option<Processor>)> {
    let processor = |apic_id, uid, flags: u32| {
        Some(Processor {
            apic_id,
            uid,
            enabled: flags & 1 != 0,
            online_capable: flags & 2 != 0,
        })
    };
    prop_oneof![
        (any::<u8>(), 0u8..255, 0u32..4).prop_map(move |(uid, id, flags)| {
            (
                local_apic(uid, id, flags),
                processor(id.into(), uid.into(), flags),
            )
        }),
        (any::<u32>(), 0u32..400, 0u32..4).prop_map(move |(uid, id, flags)| (
            local_x2apic(uid, id, flags),
            processor(id, uid, flags)
        )),
        (10u8..=255, vec(any::<u8>(), 0..30)).prop_map(|(kind, rest)| {
            let mut entry = vec![kind, rest.len() as u8 + 2];
            entry.extend(rest);
            (entry, None)
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn random_memory(bytes in vec(any::<u8>(), 0..300), phys in any::<u64>(), rsdp in any::<u64>()) {
        let image = Image { pieces: vec![Piece { phys, bytes }], rsdp };
        ask(&image, rsdp);
        ask(&image, phys);
    }

    #[test]
    fn random_tables(
        bodies in vec((select(vec![b"APIC", b"SRAT", b"FACP", b"MCFG", b"DSDT"]), vec(any::<u8>(), 0..400)), 1..6),
        revision in 0u8..4,
    ) {
        let tables: Vec<_> = bodies.iter().map(|(name, body)| table(name, revision, body)).collect();
        let image = Image::build(revision, &tables);
        prop_assert_eq!(image.tables().unwrap().iter().count(), bodies.len());
        ask(&image, image.rsdp);
    }

    #[test]
    fn random_structures(
        kinds in vec((0u8..12, 0u8..48, vec(any::<u8>(), 48)), 0..20),
        srat in any::<bool>(),
    ) {
        let entries: Vec<Vec<u8>> = kinds
            .into_iter()
            .map(|(kind, length, mut bytes)| {
                bytes[..2].copy_from_slice(&[kind, length]);
                bytes.truncate(usize::from(length).max(1));
                bytes
            })
            .collect();
        let made = if srat {
            table(b"SRAT", 3, &body(&SRAT_HEAD, &entries))
        } else {
            table(b"APIC", 3, &body(&MADT_HEAD, &entries))
        };
        ask(&Image::build(2, &[made]), 0xf_0010);
    }

    #[test]
    fn damaged_machines(
        file in select(real::ALL.to_vec()),
        damages in vec((any::<Index>(), damage()), 1..6),
        sealed in any::<bool>(),
    ) {
        let mut image = Image::load(file);
        for (which, damage) in &damages {
            let which = which.index(image.pieces.len());
            apply(&mut image.pieces[which], damage);
        }
        // Half of the time the checksums are made right again, or little else would be reached.
        if sealed {
            image.seal();
        }
        ask(&image, image.rsdp);
    }

    #[test]
    fn well_formed_structures_are_read_as_written(structures in vec(structure(), 0..40)) {
        let (entries, expected): (Vec<_>, Vec<_>) = structures.into_iter().unzip();
        let image = Image::build(2, &[table(b"APIC", 4, &body(&MADT_HEAD, &entries))]);
        let madt = image.tables().unwrap().madt().unwrap();
        let found: Vec<_> = madt
            .entries()
            .map(|entry| match entry.unwrap() {
                MadtEntry::Processor(processor) => Some(processor),
                _ => None,
            })
            .collect();
        prop_assert_eq!(&found, &expected);
        let mut seen = Vec::new();
        for found in madt.processors() {
            let (cpu, standing) = found.unwrap();
            let expected = match (cpu.enabled, cpu.online_capable) {
                (true, _) if seen.contains(&cpu.apic_id) => Standing::Duplicate,
                (true, _) => Standing::Usable,
                (false, true) => Standing::Later,
                (false, false) => Standing::Absent,
            };
            prop_assert_eq!(standing, expected);
            if cpu.enabled {
                seen.push(cpu.apic_id);
            }
        }
    }
}

/// Tables that point at each other and at themselves, at the ends of the address space.
#[test]
fn tables_that_point_at_themselves() {
    for phys in [0, 0x1000, u64::MAX - 0x1000, u64::MAX] {
        let mut bytes = root_pointer(2, phys as u32, phys);
        bytes.extend(table(b"XSDT", 1, &phys.to_le_bytes().repeat(64)));
        let image = Image {
            pieces: vec![Piece { phys, bytes }],
            rsdp: phys,
        };
        ask(&image, phys);
        ask(&image, phys.wrapping_add(36));
    }
    let mut image = Image::build(2, &[]);
    let xsdt = image.tables().unwrap().rsdp().xsdt;
    *image.at(xsdt) = table(b"XSDT", 1, &xsdt.to_le_bytes().repeat(400));
    ask(&image, image.rsdp);
}

/// Every single byte of every machine's tables, each bit of it.
#[test]
fn one_wrong_bit_is_noticed() {
    for file in [real::PC, real::MICROVM] {
        let image = Image::load(file);
        let intact = image.tables().unwrap().iter().flatten().count();
        for piece in 0..image.pieces.len() {
            let definitions = image.pieces[piece].bytes.starts_with(b"DSDT");
            let step = if definitions { 97 } else { 1 };
            for at in (0..image.pieces[piece].bytes.len()).step_by(step) {
                let mut image = image.clone();
                image.pieces[piece].bytes[at] ^= 1 << (at % 8);
                let found = image.tables().map(|t| {
                    let dsdt = t.dsdt().is_ok();
                    (t.iter().flatten().count(), t.refused(), dsdt)
                });
                assert_ne!(found, Ok((intact, None, true)), "piece {piece}, byte {at}");
                ask(&image, image.rsdp);
            }
        }
    }
}
