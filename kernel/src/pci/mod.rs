//! The PCI devices of this machine. How they are found is in `twinframe_boot::pci`; this is where
//! they are.

mod ports;
mod registers;

use alloc::vec::Vec;

use spin::Once;
use twinframe_boot::pci::{
    BARS, BadBar, BadList, Bar, CommandRegister, Functions, MsiCapability, MultipleMessageSupport,
    PciAddress, PciHeader, TriggerMode, bars, msi,
};

use crate::arch::percpu;
use crate::console::println;
use ports::Ports;
pub(crate) use registers::{NoRegisters, Registers};

/// A function that answered.
#[derive(Debug)]
pub(crate) struct Function {
    address: PciAddress,
    vendor: u16,
    device: u16,
    bars: [Option<Result<Bar, BadBar>>; BARS],
    msi: Result<Option<MsiCapability>, BadList>,
}

static FUNCTIONS: Once<Vec<Function>> = Once::new();

/// Finds the devices, and lists them in the log. Called before other CPUs run: to measure a range, its
/// device is taken out of the address space and put back, and when an address space changes, QEMU (7.2) may lose what another
/// CPU writes to *its* registers. If that is the end of an interrupt, its local APIC delivers no more.
pub(crate) fn init() {
    assert_eq!(percpu::online(), 1, "CPUs that ranges are measured beside");
    if !ports::present() {
        println!("PCI: none");
        FUNCTIONS.call_once(Vec::new);
        return;
    }
    let functions = FUNCTIONS.call_once(|| Functions::new(Ports).map(Function::new).collect());
    for function in functions {
        function.show();
    }
}

/// All functions; none before [`init`].
pub(crate) fn functions() -> &'static [Function] {
    FUNCTIONS.get().map_or(&[], Vec::as_slice)
}

impl Function {
    fn new(address: PciAddress) -> Self {
        let (vendor, device) = PciHeader::new(address).id(Ports);
        Self {
            address,
            vendor,
            device,
            bars: bars(&Ports, address),
            msi: msi(&Ports, address),
        }
    }

    fn show(&self) {
        let Self {
            address,
            vendor,
            device,
            ..
        } = self;
        let (_, class, subclass, _) = PciHeader::new(*address).revision_and_class(Ports);
        println!("PCI {address}: {vendor:04x}:{device:04x}, class {class:02x}.{subclass:02x}");
        for (slot, bar) in self.bars.iter().enumerate() {
            match bar {
                Some(Ok(Bar::Memory { phys, bytes, .. })) => {
                    println!("  BAR {slot}: {bytes:#x} bytes at {phys:#x}");
                }
                Some(Ok(Bar::Ports { first, count })) => {
                    println!("  BAR {slot}: {count} ports at {first:#x}");
                }
                Some(Err(bad)) => println!("  BAR {slot}: refused, {bad}"),
                None => {}
            }
        }
        if let Err(bad) = self.msi {
            println!("  no message-signalled interrupts, {bad}");
        }
    }

    /// Where it is.
    pub(crate) fn address(&self) -> PciAddress {
        self.address
    }

    /// Its vendor and device numbers.
    pub(crate) fn id(&self) -> (u16, u16) {
        (self.vendor, self.device)
    }

    /// The registers in the range of a base address register, of which the caller uses the first
    /// `bytes`. They answer once the function is [`enable`](Self::enable)d.
    pub(crate) fn registers(&self, slot: usize, bytes: u64) -> Result<Registers, NoRegisters> {
        match self.bars.get(slot).copied().flatten() {
            Some(Ok(bar)) => Registers::new(bar, bytes),
            Some(Err(bad)) => Err(NoRegisters::Bad(bad)),
            None => Err(NoRegisters::Absent),
        }
    }

    /// Lets it answer at its addresses and access memory. That changes address spaces: so it is for the time before other CPUs
    /// run, as [`init`] is.
    pub(crate) fn enable(&self) {
        PciHeader::new(self.address).update_command(Ports, |command| {
            command | CommandRegister::MEMORY_ENABLE | CommandRegister::BUS_MASTER_ENABLE
        });
    }

    /// Has its interrupts, as messages, arrive as `vector` at the CPU with this APIC id. False if it
    /// cannot send messages, or not to that CPU.
    pub(crate) fn interrupt(&self, apic_id: u32, vector: u8) -> bool {
        // Where messages go to a local APIC, and the bits of an id that fit into one (Intel SDM
        // volume 3, section 13.11.1).
        const LOCAL_APICS: u64 = 0xfee0_0000;
        let (Ok(Some(msi)), Ok(id)) = (self.msi, u8::try_from(apic_id)) else {
            return false;
        };
        msi.set_enabled(false, Ports);
        let target = LOCAL_APICS | u64::from(id) << 12;
        msi.set_message_info_lapic(target, vector, TriggerMode::Edge, Ports);
        msi.set_multiple_message_enable(MultipleMessageSupport::Int1, Ports);
        msi.set_enabled(true, Ports);
        true
    }
}
