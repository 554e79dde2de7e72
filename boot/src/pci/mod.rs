//! Finding PCI devices, whatever they say of themselves.
//!
//! [`Functions`] walks the buses, [`bars`] sizes a function's address ranges, [`msi`] finds its
//! message-signalled interrupts. All go through [`ConfigRegionAccess`], so on the host the devices
//! are made up, and made hostile: bridges that lead back to where one came from, capability lists
//! that go round in circles, ranges that have no size or no address. None of that is followed for
//! ever, and each says what was wrong.
//!
//! # Alternatives
//!
//! The `pci_types` crate is what the addresses, headers and the MSI registers here are read and
//! written with. Two parts of it trust the device too far, and have a counterpart here:
//!
//! - `EndpointHeader::bar` shifts a 32-bit one by 32 if no bit of a range can be written: a panic in
//!   a debug build, a size of 1 in a release build. It also leaves the range decoded while its size
//!   is tried.
//! - `EndpointHeader::capabilities` goes on for ever if the list does. It is asked only after [`msi`]
//!   has seen the end of the list.

mod bar;
mod capability;
mod functions;

pub use bar::{BARS, BadBar, Bar, bars};
pub use capability::{BadList, msi};
pub use functions::Functions;
pub use pci_types::capability::{MsiCapability, MultipleMessageSupport, TriggerMode};
pub use pci_types::{
    CommandRegister, ConfigRegionAccess, EndpointHeader, HeaderType, PciAddress, PciHeader,
};

/// Reads a register.
fn read(access: &impl ConfigRegionAccess, address: PciAddress, offset: u16) -> u32 {
    // SAFETY: reading a register of the standard header changes nothing, of any function, present or
    // not.
    unsafe { access.read(address, offset) }
}
