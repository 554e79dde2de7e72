//! What the kernel makes of the many types of memory.

use core::fmt::{self, Write};

use bootloader_api::info::MemoryRegionKind;

/// What can be done with memory of some firmware type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Free from the start.
    Usable,
    /// Holds ACPI tables; free once they have been read (ACPI 6.5, chapter 15,
    /// `AddressRangeACPI` and `EfiACPIReclaimMemory`).
    Reclaimable,
    /// Everything else. A type we do not know may be anything, so it is never touched.
    Reserved,
}

impl Class {
    const E820_ACPI_RECLAIMABLE: u32 = 3;
    const UEFI_ACPI_RECLAIM_MEMORY: u32 = 9;

    /// The class of a firmware type.
    #[must_use]
    pub const fn of(kind: MemoryRegionKind) -> Self {
        match kind {
            MemoryRegionKind::Usable => Self::Usable,
            MemoryRegionKind::UnknownBios(Self::E820_ACPI_RECLAIMABLE)
            | MemoryRegionKind::UnknownUefi(Self::UEFI_ACPI_RECLAIM_MEMORY) => Self::Reclaimable,
            _ => Self::Reserved,
        }
    }

    /// The class in one word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Usable => "usable",
            Self::Reclaimable => "reclaimable",
            Self::Reserved => "reserved",
        }
    }
}

/// Displays a firmware type under the name its specification gives it, or by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TypeName(pub MemoryRegionKind);

impl TypeName {
    /// Names as in ACPI 6.5, chapter 15, and UEFI 2.10, section 7.2.
    const fn known(self) -> Option<&'static str> {
        Some(match self.0 {
            MemoryRegionKind::Usable => "usable",
            MemoryRegionKind::Bootloader => "boot loader",
            MemoryRegionKind::UnknownBios(2) | MemoryRegionKind::UnknownUefi(0) => "reserved",
            MemoryRegionKind::UnknownBios(3) | MemoryRegionKind::UnknownUefi(9) => {
                "ACPI reclaimable"
            }
            MemoryRegionKind::UnknownBios(4) | MemoryRegionKind::UnknownUefi(10) => "ACPI NVS",
            MemoryRegionKind::UnknownBios(5) | MemoryRegionKind::UnknownUefi(8) => "defective",
            MemoryRegionKind::UnknownBios(7) | MemoryRegionKind::UnknownUefi(14) => "persistent",
            MemoryRegionKind::UnknownUefi(5) => "runtime code",
            MemoryRegionKind::UnknownUefi(6) => "runtime data",
            MemoryRegionKind::UnknownUefi(11 | 12) => "MMIO",
            _ => return None,
        })
    }
}

impl fmt::Display for TypeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = self.known() {
            return f.pad(name);
        }
        let mut label = Label::default();
        match self.0 {
            MemoryRegionKind::UnknownBios(kind) => write!(label, "E820 {kind}")?,
            MemoryRegionKind::UnknownUefi(kind) => write!(label, "UEFI {kind:#x}")?,
            // The kinds are open to additions.
            other => write!(label, "{other:?}")?,
        }
        f.pad(label.as_str())
    }
}

/// A short text made where there is no heap, because only a finished text can be padded to the
/// width of a column. What does not fit is cut off.
#[derive(Default)]
struct Label {
    bytes: [u8; 24],
    len: usize,
}

impl Label {
    fn as_str(&self) -> &str {
        self.bytes
            .get(..self.len)
            .and_then(|written| str::from_utf8(written).ok())
            .unwrap_or_default()
    }
}

impl Write for Label {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            let Some(room) = self.bytes.get_mut(self.len..) else {
                break;
            };
            if room.len() < character.len_utf8() {
                break;
            }
            self.len += character.encode_utf8(room).len();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use MemoryRegionKind::{Bootloader, UnknownBios, UnknownUefi, Usable};

    #[test]
    fn only_known_good_types_are_not_reserved() {
        assert_eq!(Class::of(Usable), Class::Usable);
        assert_eq!(Class::of(UnknownBios(3)), Class::Reclaimable);
        assert_eq!(Class::of(UnknownUefi(9)), Class::Reclaimable);
        assert_eq!(Class::of(Bootloader), Class::Reserved);
        for code in (0..=20).chain([u32::MAX, 0x8000_0000]) {
            if code != 3 {
                assert_eq!(Class::of(UnknownBios(code)), Class::Reserved, "{code}");
            }
            if code != 9 {
                assert_eq!(Class::of(UnknownUefi(code)), Class::Reserved, "{code}");
            }
        }
    }

    #[test]
    fn names_fill_their_column() {
        assert_eq!(format!("{:<11}|", TypeName(UnknownBios(4))), "ACPI NVS   |");
        assert_eq!(
            format!("{:<11}|", TypeName(UnknownBios(77))),
            "E820 77    |"
        );
        assert_eq!(
            format!("{}", TypeName(UnknownUefi(u32::MAX))),
            "UEFI 0xffffffff"
        );
    }

    #[test]
    fn a_label_cuts_at_a_character() {
        let mut label = Label::default();
        write!(label, "{}é rest", "x".repeat(23)).unwrap();
        assert_eq!(label.as_str(), "x".repeat(23));
    }
}
