//! The fixed description table: registers that every ACPI machine has (ACPI 6.5, section 5.2.9).

use super::fields::{u8_at, u32_at, u64_at};
use super::register::{Register, Width, Write};
use super::{Error, Signature, Table};

/// Bytes of the table of ACPI 1.0, which all later ones begin with.
const FIRST: usize = 116;

/// The timer counts to 2^32, not to 2^24.
const TIMER_32: u32 = 1 << 8;
/// The machine can be reset through the reset register.
const RESET: u32 = 1 << 10;
/// The machine has none of the fixed registers but those for sleep and reset.
const HARDWARE_REDUCED: u32 = 1 << 20;

/// What the table says, as far as it is of use here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fadt {
    /// Physical address of the DSDT; 0 if there is none.
    pub dsdt: u64,
    /// The power management control registers, where `SLP_TYP` is written to.
    pub pm1_control: [Option<Register>; 2],
    /// The sleep control register, which takes their place on a hardware-reduced machine.
    pub sleep_control: Option<Register>,
    /// Hands the registers over from the firmware to the kernel, if that is needed.
    pub enable: Option<Write>,
    /// Resets the machine.
    pub reset: Option<Write>,
    /// The 3.579545 MHz timer.
    pub timer: Option<Timer>,
}

/// The power management timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timer {
    /// Where to read it.
    pub register: Register,
    /// The highest count: 24 or 32 ones.
    pub mask: u32,
}

impl Timer {
    /// Counts in a second.
    pub const HERTZ: u32 = 3_579_545;
}

impl Fadt {
    /// The table's name.
    pub const NAME: Signature = Signature(*b"FACP");

    /// Reads the table.
    ///
    /// # Errors
    ///
    /// It is another table, or too short.
    pub fn new(table: Table<'_>) -> Result<Self, Error> {
        let bytes = table.expect(Self::NAME, FIRST)?.bytes();
        let flags = u32_at(bytes, 112).unwrap_or(0);
        let reduced = flags & HARDWARE_REDUCED != 0;
        // Each register has an old place and, since ACPI 2.0, a new one that wins if it is filled.
        let register = |new, old, width| {
            let old = || {
                u32_at(bytes, old)
                    .and_then(|port| u16::try_from(port).ok())
                    .filter(|&port| port != 0)
                    .map(|port| Register::Port(port, width))
            };
            if reduced {
                return None;
            }
            Register::at(bytes, new, width).or_else(old)
        };
        let dsdt = u64_at(bytes, 140)
            .filter(|&phys| phys != 0)
            .or_else(|| u32_at(bytes, 40).map(u64::from));
        let reset = Register::at(bytes, 116, Width::Byte)
            .zip(u8_at(bytes, 128))
            .filter(|_| flags & RESET != 0)
            .map(|(register, value)| Write::plain(register, value.into()));
        let command_port = u32_at(bytes, 48).and_then(|port| u16::try_from(port).ok());
        let enable = command_port
            .zip(u8_at(bytes, 52))
            .filter(|&(port, value)| !reduced && port != 0 && value != 0)
            .map(|(port, value)| Write::plain(Register::Port(port, Width::Byte), value.into()));
        let timer = register(208, 76, Width::Double).map(|register| Timer {
            register,
            mask: if flags & TIMER_32 != 0 {
                u32::MAX
            } else {
                0xff_ffff
            },
        });
        Ok(Self {
            dsdt: dsdt.unwrap_or(0),
            pm1_control: [
                register(172, 64, Width::Word),
                register(184, 68, Width::Word),
            ],
            sleep_control: Register::at(bytes, 244, Width::Byte),
            enable,
            reset,
            timer,
        })
    }
}
