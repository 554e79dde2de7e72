//! Base address registers: where a function's registers are, and how many (PCI Local Bus
//! Specification 3.0, section 6.2.5.1).

use core::fmt;

use pci_types::{CommandRegister, ConfigRegionAccess, HeaderType, PciAddress, PciHeader};

use super::read;

/// Base address registers of an ordinary function.
pub const BARS: usize = 6;

/// An address range of a function. Its size is a power of two, and its start a multiple of that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bar {
    /// I/O ports.
    Ports {
        /// The first.
        first: u32,
        /// How many.
        count: u64,
    },
    /// Memory.
    Memory {
        /// Physical address of the first byte.
        phys: u64,
        /// How many bytes.
        bytes: u64,
        /// Reading has no effects.
        prefetchable: bool,
    },
}

/// Why a base address register is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadBar {
    /// No bit of the address can be written, so the range has no size.
    NoSize,
    /// The bits that can be written are not consecutive: holds what was read back.
    Holes(u64),
    /// A kind of memory that does not exist.
    Kind,
    /// The upper half of the address would be in a seventh register.
    HalfMissing,
    /// The firmware gave the range no address: holds its size.
    NoAddress(u64),
    /// The address is not a multiple of the size.
    Misaligned {
        /// The address.
        address: u64,
        /// The size.
        bytes: u64,
    },
}

impl fmt::Display for BadBar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NoSize => f.write_str("a range of no size"),
            Self::Holes(mask) => write!(f, "a size with holes, {mask:#x}"),
            Self::Kind => f.write_str("an unknown kind of memory"),
            Self::HalfMissing => f.write_str("half of a 64-bit address"),
            Self::NoAddress(bytes) => write!(f, "{bytes:#x} bytes without an address"),
            Self::Misaligned { address, bytes } => {
                write!(f, "{bytes:#x} bytes at {address:#x}, which is misaligned")
            }
        }
    }
}

/// Sizes all base address registers of an ordinary function; those that are not implemented give
/// `None`, and so do the upper halves of others. A function of another header type has none here.
///
/// The function decodes no address meanwhile, so nothing may use it, and nothing else may access
/// its configuration space.
pub fn bars(
    access: &impl ConfigRegionAccess,
    address: PciAddress,
) -> [Option<Result<Bar, BadBar>>; BARS] {
    let mut found = [None; BARS];
    let mut header = PciHeader::new(address);
    if header.header_type(access) != HeaderType::Endpoint {
        return found;
    }
    let decoding = CommandRegister::IO_ENABLE | CommandRegister::MEMORY_ENABLE;
    let before = header.command(access);
    header.update_command(access, |command| command.difference(decoding));
    let mut slot = 0;
    while let Some(place) = found.get_mut(usize::from(slot)) {
        let low = Probe::new(access, address, slot);
        let wide = low.value & 0b111 == 0b100;
        let high =
            (wide && usize::from(slot) + 1 < BARS).then(|| Probe::new(access, address, slot + 1));
        *place = decode(low, high);
        slot += if wide { 2 } else { 1 };
    }
    header.update_command(access, |_| before);
    found
}

/// A register, and what it became when all its bits were set.
#[derive(Debug, Clone, Copy)]
struct Probe {
    value: u32,
    set: u32,
}

impl Probe {
    fn new(access: &impl ConfigRegionAccess, address: PciAddress, slot: u16) -> Self {
        let offset = 0x10 + slot * 4;
        let value = read(access, address, offset);
        let write = |value| {
            // SAFETY: a base address register of a function that decodes no address.
            unsafe { access.write(address, offset, value) };
        };
        write(u32::MAX);
        let set = read(access, address, offset);
        write(value);
        Self { value, set }
    }
}

fn decode(low: Probe, high: Option<Probe>) -> Option<Result<Bar, BadBar>> {
    if low.value == 0 && low.set == 0 {
        return None;
    }
    if low.value & 1 != 0 {
        let mask = match low.set & !0b11 {
            0 => 0,
            // The upper half of a port number may be wired to 0.
            written => u64::from(written) | 0xffff_0000,
        };
        let first = low.value & !0b11;
        return Some(range(first.into(), mask, 32).map(|count| Bar::Ports { first, count }));
    }
    let kind = low.value >> 1 & 0b11;
    let (address, mask, bits) = match (kind, high) {
        // Kind 1 is memory below 1 MiB, of older days.
        (0 | 1, _) => (u64::from(low.value & !0xf), u64::from(low.set & !0xf), 32),
        (2, Some(high)) => (
            u64::from(high.value) << 32 | u64::from(low.value & !0xf),
            u64::from(high.set) << 32 | u64::from(low.set & !0xf),
            64,
        ),
        (2, None) => return Some(Err(BadBar::HalfMissing)),
        _ => return Some(Err(BadBar::Kind)),
    };
    Some(range(address, mask, bits).map(|bytes| Bar::Memory {
        phys: address,
        bytes,
        prefetchable: low.value & 0b1000 != 0,
    }))
}

/// The size of the range at `address`, from the bits of the address that can be written.
fn range(address: u64, mask: u64, bits: u32) -> Result<u64, BadBar> {
    if mask == 0 {
        return Err(BadBar::NoSize);
    }
    let bytes = 1 << mask.trailing_zeros();
    let space = u64::MAX >> (64 - bits);
    if mask != space & !(bytes - 1) {
        return Err(BadBar::Holes(mask));
    }
    if address == 0 {
        return Err(BadBar::NoAddress(bytes));
    }
    if !address.is_multiple_of(bytes) {
        return Err(BadBar::Misaligned { address, bytes });
    }
    Ok(bytes)
}
