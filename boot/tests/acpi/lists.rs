//! Structures inside tables, made by hand: what no machine at hand has, and each defect by itself.

use twinframe_boot::acpi::{
    Affinity, CpuAffinity, Error, MOST_CPUS, Madt, MadtEntry, MemoryAffinity, Signature, Standing,
};

use crate::image::Image;
use crate::made::{
    MADT_HEAD, SRAT_HEAD, body, cpu_node, local_apic, local_x2apic, memory_node, table, x2apic_node,
};

const ENABLED: u32 = 1;
const ONLINE_CAPABLE: u32 = 2;

fn madt(entries: &[Vec<u8>]) -> Image {
    Image::build(2, &[table(b"APIC", 5, &body(&MADT_HEAD, entries))])
}

fn srat(revision: u8, entries: &[Vec<u8>]) -> Image {
    Image::build(0, &[table(b"SRAT", revision, &body(&SRAT_HEAD, entries))])
}

fn standings(image: &Image) -> Vec<(u32, Standing)> {
    let found = image.tables().unwrap().madt().unwrap();
    found
        .processors()
        .map(|found| {
            found
                .map(|(cpu, standing)| (cpu.apic_id, standing))
                .unwrap()
        })
        .collect()
}

#[test]
fn an_apic_id_is_given_once() {
    let image = madt(&[
        local_apic(0, 0, ENABLED),
        local_apic(1, 2, 0),
        local_apic(2, 2, ENABLED),
        local_apic(3, 2, ENABLED),
        local_apic(4, 255, ENABLED),
        local_x2apic(5, 0, ENABLED),
        local_x2apic(6, 300, ENABLED),
        local_x2apic(7, 300, ENABLED | ONLINE_CAPABLE),
        local_x2apic(8, 301, ONLINE_CAPABLE),
        local_x2apic(9, u32::MAX, ENABLED),
        local_x2apic(10, 255, ENABLED),
    ]);
    assert_eq!(
        standings(&image),
        [
            (0, Standing::Usable),
            (2, Standing::Absent),
            (2, Standing::Usable),
            (2, Standing::Duplicate),
            (u32::MAX, Standing::NoId),
            (0, Standing::Duplicate),
            (300, Standing::Usable),
            (300, Standing::Duplicate),
            (301, Standing::Later),
            (u32::MAX, Standing::NoId),
            (255, Standing::Usable),
        ]
    );
    let found = image.tables().unwrap().madt().unwrap();
    let usable: Vec<_> = found.cpus().map(|cpu| (cpu.uid, cpu.apic_id)).collect();
    assert_eq!(usable, [(0, 0), (2, 2), (6, 300), (10, 255)]);
}

#[test]
fn the_address_of_the_local_apics_can_be_overruled() {
    let mut entry = vec![5, 12, 0, 0];
    entry.extend(0xff_fee0_0000_u64.to_le_bytes());
    let image = madt(&[local_apic(0, 0, ENABLED), entry]);
    let found = image.tables().unwrap().madt().unwrap();
    assert_eq!(found.local_apics(), 0xff_fee0_0000);
    let image = madt(&[]);
    let found = image.tables().unwrap().madt().unwrap();
    assert_eq!(found.local_apics(), 0xfee0_0000);
}

#[test]
fn a_structure_of_no_length_ends_the_list() {
    for length in [0, 1] {
        let image = madt(&[
            local_apic(0, 0, ENABLED),
            vec![0, length, 0, 0, 0, 0, 0, 0],
            local_apic(1, 1, ENABLED),
        ]);
        let found = image.tables().unwrap().madt().unwrap();
        let entries: Vec<_> = found.entries().collect();
        assert_eq!(entries.len(), 2);
        assert_eq!(
            entries[1],
            Err(Error::Entry {
                table: Madt::NAME,
                offset: 44 + 8,
                kind: 0,
                length
            })
        );
        assert_eq!(found.cpus().count(), 1);
    }
}

#[test]
fn a_structure_that_leaves_the_table_ends_the_list() {
    let image = madt(&[local_apic(0, 0, ENABLED), vec![9, 16, 0, 0, 7, 0, 0, 0]]);
    let found = image.tables().unwrap().madt().unwrap();
    assert_eq!(found.cpus().count(), 1);
    assert_eq!(found.entries().filter(Result::is_err).count(), 1);
    // One byte left: not even room for a length.
    let image = madt(&[local_apic(0, 0, ENABLED), vec![0]]);
    let found = image.tables().unwrap().madt().unwrap();
    assert_eq!(
        found.entries().last(),
        Some(Err(Error::Entry {
            table: Madt::NAME,
            offset: 52,
            kind: 0,
            length: 0
        }))
    );
}

#[test]
fn a_structure_too_short_for_its_kind_is_skipped() {
    let image = madt(&[
        vec![0, 4, 7, 7],
        vec![9, 8, 0, 0, 7, 0, 0, 0],
        vec![1, 2],
        vec![0x7f, 3, 1],
        local_apic(1, 1, ENABLED),
    ]);
    let found = image.tables().unwrap().madt().unwrap();
    let entries: Vec<_> = found.entries().collect();
    assert!(entries[..3].iter().all(Result::is_err));
    assert_eq!(entries[3], Ok(MadtEntry::Other(0x7f)));
    assert_eq!(found.cpus().map(|cpu| cpu.apic_id).next(), Some(1));
}

#[test]
fn there_is_a_limit_to_cpus() {
    let many: Vec<_> = (0..MOST_CPUS as u32 + 2)
        .map(|id| local_x2apic(id, id, ENABLED))
        .collect();
    let image = madt(&many);
    let found = image.tables().unwrap().madt().unwrap();
    assert_eq!(found.cpus().count(), MOST_CPUS);
    assert_eq!(
        found.processors().last(),
        Some(Err(Error::TooMany {
            table: Madt::NAME,
            limit: MOST_CPUS
        }))
    );
}

#[test]
fn nodes_of_every_kind_of_structure() {
    let entries = [
        cpu_node(3, 0x0102_0304, ENABLED),
        cpu_node(4, 1, 0),
        x2apic_node(0x1234, 0xffff_0000, ENABLED),
        memory_node(0, 0xa_0000, 2, ENABLED),
        memory_node(1 << 32, 1 << 30, 3, ENABLED | 2),
        memory_node(1 << 40, 0, 4, ENABLED),
        memory_node(1 << 41, 1 << 20, 5, 0),
        memory_node(u64::MAX, 1, 6, ENABLED | 4),
    ];
    let image = srat(3, &entries);
    let found = image.tables().unwrap().srat().unwrap();
    let memory = |start, last, node| MemoryAffinity {
        start,
        last,
        node,
        hot_pluggable: node == 3,
        non_volatile: node == 6,
    };
    let cpu = |apic_id, node| CpuAffinity { apic_id, node };
    assert_eq!(
        found.entries().map(Result::unwrap).collect::<Vec<_>>(),
        [
            Affinity::Cpu(cpu(3, 0x0102_0304)),
            Affinity::Unused(0),
            Affinity::Cpu(cpu(0x1234, 0xffff_0000)),
            Affinity::Memory(memory(0, 0x9_ffff, 2)),
            Affinity::Memory(memory(1 << 32, (5 << 30) - 1, 3)),
            Affinity::Unused(1),
            Affinity::Unused(1),
            Affinity::Memory(memory(u64::MAX, u64::MAX, 6)),
        ]
    );
    // Eight bits for the node in the first revision.
    let image = srat(1, &entries);
    let found = image.tables().unwrap().srat().unwrap();
    assert_eq!(found.node_of_cpu(3), Some(4));
    assert_eq!(found.node_of_cpu(4), None);
}

#[test]
fn memory_that_wraps_around_is_refused_alone() {
    let image = srat(
        3,
        &[
            memory_node(u64::MAX, 2, 0, ENABLED),
            memory_node(0, 0x1000, 1, ENABLED),
        ],
    );
    let found = image.tables().unwrap().srat().unwrap();
    assert_eq!(
        found.entries().next(),
        Some(Err(Error::Range {
            table: Signature(*b"SRAT"),
            offset: 48
        }))
    );
    assert_eq!(found.memory().count(), 1);
}

#[test]
fn buses_upside_down_are_refused_alone() {
    let mut body = vec![0; 8];
    for (first, last) in [(9, 8), (0, 255)] {
        body.extend(0xb000_0000_u64.to_le_bytes());
        body.extend([0, 0, first, last, 0, 0, 0, 0]);
    }
    body.extend([1, 2, 3]);
    let image = Image::build(0, &[table(b"MCFG", 1, &body)]);
    let found = image.tables().unwrap().mcfg().unwrap();
    let entries: Vec<_> = found.entries().collect();
    assert_eq!(entries.len(), 2);
    assert!(entries[0].is_err());
    assert_eq!(entries[1].unwrap().last_bus, 255);
}
