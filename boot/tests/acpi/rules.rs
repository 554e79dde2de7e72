//! Whatever the bytes are: no panic, no endless loop, and what is used was verified.

use bootloader_api::info::{MemoryRegion, MemoryRegionKind};
use twinframe_boot::acpi::{
    LONGEST_TABLE, MOST_CPUS, MOST_TABLES, Madt, Mcfg, PhysicalMemory, Srat, Tables,
};
use twinframe_boot::memmap::{Class, normalise};
use twinframe_boot::nodes::{MAX_NODES, MAX_RANGES, NodeMap};

/// Asks every question there is, and checks what must hold for any answer.
pub(crate) fn ask<M: PhysicalMemory + ?Sized>(memory: &M, rsdp: u64) {
    let tables = match Tables::find(memory, rsdp) {
        Ok(tables) => tables,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    assert!(tables.iter().count() <= MOST_TABLES + 1);
    for table in tables.iter() {
        match table {
            Ok(table) => {
                let sum = table.bytes().iter().fold(0u8, |a, b| a.wrapping_add(*b));
                assert_eq!(sum, 0);
                assert!((36..=LONGEST_TABLE).contains(&table.bytes().len()));
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    let length = |name| tables.table(name).map_or(0, |table| table.bytes().len());
    if let Ok(madt) = tables.madt() {
        // Every structure takes two bytes at least.
        assert!(madt.entries().count() <= length(Madt::NAME) / 2);
        let mut ids: Vec<_> = madt.cpus().map(|cpu| cpu.apic_id).collect();
        let count = ids.len();
        assert!(count <= MOST_CPUS);
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count, "an APIC id was given twice");
        assert!(!ids.contains(&u32::MAX), "the id of all CPUs");
        let _ = madt.local_apics();
    }
    if let Ok(srat) = tables.srat() {
        assert!(srat.entries().count() <= length(Srat::NAME) / 2);
        ask_nodes(&srat);
    }
    if let Ok(mcfg) = tables.mcfg() {
        assert!(mcfg.entries().count() <= length(Mcfg::NAME) / 16);
        for space in mcfg.entries().flatten() {
            assert!(space.first_bus <= space.last_bus);
        }
    }
    if let Ok(off) = tables.power_off() {
        for write in off.writes.into_iter().flatten() {
            assert_eq!(write.keep & write.value, 0);
        }
    }
}

/// Every CPU and every address has one node, and a region falls into the nodes' parts without a rest.
fn ask_nodes(srat: &Srat<'_>) {
    for memory in srat.memory() {
        assert!(memory.start <= memory.last);
        assert!(srat.node_of_address(memory.last).is_some());
    }
    for cpu in srat.cpus() {
        assert!(srat.node_of_cpu(cpu.apic_id).is_some());
    }
    let mut nodes = NodeMap::ONE_NODE;
    nodes.read(srat);
    assert!((1..=MAX_NODES).contains(&nodes.count()));
    for cpu in srat.cpus() {
        assert!(nodes.of_cpu(cpu.apic_id) < nodes.count());
    }
    let mut everything = [MemoryRegion {
        start: 1,
        end: 0,
        kind: MemoryRegionKind::Usable,
    }];
    let map = normalise(&mut everything, &mut []);
    let whole = map.regions(Class::Usable).next().expect("one region");
    let (mut at, mut before, mut parts) = (whole.first_page(), None, 0);
    for (part, node) in nodes.split(whole) {
        assert_eq!(part.first_page(), at, "no gap, no overlap");
        assert!(node < nodes.count());
        assert_ne!(Some(node), before, "adjacent parts differ");
        assert_eq!(nodes.of_address(part.start()), node);
        at += part.pages();
        before = Some(node);
        parts += 1;
    }
    assert_eq!(at, whole.first_page() + whole.pages());
    assert!(parts <= 2 * MAX_RANGES + 1);
}
