//! What a loader tells and `BootInfo` has no field for.

/// Firmware facts beside the `BootInfo`.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// The command line, as raw bytes without the terminating zero.
    pub cmdline: &'static [u8],
}
