//! The list of a function's capabilities (PCI Local Bus Specification 3.0, section 6.7).

use core::fmt;

use pci_types::capability::{MsiCapability, PciCapability};
use pci_types::{ConfigRegionAccess, EndpointHeader, PciAddress, PciHeader};

use super::read;

/// Why a list of capabilities cannot be walked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadList {
    /// A pointer leads into the standard header or between two registers.
    Pointer(u8),
    /// A pointer leads back.
    Circle(u8),
    /// The registers of what is there would lie outside configuration space.
    Outside(u8),
}

impl fmt::Display for BadList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Pointer(to) => write!(f, "a list of capabilities that leads to {to:#x}"),
            Self::Circle(to) => write!(f, "a list of capabilities that returns to {to:#x}"),
            Self::Outside(at) => write!(f, "a capability at {at:#x}, which has no room there"),
        }
    }
}

/// A function's message-signalled interrupts, if it has them.
///
/// # Errors
///
/// The list of its capabilities is broken.
pub fn msi(
    access: &impl ConfigRegionAccess,
    address: PciAddress,
) -> Result<Option<MsiCapability>, BadList> {
    let Some(endpoint) = EndpointHeader::from_header(PciHeader::new(address), access) else {
        return Ok(None);
    };
    check(access, address, endpoint.capability_pointer(access))?;
    let found = endpoint
        .capabilities(access)
        .find_map(|capability| match capability {
            PciCapability::Msi(msi) => Some(msi),
            _ => None,
        });
    Ok(found)
}

/// Of the message-signalled interrupts: the capability's number, the flag in the first register that
/// addresses have 64 bits, and the last register that is written, without and with that.
const MSI: u8 = 5;
const WIDE: u32 = 1 << 23;
const LAST: [u8; 2] = [0x08, 0x0c];

/// Walks the list to its end.
fn check(access: &impl ConfigRegionAccess, address: PciAddress, first: u16) -> Result<(), BadList> {
    let [mut at, _] = first.to_le_bytes();
    // One bit for each of the 64 registers.
    let mut seen = 0u64;
    while at != 0 {
        if at < 0x40 || !at.is_multiple_of(4) {
            return Err(BadList::Pointer(at));
        }
        let bit = 1 << (at / 4);
        if seen & bit != 0 {
            return Err(BadList::Circle(at));
        }
        seen |= bit;
        let first = read(access, address, at.into());
        let [id, next, ..] = first.to_le_bytes();
        let last = LAST[usize::from(first & WIDE != 0)];
        if id == MSI && at.checked_add(last).is_none() {
            return Err(BadList::Outside(at));
        }
        at = next;
    }
    Ok(())
}
