//! The devices on the PCI buses, and ranges that no device can have.

use twinframe_boot::memmap::Class;
use twinframe_boot::pci::Bar;

use crate::harness::{Outcome, kernel_tests};
use crate::memory;
use crate::pci::{self, NoRegisters, Registers};

fn range(phys: u64, bytes: u64) -> Bar {
    Bar::Memory {
        phys,
        bytes,
        prefetchable: false,
    }
}

kernel_tests! { "pci", Test:
    /// The host bridge is where it always is, and each function is found once.
    fn the_host_bridge_is_found() on [smp1, pc, mem6g, epyc, edu32] {
        let Some(first) = pci::functions().first() else {
            return Outcome::Skip("no PCI");
        };
        let at = first.address();
        assert_eq!((at.bus(), at.device(), at.function()), (0, 0, 0));
        assert_eq!(first.id().0, 0x8086, "QEMU's chipsets are Intel's");
        let addresses = || pci::functions().iter().map(pci::Function::address);
        assert!(addresses().is_sorted_by(|a, b| a < b));
    }

    /// A machine without PCI has no devices, and says so.
    fn without_pci_there_are_none() on [microvm] {
        if !pci::functions().is_empty() {
            return Outcome::Skip("there is PCI");
        }
    }

    /// Registers are not looked for in RAM, where nothing can answer, or in too small a range.
    fn impossible_ranges_are_refused() on [smp1, mem6g, pc, microvm] {
        let refused = |bar| Registers::new(bar, 4096).map(|_| ()).unwrap_err();
        let ports = Bar::Ports { first: 0xc000, count: 1 << 12 };
        assert_eq!(refused(ports), NoRegisters::Ports);
        assert_eq!(refused(range(0xfeb0_0000, 16)), NoRegisters::Small(16));
        for phys in [1 << 52, 1 << 60, 1 << 63] {
            assert_eq!(refused(range(phys, 1 << 20)), NoRegisters::OutOfReach(phys));
        }
        assert_eq!(refused(range(1 << 63, 1 << 63)), NoRegisters::OutOfReach(1 << 63));
        for region in memory::map().regions(Class::Usable) {
            for phys in [region.start(), region.last() & !4095] {
                assert_eq!(refused(range(phys, 4096)), NoRegisters::Ram(phys));
            }
        }
        // One that begins before RAM and reaches into it.
        assert_eq!(refused(range(1 << 20, 1 << 20)), NoRegisters::Ram(1 << 20));
    }
}
