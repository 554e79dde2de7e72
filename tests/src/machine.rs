//! The machines the kernel is tried on, each with a name.

use std::fmt;

use crate::command::Accelerator;

/// A chipset, as QEMU's `-M` knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Board {
    /// ICH9 with PCI Express.
    Q35,
    /// The older PIIX3.
    Pc,
    /// No PCI and here no ACPI either: nothing says where the tables are, because there are none.
    Microvm,
}

/// A size of memory, in MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mebibytes(pub u64);

impl fmt::Display for Mebibytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 != 0 && self.0.is_multiple_of(1024) {
            write!(f, "{}G", self.0 / 1024)
        } else {
            write!(f, "{}M", self.0)
        }
    }
}

/// A machine of the table.
#[derive(Debug, PartialEq, Eq)]
pub struct Machine {
    /// Its name, in `MACHINE=` and in front of the names of tests.
    pub name: &'static str,
    /// The chipset.
    pub board: Board,
    /// The memory, unless `MEM=` says otherwise.
    pub memory: Mebibytes,
    /// The number of CPUs, unless `SMP=` says otherwise.
    pub cpus: u32,
    /// Over how many NUMA nodes the memory and the CPUs are dealt out; 0: the firmware knows of none.
    pub nodes: u32,
    /// Whether its memory comes to be where it is written to, so that there may be more than the host has.
    /// Not together with nodes.
    pub is_sparse: bool,
    /// QEMU's `-cpu`, where its default is not the point.
    pub cpu_model: Option<&'static str>,
    /// A `-device` each, beside those that the runner itself needs.
    pub devices: &'static [&'static str],
    /// What executes it, unless `ACCEL=` says otherwise.
    pub accelerator: Accelerator,
    /// Whether instructions are counted, and at which power of two, unless `ICOUNT=` says otherwise.
    pub icount: Option<u8>,
    /// What it is there for.
    pub about: &'static str,
}

const fn machine(name: &'static str, board: Board, memory: u64, about: &'static str) -> Machine {
    Machine {
        name,
        board,
        memory: Mebibytes(memory),
        cpus: 1,
        nodes: 0,
        is_sparse: false,
        cpu_model: None,
        devices: &[],
        accelerator: Accelerator::Tcg,
        icount: None,
        about,
    }
}

/// All machines; the first is the default.
pub static MACHINES: &[Machine] = &[
    Machine {
        devices: &["edu"],
        ..machine(
            "smp1",
            Board::Q35,
            256,
            "one CPU, an ordinary amount of memory",
        )
    },
    machine(
        "mem64m",
        Board::Q35,
        64,
        "little memory: what bookkeeping costs shows",
    ),
    machine("mem128m", Board::Q35, 128, "little memory"),
    Machine {
        cpus: 2,
        ..machine("smp2", Board::Q35, 256, "two CPUs")
    },
    Machine {
        cpus: 4,
        ..machine("smp4", Board::Q35, 256, "four CPUs")
    },
    Machine {
        cpus: 8,
        ..machine("smp8", Board::Q35, 512, "eight CPUs")
    },
    Machine {
        cpus: 32,
        ..machine("smp32", Board::Q35, 512, "more CPUs than this host has")
    },
    Machine {
        cpus: 4,
        accelerator: Accelerator::SingleTcg,
        ..machine("smp4single", Board::Q35, 256, "four CPUs that take turns")
    },
    Machine {
        icount: Some(0),
        ..machine(
            "icount",
            Board::Q35,
            256,
            "one CPU that takes a nanosecond for an instruction",
        )
    },
    Machine {
        cpus: 4,
        icount: Some(3),
        ..machine(
            "smp4icount",
            Board::Q35,
            256,
            "four CPUs in an order that repeats",
        )
    },
    machine(
        "mem6g",
        Board::Q35,
        6 << 10,
        "memory on both sides of the hole below 4 GiB",
    ),
    Machine {
        is_sparse: true,
        // An address for each byte of it takes more bits than QEMU's usual CPU has.
        cpu_model: Some("max,phys-bits=46"),
        ..machine(
            "mem4t",
            Board::Q35,
            4 << 20,
            "more memory than its host: what nobody writes to is not there",
        )
    },
    Machine {
        cpus: 4,
        nodes: 2,
        ..machine(
            "numa",
            Board::Q35,
            6 << 10,
            "two nodes, each with memory above 4 GiB",
        )
    },
    Machine {
        cpus: 6,
        nodes: 4,
        ..machine(
            "numa4",
            Board::Pc,
            256,
            "four nodes that meet inside one zone",
        )
    },
    machine("pc64m", Board::Pc, 64, "little memory, older chipset"),
    machine("pc", Board::Pc, 128, "the older chipset"),
    machine(
        "pc6g",
        Board::Pc,
        6 << 10,
        "the older chipset's hole below 4 GiB",
    ),
    machine(
        "microvm",
        Board::Microvm,
        256,
        "no PCI, no ACPI, a memory map that ends with a zero-length entry",
    ),
    Machine {
        cpu_model: Some("max"),
        ..machine(
            "cpumax",
            Board::Q35,
            256,
            "every feature of a CPU that QEMU can emulate",
        )
    },
    Machine {
        cpu_model: Some("EPYC"),
        ..machine(
            "epyc",
            Board::Q35,
            6 << 10,
            "a reserved range that ends at 1 TiB",
        )
    },
    Machine {
        devices: &["edu"],
        ..machine(
            "edu28",
            Board::Q35,
            1 << 10,
            "a device that reaches a quarter of the memory",
        )
    },
    Machine {
        cpus: 4,
        devices: &["edu,dma_mask=0xffffffff"],
        ..machine(
            "edu32",
            Board::Q35,
            6 << 10,
            "a device that reaches what is below 4 GiB",
        )
    },
];

impl Machine {
    /// The machine that is used when none is asked for.
    #[must_use]
    pub fn default_machine() -> &'static Self {
        &MACHINES[0]
    }

    /// Whether the order of events is what it is there for: then only the translator can be it.
    #[must_use]
    pub fn is_scheduled(&self) -> bool {
        self.icount.is_some() || self.accelerator != Accelerator::Tcg
    }

    /// The machine with exactly this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        MACHINES.iter().find(|machine| machine.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_short() {
        for (index, machine) in MACHINES.iter().enumerate() {
            assert!(
                MACHINES[..index]
                    .iter()
                    .all(|other| other.name != machine.name)
            );
            assert!(
                machine
                    .name
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
            );
        }
        assert!(
            MACHINES
                .iter()
                .all(|machine| !machine.is_sparse || machine.nodes == 0)
        );
        assert_eq!(Machine::named("smp1"), Some(Machine::default_machine()));
        assert_eq!(Machine::named("smp"), None);
    }

    #[test]
    fn sizes_are_written_as_qemu_reads_them() {
        assert_eq!(Mebibytes(64).to_string(), "64M");
        assert_eq!(Mebibytes(6 << 10).to_string(), "6G");
        assert_eq!(Mebibytes(1536).to_string(), "1536M");
        assert_eq!(Mebibytes(0).to_string(), "0M");
    }
}
