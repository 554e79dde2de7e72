//! Switching the machine off: the soft-off state S5 (ACPI 6.5, sections 4.8.3.2 and 7.4.2).
//!
//! The registers are in the FADT, but the value to write is in the package `\_S5`, in AML. A whole
//! interpreter for one constant would be much; firmware declares the package as a plain constant, so
//! it is found by its name among the bytes and decoded if what follows is that constant.

use super::fields::u8_at;
use super::register::{Register, Write};
use super::table::HEADER;
use super::{Fadt, Table};

/// In the control registers, `SLP_TYP` starts at this bit.
const PM1_TYPE: u32 = 10;
/// In the control registers, what starts the transition.
const PM1_ENABLE: u32 = 1 << 13;
/// In the sleep control register, `SLP_TYP` starts at this bit.
const SLEEP_TYPE: u32 = 2;
/// In the sleep control register, what starts the transition.
const SLEEP_ENABLE: u32 = 1 << 5;

/// What to write where, in order, to switch the machine off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PowerOff {
    /// Takes the registers over from the firmware. Not needed if `SCI_EN`, bit 0 of the first
    /// control register, is set.
    pub enable: Option<Write>,
    /// Switches off. The second one only where a machine has two registers.
    pub writes: [Option<Write>; 2],
}

impl PowerOff {
    /// From the FADT and the DSDT; `None` if one of them lacks its part.
    #[must_use]
    pub fn new(fadt: &Fadt, dsdt: Table<'_>) -> Option<Self> {
        let types = soft_off_types(dsdt.bytes().get(HEADER..)?)?;
        if let [Some(first), second] = fadt.pm1_control {
            let write = |register, kind| {
                let value = u32::from(kind) << PM1_TYPE | PM1_ENABLE;
                Write {
                    register,
                    keep: 0xffff & !(7 << PM1_TYPE | PM1_ENABLE),
                    value,
                }
            };
            return Some(Self {
                enable: fadt.enable,
                writes: [
                    Some(write(first, types[0])),
                    second.map(|second| write(second, types[1])),
                ],
            });
        }
        let write = |register: Register| {
            Write::plain(register, u32::from(types[0]) << SLEEP_TYPE | SLEEP_ENABLE)
        };
        fadt.sleep_control.map(|register| Self {
            enable: None,
            writes: [Some(write(register)), None],
        })
    }
}

const NAME_OP: u8 = 0x08;
const PACKAGE_OP: u8 = 0x12;

/// `SLP_TYPa` and `SLP_TYPb` of S5, from the first place in `aml` that declares them: `NameOp`,
/// an optional root prefix, the name, a package (ACPI 6.5, section 20.2).
fn soft_off_types(aml: &[u8]) -> Option<[u8; 2]> {
    const NAME: &[u8; 4] = b"_S5_";
    aml.windows(NAME.len())
        .enumerate()
        .filter(|(_, window)| window == NAME)
        .find_map(|(at, _)| {
            let before = aml.get(..at)?;
            let declared = before.ends_with(&[NAME_OP]) || before.ends_with(&[NAME_OP, b'\\']);
            declared.then(|| package(aml.get(at + NAME.len()..)?))?
        })
}

/// The first two numbers of the package at the start of `aml`, if both can be sleep types.
fn package(aml: &[u8]) -> Option<[u8; 2]> {
    if u8_at(aml, 0)? != PACKAGE_OP {
        return None;
    }
    let aml = aml.get(1..)?;
    let lead = u8_at(aml, 0)?;
    // The top bits count further bytes of the length; without any, the others are the length.
    let further = usize::from(lead >> 6);
    let length = match further {
        0 => usize::from(lead),
        _ => aml
            .get(1..=further)?
            .iter()
            .rev()
            .fold(0, |length, &byte| length << 8 | usize::from(byte))
            .checked_mul(16)?
            .checked_add(usize::from(lead & 0xf))?,
    };
    // The length counts itself, and must not lead out of the table.
    let elements = aml.get(..length)?.get(1 + further..)?;
    let count = u8_at(elements, 0)?;
    let (first, used) = number(elements.get(1..)?)?;
    let types = match count {
        0 => return None,
        // Some firmware packs both into one number.
        1 => first.to_le_bytes(),
        _ => {
            let (second, _) = number(elements.get(1 + used..)?)?;
            [u8::try_from(first).ok()?, u8::try_from(second).ok()?]
        }
    };
    types.iter().all(|&kind| kind < 8).then_some(types)
}

/// A constant of at most 16 bits and the bytes it takes.
fn number(aml: &[u8]) -> Option<(u16, usize)> {
    match u8_at(aml, 0)? {
        // ZeroOp and OneOp stand for themselves.
        small @ (0x00 | 0x01) => Some((small.into(), 1)),
        0x0a => Some((u8_at(aml, 1)?.into(), 2)),
        0x0b => Some((super::fields::u16_at(aml, 1)?, 3)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s5(package: &[u8]) -> Option<[u8; 2]> {
        soft_off_types(&[b"junk\x08_S5_".as_slice(), package].concat())
    }

    #[test]
    fn every_way_to_write_the_numbers() {
        assert_eq!(s5(b"\x12\x06\x04\0\0\0\0"), Some([0, 0]));
        assert_eq!(s5(b"\x12\x08\x02\x0a\x05\x0a\x05"), None, "too long");
        assert_eq!(s5(b"\x12\x06\x02\x0a\x05\x0a\x05"), Some([5, 5]));
        assert_eq!(s5(b"\x12\x07\x02\x0b\x05\0\x01\0\0"), Some([5, 1]));
        assert_eq!(s5(b"\x12\x05\x01\x0b\x05\x07\0\0\0"), Some([5, 7]));
        assert_eq!(s5(b"\x12\x47\x00\x02\x0a\x05\x0a\x05\0"), Some([5, 5]));
    }

    #[test]
    fn what_is_no_such_constant_is_refused() {
        assert_eq!(s5(b"\x12\x04\x00\0\0\0\0"), None, "no elements");
        assert_eq!(s5(b"\x12\x06\x02\x0a\x08\x0a\x05"), None, "eight bits");
        assert_eq!(s5(b"\x12\x03\x02\x0a\x05\x0a\x05"), None, "cut short");
        assert_eq!(s5(b"\x12\xff\xff\xff\xff\x02\x0a\x05"), None, "huge");
        assert_eq!(s5(b"\x12"), None);
        assert_eq!(s5(b""), None);
        assert_eq!(soft_off_types(b"_S5_\x12\x06\x04\0\0\0\0"), None);
        assert_eq!(soft_off_types(b"\x08_S5"), None);
    }

    #[test]
    fn a_later_declaration_counts_if_the_first_is_none() {
        let aml = b"_S5_\x08\\_S5_\x12\x06\x04\x01\0\0\0";
        assert_eq!(soft_off_types(aml), Some([1, 0]));
    }
}
