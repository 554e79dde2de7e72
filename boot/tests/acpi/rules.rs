//! Whatever the bytes are: no panic, no endless loop, and what is used was verified.

use twinframe_boot::acpi::{PhysicalMemory, Tables};

/// Asks every question there is, and checks what must hold for any answer.
pub(crate) fn ask<M: PhysicalMemory + ?Sized>(memory: &M, rsdp: u64) {
    let tables = match Tables::find(memory, rsdp) {
        Ok(tables) => tables,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    for table in tables.iter() {
        match table {
            Ok(table) => {
                let sum = table.bytes().iter().fold(0u8, |a, b| a.wrapping_add(*b));
                assert_eq!(sum, 0);
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    if let Ok(madt) = tables.madt() {
        // Every structure takes two bytes at least.
        assert!(madt.entries().count() <= tables.table(madt_name()).unwrap().bytes().len() / 2);
        let mut ids: Vec<_> = madt.cpus().map(|cpu| cpu.apic_id).collect();
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count, "an APIC id was given twice");
        let _ = madt.local_apics();
    }
    if let Ok(srat) = tables.srat() {
        for memory in srat.memory() {
            assert!(memory.start <= memory.last);
            assert!(srat.node_of_address(memory.last).is_some());
        }
        for cpu in srat.cpus() {
            assert!(srat.node_of_cpu(cpu.apic_id).is_some());
        }
    }
    if let Ok(mcfg) = tables.mcfg() {
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

fn madt_name() -> twinframe_boot::acpi::Signature {
    twinframe_boot::acpi::Madt::NAME
}
