//! A device's registers in memory.

use core::fmt;

use twinframe_boot::PAGE_SIZE;
use twinframe_boot::memmap::Class;
use twinframe_boot::pci::{BadBar, Bar};

use crate::arch::{space, translate};
use crate::memory;

/// Registers of a device.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Registers {
    address: u64,
    bytes: u64,
}

/// Why a range cannot be a device's registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoRegisters {
    /// The device has no such range.
    Absent,
    /// It makes no sense.
    Bad(BadBar),
    /// It is I/O ports.
    Ports,
    /// It is smaller than the device's registers are.
    Small(u64),
    /// It is beyond what the CPU can address.
    OutOfReach(u64),
    /// The memory map says that it is RAM.
    Ram(u64),
    /// There is no memory for page tables.
    NoMemory,
}

impl fmt::Display for NoRegisters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Absent => f.write_str("no range for its registers"),
            Self::Bad(bad) => write!(f, "{bad}"),
            Self::Ports => f.write_str("its registers are ports"),
            Self::Small(bytes) => write!(f, "its registers take {bytes:#x} bytes only"),
            Self::OutOfReach(phys) => {
                write!(
                    f,
                    "its registers at {phys:#x} are beyond what the CPU addresses"
                )
            }
            Self::Ram(phys) => write!(f, "its registers at {phys:#x} would be in RAM"),
            Self::NoMemory => f.write_str("no memory to map its registers with"),
        }
    }
}

impl Registers {
    /// The first `least` bytes of registers in a range that a device has.
    pub(crate) fn new(bar: Bar, least: u64) -> Result<Self, NoRegisters> {
        let Bar::Memory { phys, bytes, .. } = bar else {
            return Err(NoRegisters::Ports);
        };
        if bytes < least {
            return Err(NoRegisters::Small(bytes));
        }
        // Aligned to its size, so it does not wrap around.
        let last = phys + (bytes - 1);
        if last > translate::last_physical() {
            return Err(NoRegisters::OutOfReach(phys));
        }
        let ram = |class| {
            memory::map()
                .regions(class)
                .any(|region| region.start() <= last && phys <= region.last())
        };
        if ram(Class::Usable) || ram(Class::Reclaimable) {
            return Err(NoRegisters::Ram(phys));
        }
        // Ranges may be smaller than a page, and then share one.
        let inside = phys % PAGE_SIZE;
        let pages = (inside + least).div_ceil(PAGE_SIZE);
        // SAFETY: no RAM, says the memory map.
        let mapped = unsafe { space::map_device(phys - inside, pages) };
        Ok(Self {
            address: mapped.map_err(|_| NoRegisters::NoMemory)? + inside,
            bytes: least,
        })
    }

    /// The address of a register of type `T`.
    fn at<T>(self, offset: u64) -> *mut T {
        let size = size_of::<T>() as u64;
        assert!(
            offset.is_multiple_of(size) && offset <= self.bytes - size,
            "no register at {offset:#x}"
        );
        (self.address + offset) as *mut T
    }

    /// Reads a 32-bit register.
    pub(crate) fn read32(self, offset: u64) -> u32 {
        // SAFETY: `at` gives an aligned address inside the range, which `new` mapped and found
        // to be no memory of ours.
        unsafe { self.at::<u32>(offset).read_volatile() }
    }

    /// Writes a 32-bit register. What the device does then is the caller's concern.
    pub(crate) fn write32(self, offset: u64, value: u32) {
        // SAFETY: as `read32`.
        unsafe { self.at::<u32>(offset).write_volatile(value) };
    }

    /// Reads a 64-bit register.
    pub(crate) fn read64(self, offset: u64) -> u64 {
        // SAFETY: as `read32`.
        unsafe { self.at::<u64>(offset).read_volatile() }
    }

    /// Writes a 64-bit register. What the device does then is the caller's concern.
    pub(crate) fn write64(self, offset: u64, value: u64) {
        // SAFETY: as `read32`.
        unsafe { self.at::<u64>(offset).write_volatile(value) };
    }
}
