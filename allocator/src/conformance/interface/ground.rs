//! What the allocators under test get to manage.

use core::ptr::NonNull;

const MIB: usize = 1 << 20;

/// Ranges that belong to the test, as first address (or number) and length.
#[derive(Debug, Clone, Copy)]
pub struct Ground {
    /// What an allocator begins with.
    pub(super) main: (usize, usize),
    /// What lies right behind that.
    pub(super) behind: (usize, usize),
    /// What lies behind a gap.
    pub(super) apart: (usize, usize),
}

impl Ground {
    /// How much memory the tests need, in bytes.
    pub const BYTES: usize = 8 * MIB;

    /// The numbers that tests of [`IdAllocator`](crate::traits::IdAllocator) use.
    pub const NUMBERS: Self = Self {
        main: (33, 400),
        behind: (433, 80),
        apart: (1000, 80),
    };

    /// Cuts up memory of [`BYTES`](Self::BYTES) bytes.
    ///
    /// # Panics
    ///
    /// It has another length, or is not aligned to it.
    ///
    /// # Safety
    ///
    /// The memory is writable and the test's alone, as long as anything uses the result.
    #[must_use]
    pub unsafe fn new(memory: NonNull<[u8]>) -> Self {
        let start = memory.cast::<u8>().as_ptr().expose_provenance();
        assert!(memory.len() == Self::BYTES && start.is_multiple_of(Self::BYTES));
        Self {
            main: (start, 4 * MIB),
            behind: (start + 4 * MIB, MIB),
            apart: (start + 6 * MIB, MIB),
        }
    }
}

/// Whether `count` things from `first` on lie in a range.
pub(super) fn lies_in(range: (usize, usize), first: usize, count: usize) -> bool {
    first >= range.0 && first + count <= range.0 + range.1
}
