//! Where the linker put the kernel.

use core::ops::Range;

/// Virtual minus physical address when our own entry loads the image; the linker script has the
/// same number.
pub(crate) const BASE: u64 = 0xffff_ffff_8000_0000;

// Symbols of the linker script; only their addresses mean something.
unsafe extern "C" {
    static __kernel_start: u8;
    static __text_start: u8;
    static __data_start: u8;
    static __kernel_end: u8;
}

/// Read-only data.
pub(crate) fn constants() -> Range<u64> {
    (&raw const __kernel_start).addr() as u64..(&raw const __text_start).addr() as u64
}

/// Executable code.
pub(crate) fn text() -> Range<u64> {
    (&raw const __text_start).addr() as u64..(&raw const __data_start).addr() as u64
}

/// Writable data.
pub(crate) fn data() -> Range<u64> {
    (&raw const __data_start).addr() as u64..(&raw const __kernel_end).addr() as u64
}
