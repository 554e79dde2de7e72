//! The firmware's tables: those of this machine, and damaged copies of them.

use alloc::vec::Vec;

use fastrand::Rng;
use twinframe_boot::acpi::{PhysicalMemory, Register, Tables, Width, Write};

use crate::firmware::{self, FirmwareMemory};
use crate::harness::{Outcome, kernel_tests};
use crate::settings::random;

/// How many damaged copies are looked at.
const COPIES: usize = 300;

/// A part of memory: a physical address, and the bytes there.
type Piece = (u64, Vec<u8>);

/// The tables, copied. Outside of them there is no memory.
struct Copy(Vec<Piece>);

impl PhysicalMemory for Copy {
    fn read(&self, phys: u64, bytes: usize) -> Option<&[u8]> {
        self.0.iter().find_map(|(start, piece)| {
            let offset = usize::try_from(phys.checked_sub(*start)?).ok()?;
            piece.get(offset..offset.checked_add(bytes)?)
        })
    }
}

impl Copy {
    /// Of this machine; the root pointer comes first.
    fn new(root: u64, tables: &Tables<'_, FirmwareMemory>) -> Self {
        let bytes = if tables.rsdp().revision < 2 { 20 } else { 36 };
        let pointer = FirmwareMemory.read(root, bytes).unwrap_or_default();
        let mut pieces = Vec::from([(root, pointer.to_vec())]);
        for table in [Ok(tables.root()), tables.dsdt()]
            .into_iter()
            .chain(tables.iter())
            .flatten()
        {
            pieces.push((table.phys(), table.bytes().to_vec()));
        }
        Self(pieces)
    }

    /// One piece with something wrong in it; its checksum may be right nonetheless.
    fn damage(&mut self, random: &mut Rng) {
        let which = random.usize(..self.0.len());
        let (phys, piece) = &mut self.0[which];
        let at = random.usize(..piece.len());
        match random.u8(..4) {
            0 => piece[at] ^= 1 << random.u8(..8),
            1 => piece[at] = random.u8(..),
            2 => piece.truncate(at.max(1)),
            _ => {
                let length = if random.bool() {
                    random.u32(..)
                } else {
                    random.u32(..100)
                };
                if let Some(field) = piece.get_mut(4..8) {
                    field.copy_from_slice(&length.to_le_bytes());
                }
            }
        }
        if random.u8(..8) == 0 {
            *phys = random.u64(..);
        }
        if random.bool() {
            // The root pointer has its checksum one byte earlier than tables have.
            let place = if which == 0 { 8 } else { 9 };
            let sum = piece.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
            if let Some(checksum) = piece.get_mut(place) {
                *checksum = checksum.wrapping_sub(sum);
            }
        }
    }
}

/// Asks everything that the kernel asks at its start; counts the CPUs.
fn ask<M: PhysicalMemory>(memory: &M, root: u64) -> usize {
    let Ok(tables) = Tables::find(memory, root) else {
        return 0;
    };
    for table in tables.iter().flatten() {
        assert_eq!(table.bytes().iter().fold(0u8, |a, b| a.wrapping_add(*b)), 0);
    }
    if let Ok(srat) = tables.srat() {
        assert!(srat.memory().all(|memory| memory.start <= memory.last));
        assert!(
            srat.cpus()
                .all(|cpu| srat.node_of_cpu(cpu.apic_id).is_some())
        );
    }
    let _ = (
        tables.power_off(),
        tables.mcfg().map(|mcfg| mcfg.entries().count()),
    );
    tables.madt().map_or(0, |madt| madt.cpus().count())
}

kernel_tests! { "acpi", Test:
    /// What the tables say is the same whenever they are asked.
    fn a_copy_says_the_same() on [smp1, smp4, pc, edu32] {
        let Some((root, tables)) = firmware::tables() else {
            return Outcome::Skip("no ACPI tables");
        };
        let copy = Copy::new(root, &tables);
        assert_eq!(ask(&copy, root), ask(&FirmwareMemory, root));
        assert!(ask(&copy, root) >= 1);
    }

    /// Nothing in a damaged table leads anywhere but to an error.
    fn damaged_copies_are_refused() on [smp1, smp4, pc, edu32] {
        let Some((root, tables)) = firmware::tables() else {
            return Outcome::Skip("no ACPI tables");
        };
        let mut random = random();
        for _ in 0..COPIES {
            let mut copy = Copy::new(root, &tables);
            for _ in 0..random.u8(1..4) {
                copy.damage(&mut random);
            }
            ask(&copy, root);
        }
    }

    /// A register that the firmware puts where nothing is mapped is left alone: the kernel is about to end then, and
    /// nobody would see what became of it.
    fn registers_out_of_reach_are_left_alone() on [smp1, mem6g, microvm] {
        for width in [Width::Byte, Width::Word, Width::Double] {
            for phys in [1 << 52, 1 << 63, u64::MAX - 3, u64::MAX - 2, u64::MAX] {
                for keep in [0, 1] {
                    firmware::perform(&Write { register: Register::Memory(phys, width), keep, value: 0 });
                }
            }
        }
    }
}
