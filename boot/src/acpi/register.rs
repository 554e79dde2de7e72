//! Hardware registers, as tables name them (ACPI 6.5, section 5.2.3.2).

use super::fields::{u8_at, u64_at};

/// How much one access moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// 8 bits.
    Byte,
    /// 16 bits.
    Word,
    /// 32 bits.
    Double,
}

/// A register of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Register {
    /// An I/O port.
    Port(u16, Width),
    /// A physical address.
    Memory(u64, Width),
}

impl Register {
    /// The register whose generic address is at `offset`, to be accessed with `width`. `None` if the
    /// bytes end before, it is empty, or it is in a space other than memory and ports.
    pub(super) fn at(bytes: &[u8], offset: usize, width: Width) -> Option<Self> {
        let space = u8_at(bytes, offset)?;
        let address = u64_at(bytes, offset + 4).filter(|&address| address != 0)?;
        match space {
            0 => Some(Self::Memory(address, width)),
            1 => u16::try_from(address)
                .ok()
                .map(|port| Self::Port(port, width)),
            _ => None,
        }
    }
}

/// A write to a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Write {
    /// Where.
    pub register: Register,
    /// The bits that stay as they are; if not 0, the register is read first.
    pub keep: u32,
    /// The bits that are set. None of them is in `keep`.
    pub value: u32,
}

impl Write {
    /// Writes all bits.
    pub(super) fn plain(register: Register, value: u32) -> Self {
        Self {
            register,
            keep: 0,
            value,
        }
    }
}
