//! Which page sizes there are.

/// A page of so many bytes.
pub(super) struct PageSize<const BYTES: usize>;

impl<const BYTES: usize> PageSize<BYTES> {
    /// Addresses become frame numbers by a shift.
    ///
    /// ```compile_fail,E0080
    /// use twinframe::{FrameAllocator, Platform};
    ///
    /// struct Machine;
    ///
    /// // SAFETY: it is not used.
    /// unsafe impl Platform for Machine {
    ///     const MAX_CPUS: usize = 1;
    ///     type IrqState = ();
    ///     fn cpu_id() -> usize {
    ///         0
    ///     }
    ///     fn virt_to_phys(virt: usize) -> u64 {
    ///         virt as u64
    ///     }
    ///     fn phys_to_virt(phys: u64) -> usize {
    ///         phys as usize
    ///     }
    ///     fn irq_save() {}
    ///     unsafe fn irq_restore(_: ()) {}
    /// }
    ///
    /// static FRAMES: FrameAllocator<Machine, 3000> = FrameAllocator::new();
    /// # fn main() {}
    /// ```
    pub(super) const IS_USABLE: () = {
        assert!(BYTES.is_power_of_two(), "the page size is a power of two");
        assert!(BYTES >= 1024 && BYTES <= 16 << 20, "from 1 KiB to 16 MiB");
    };
}
