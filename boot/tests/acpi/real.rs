//! Tables as machines really have them.
//!
//! The files in `boot/fixtures/acpi` were cut out of the memory of virtual machines (QEMU 7.2, saved
//! with `pmemsave` after the firmware had run); [`Image::load`] says what is in them.

use twinframe_boot::acpi::{
    Affinity, Error, IoApic, Register, Signature, Standing, Timer, Width, Write,
};

use crate::image::Image;

/// SeaBIOS, no NUMA, one CPU.
pub(crate) const Q35: &[u8] = include_bytes!("../../fixtures/acpi/q35.tables");
/// The same with 32 CPUs.
pub(crate) const Q35_SMP32: &[u8] = include_bytes!("../../fixtures/acpi/q35-smp32.tables");
/// The same with four CPUs and 256 MiB on two nodes, and room to plug in more.
pub(crate) const Q35_NUMA: &[u8] = include_bytes!("../../fixtures/acpi/q35-numa.tables");
/// UEFI: a root pointer of revision 2 at an odd address, an XSDT; two CPUs.
pub(crate) const Q35_OVMF: &[u8] = include_bytes!("../../fixtures/acpi/q35-ovmf.tables");
/// The older chipset: the FADT of ACPI 1.0.
pub(crate) const PC: &[u8] = include_bytes!("../../fixtures/acpi/pc.tables");
/// A hardware-reduced machine with an XSDT.
pub(crate) const MICROVM: &[u8] = include_bytes!("../../fixtures/acpi/microvm.tables");

pub(crate) const ALL: [&[u8]; 6] = [Q35, Q35_SMP32, Q35_NUMA, Q35_OVMF, PC, MICROVM];

fn cpus(file: &[u8]) -> Vec<u32> {
    let image = Image::load(file);
    let madt = image.tables().unwrap().madt().unwrap();
    assert!(madt.entries().all(|entry| entry.is_ok()));
    madt.cpus().map(|cpu| cpu.apic_id).collect()
}

#[test]
fn every_table_is_intact() {
    for file in ALL {
        let image = Image::load(file);
        let tables = image.tables().unwrap();
        assert_eq!(tables.refused(), None);
        assert!(tables.iter().count() >= 2);
        for table in tables.iter() {
            table.unwrap();
        }
        tables.dsdt().unwrap();
    }
}

#[test]
fn root_pointers_of_both_revisions() {
    let revision = |file| Image::load(file).tables().unwrap().rsdp().revision;
    assert_eq!(revision(Q35), 0);
    assert_eq!(revision(PC), 0);
    assert_eq!(revision(MICROVM), 2);
    assert_eq!(revision(Q35_OVMF), 2);
    let image = Image::load(Q35_OVMF);
    let root = image.tables().unwrap().root();
    assert_eq!(root.signature(), Signature(*b"XSDT"));
}

#[test]
fn cpus_are_listed() {
    assert_eq!(cpus(Q35), [0]);
    assert_eq!(cpus(PC), [0]);
    assert_eq!(cpus(MICROVM), [0]);
    assert_eq!(cpus(Q35_OVMF), [0, 1]);
    assert_eq!(cpus(Q35_SMP32), Vec::from_iter(0..32));
    let image = Image::load(Q35_SMP32);
    let madt = image.tables().unwrap().madt().unwrap();
    assert_eq!(madt.local_apics(), 0xfee0_0000);
    assert!(madt.has_8259());
    assert!(
        madt.processors()
            .all(|found| matches!(found, Ok((_, Standing::Usable))))
    );
}

#[test]
fn interrupt_controllers_are_listed() {
    use twinframe_boot::acpi::MadtEntry;
    let image = Image::load(Q35);
    let madt = image.tables().unwrap().madt().unwrap();
    let io_apics: Vec<_> = madt
        .entries()
        .filter_map(|entry| match entry {
            Ok(MadtEntry::IoApic(io_apic)) => Some(io_apic),
            _ => None,
        })
        .collect();
    assert_eq!(
        io_apics,
        [IoApic {
            id: 0,
            phys: 0xfec0_0000,
            first: 0
        }]
    );
    // The timer, interrupt 0, arrives at input 2 on every PC.
    assert!(madt.entries().any(|entry| matches!(
        entry,
        Ok(MadtEntry::InterruptOverride(wire)) if wire.isa == 0 && wire.global == 2
    )));
}

#[test]
fn nodes_are_listed() {
    let image = Image::load(Q35_NUMA);
    let srat = image.tables().unwrap().srat().unwrap();
    assert!(srat.entries().all(|entry| entry.is_ok()));
    let nodes: Vec<_> = (0..5).map(|id| srat.node_of_cpu(id)).collect();
    assert_eq!(nodes, [Some(0), Some(0), Some(1), Some(1), None]);
    assert_eq!(srat.node_of_address(0), Some(0));
    assert_eq!(srat.node_of_address((128 << 20) - 1), Some(0));
    assert_eq!(srat.node_of_address(128 << 20), Some(1));
    assert_eq!(srat.node_of_address((256 << 20) - 1), Some(1));
    assert_eq!(srat.node_of_address(256 << 20), None);
    // The room for plugging is on the last node.
    let plug: Vec<_> = srat
        .memory()
        .filter(|memory| memory.hot_pluggable)
        .collect();
    assert_eq!(plug.len(), 1);
    assert!(plug[0].start >= 1 << 32 && plug[0].node == 1);
    assert!(srat.entries().any(|entry| entry == Ok(Affinity::Unused(1))));
}

#[test]
fn no_nodes_without_numa() {
    let image = Image::load(Q35);
    assert_eq!(
        image.tables().unwrap().srat().unwrap_err(),
        Error::Missing(Signature(*b"SRAT"))
    );
}

#[test]
fn configuration_space_is_found() {
    let image = Image::load(Q35);
    let mcfg = image.tables().unwrap().mcfg().unwrap();
    let spaces: Vec<_> = mcfg.entries().map(Result::unwrap).collect();
    assert_eq!(spaces.len(), 1);
    assert_eq!((spaces[0].phys, spaces[0].segment), (0xb000_0000, 0));
    assert_eq!((spaces[0].first_bus, spaces[0].last_bus), (0, 255));
    assert!(Image::load(PC).tables().unwrap().mcfg().is_err());
}

#[test]
fn the_timer_is_found() {
    let timer = |file| Image::load(file).tables().unwrap().fadt().unwrap().timer;
    let port = |port| {
        Some(Timer {
            register: Register::Port(port, Width::Double),
            mask: 0xff_ffff,
        })
    };
    assert_eq!(timer(Q35), port(0x608));
    assert_eq!(timer(PC), port(0x608));
    assert_eq!(timer(MICROVM), None);
}

#[test]
fn every_machine_can_be_switched_off() {
    let power_off = |file| Image::load(file).tables().unwrap().power_off().unwrap();
    for file in [Q35, Q35_SMP32, Q35_NUMA, Q35_OVMF, PC] {
        let off = power_off(file);
        let [Some(write), None] = off.writes else {
            panic!("{off:?}");
        };
        assert_eq!(write.register, Register::Port(0x604, Width::Word));
        assert_eq!((write.value, write.keep), (0x2000, 0xc3ff));
        assert_eq!(
            off.enable.unwrap().register,
            Register::Port(0xb2, Width::Byte)
        );
    }
    let off = power_off(MICROVM);
    assert_eq!(off.enable, None);
    assert_eq!(
        off.writes,
        [
            Some(Write {
                register: Register::Memory(0xfea0_0200, Width::Byte),
                keep: 0,
                value: 5 << 2 | 1 << 5,
            }),
            None
        ]
    );
}

#[test]
fn resets_are_found() {
    let reset = |file| Image::load(file).tables().unwrap().fadt().unwrap().reset;
    let write = |register, value| {
        Some(Write {
            register,
            keep: 0,
            value,
        })
    };
    assert_eq!(reset(Q35), write(Register::Port(0xcf9, Width::Byte), 0xf));
    assert_eq!(reset(PC), None);
    assert_eq!(
        reset(MICROVM),
        write(Register::Memory(0xfea0_0202, Width::Byte), 0x42)
    );
}
