//! Configuration space through a pair of ports (PCI Local Bus Specification 3.0, section
//! 3.2.2.3.2): one selects a register, the other is it.

use spin::mutex::SpinMutex;
use twinframe_boot::pci::{ConfigRegionAccess, PciAddress};
use x86_64::instructions::interrupts::without_interrupts;
use x86_64::instructions::port::Port;

/// Set in what is written to the selecting port, or no register is selected.
const ENABLE: u32 = 1 << 31;

struct Pair {
    select: Port<u32>,
    data: Port<u32>,
}

/// Selecting and accessing belong together.
static PAIR: SpinMutex<Pair> = SpinMutex::new(Pair {
    select: Port::new(0xcf8),
    data: Port::new(0xcfc),
});

/// Configuration space of segment 0, the first 256 bytes of each function.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ports;

/// Runs `access` on the data port with the pair to itself.
fn with<R>(select: u32, access: impl FnOnce(&mut Pair) -> R) -> R {
    without_interrupts(|| {
        let mut pair = PAIR.lock();
        // SAFETY: selecting changes nothing by itself, and the lock keeps others from it.
        unsafe { pair.select.write(select) };
        access(&mut pair)
    })
}

/// What selects a register; `None` for those that these ports cannot reach.
fn select(address: PciAddress, offset: u16) -> Option<u32> {
    if address.segment() != 0 || offset > 0xfc {
        return None;
    }
    let place = u32::from(address.bus()) << 16
        | u32::from(address.device()) << 11
        | u32::from(address.function()) << 8;
    Some(ENABLE | place | u32::from(offset & 0xfc))
}

/// Whether the machine has these ports: what selects can be read back.
pub(super) fn present() -> bool {
    with(ENABLE, |pair| {
        // SAFETY: reading what was selected changes nothing.
        unsafe { pair.select.read() == ENABLE }
    })
}

impl ConfigRegionAccess for Ports {
    unsafe fn read(&self, address: PciAddress, offset: u16) -> u32 {
        let Some(select) = select(address, offset) else {
            return u32::MAX;
        };
        // SAFETY: the caller promises that this register may be read.
        with(select, |pair| unsafe { pair.data.read() })
    }

    unsafe fn write(&self, address: PciAddress, offset: u16, value: u32) {
        let Some(select) = select(address, offset) else {
            return;
        };
        // SAFETY: the caller promises that this register may be written.
        with(select, |pair| unsafe { pair.data.write(value) });
    }
}
