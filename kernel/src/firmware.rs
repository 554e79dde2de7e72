//! What the firmware's tables say of this machine: its CPUs, and how it is switched off.

use alloc::vec::Vec;
use core::slice;

use bootloader_api::info::{MemoryRegion, MemoryRegionKind};
use spin::Once;
use twinframe_boot::acpi::{
    Error, PhysicalMemory, PowerOff, Register, Srat, Standing, Tables, Width, Write,
};
use x86_64::instructions::port::Port;

use crate::arch::translate;
use crate::memory;

static POWER_OFF: Once<Option<PowerOff>> = Once::new();
static ROOT: Once<u64> = Once::new();

/// Memory as the firmware left it, through the direct map: everything that the map lists and that is
/// not the allocator's.
pub(crate) struct FirmwareMemory;

impl PhysicalMemory for FirmwareMemory {
    fn read(&self, phys: u64, bytes: usize) -> Option<&[u8]> {
        const REAL_MODE_END: u64 = 1 << 20;
        let end = phys.checked_add(bytes as u64)?;
        let holds = |entry: &MemoryRegion| {
            entry.kind != MemoryRegionKind::Usable && entry.start <= phys && end <= entry.end
        };
        let low = phys >= 4096 && end <= REAL_MODE_END;
        let listed = low || memory::map().firmware().iter().any(holds);
        if !listed || end > translate::direct_map_end() {
            return None;
        }
        let start = translate::phys_to_virt(phys) as *const u8;
        // SAFETY: inside the direct map, in memory that nobody writes to.
        Some(unsafe { slice::from_raw_parts(start, bytes) })
    }
}

/// Reads the tables; returns the APIC ids of all CPUs that may be started. With no tables, or bad
/// ones, that is none, and the log says so.
pub(crate) fn read(root: Option<u64>) -> Vec<u32> {
    let Some(root) = root else {
        log::info!("no ACPI: one CPU");
        return Vec::new();
    };
    ROOT.call_once(|| root);
    let tables = match Tables::find(&FirmwareMemory, root) {
        Ok(tables) => tables,
        Err(error) => {
            log::warn!("ACPI tables refused, so one CPU: {error}");
            return Vec::new();
        }
    };
    if let Some(error) = tables.refused() {
        log::warn!("ACPI: {error}; the older root table is used");
    }
    for error in tables.iter().filter_map(Result::err) {
        log::warn!("ACPI table left out: {error}");
    }
    POWER_OFF.call_once(|| note(tables.power_off()));
    cpus(&tables)
}

/// The table of NUMA nodes; `None` if there is none, or it cannot be read. Needs no heap.
pub(crate) fn affinities(root: Option<u64>) -> Option<Srat<'static>> {
    let tables = Tables::find(&FirmwareMemory, root?).ok()?;
    note(tables.srat())
}

/// Where the root pointer is, and the tables it leads to, as long as they are intact: the heap may
/// have been given the memory that they are in.
pub(crate) fn tables() -> Option<(u64, Tables<'static, FirmwareMemory>)> {
    let root = *ROOT.get()?;
    Some((root, Tables::find(&FirmwareMemory, root).ok()?))
}

/// A table that is not there is worth no line in the log; one that is bad is.
fn note<T>(result: Result<T, Error>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(Error::Missing(_)) => None,
        Err(error) => {
            log::warn!("ACPI: {error}");
            None
        }
    }
}

fn cpus(tables: &Tables<'_, FirmwareMemory>) -> Vec<u32> {
    let Some(madt) = note(tables.madt()) else {
        log::info!("ACPI lists no CPUs: one CPU");
        return Vec::new();
    };
    let mut ids = Vec::new();
    for entry in madt.processors() {
        match entry {
            Ok((processor, Standing::Usable)) => ids.push(processor.apic_id),
            Ok((processor, standing @ (Standing::Duplicate | Standing::NoId))) => {
                log::warn!("ACPI: CPU {:#x} ignored: {standing:?}", processor.apic_id);
            }
            Ok(_) => {}
            Err(error) => log::warn!("ACPI: the list of CPUs ends early: {error}"),
        }
    }
    ids
}

/// Switches the machine off, if the firmware has said how. Returns if it stays on.
pub(crate) fn power_off() {
    let Some(Some(power_off)) = POWER_OFF.get() else {
        return;
    };
    for step in power_off
        .enable
        .iter()
        .chain(power_off.writes.iter().flatten())
    {
        perform(step);
    }
}

/// The address of a register in the direct map; `None` if it lies beyond, or across words.
fn reach(phys: u64, width: Width) -> Option<usize> {
    let bytes = match width {
        Width::Byte => 1,
        Width::Word => 2,
        Width::Double => 4,
    };
    let is_inside = phys
        .checked_add(bytes)
        .is_some_and(|end| end <= translate::direct_map_end());
    (is_inside && phys.is_multiple_of(bytes)).then(|| translate::phys_to_virt(phys))
}

/// Writes to a register, unless it is out of reach.
pub(crate) fn perform(step: &Write) {
    let old = if step.keep == 0 {
        0
    } else {
        read_register(step.register)
    };
    let value = (old & step.keep) | step.value;
    let [low, high, ..] = value.to_le_bytes();
    match step.register {
        Register::Port(port, width) => match width {
            // SAFETY: the firmware names this port for this purpose.
            Width::Byte => unsafe { Port::new(port).write(low) },
            // SAFETY: as above.
            Width::Word => unsafe { Port::new(port).write(u16::from_le_bytes([low, high])) },
            // SAFETY: as above.
            Width::Double => unsafe { Port::new(port).write(value) },
        },
        Register::Memory(phys, width) => {
            let Some(address) = reach(phys, width) else {
                return;
            };
            match width {
                // SAFETY: a device register in the direct map, named by the firmware for this.
                Width::Byte => unsafe { (address as *mut u8).write_volatile(low) },
                // SAFETY: as above.
                Width::Word => unsafe {
                    (address as *mut u16).write_volatile(u16::from_le_bytes([low, high]));
                },
                // SAFETY: as above.
                Width::Double => unsafe { (address as *mut u32).write_volatile(value) },
            }
        }
    }
}

fn read_register(register: Register) -> u32 {
    match register {
        // SAFETY: the firmware names this port for this purpose.
        Register::Port(port, Width::Byte) => unsafe { Port::<u8>::new(port).read() }.into(),
        // SAFETY: as above.
        Register::Port(port, Width::Word) => unsafe { Port::<u16>::new(port).read() }.into(),
        // SAFETY: as above.
        Register::Port(port, Width::Double) => unsafe { Port::new(port).read() },
        Register::Memory(phys, width) => {
            let Some(address) = reach(phys, width) else {
                return 0;
            };
            match width {
                // SAFETY: a device register in the direct map, named by the firmware for this.
                Width::Byte => unsafe { (address as *const u8).read_volatile() }.into(),
                // SAFETY: as above.
                Width::Word => unsafe { (address as *const u16).read_volatile() }.into(),
                // SAFETY: as above.
                Width::Double => unsafe { (address as *const u32).read_volatile() },
            }
        }
    }
}
