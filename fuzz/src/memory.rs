//! Address space that the allocators under test manage.

use std::ptr::NonNull;
use std::sync::OnceLock;

/// One mapping for the whole run.
#[derive(Clone, Copy)]
pub(crate) struct Memory {
    start: NonNull<u8>,
}

// SAFETY: plain memory; a fuzzing process plays one sequence at a time.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// Bytes in the mapping.
    pub(crate) const LEN: usize = 64 << 20;

    /// The mapping, aligned to 1 GiB.
    pub(crate) fn get() -> Self {
        static MEMORY: OnceLock<Memory> = OnceLock::new();
        *MEMORY.get_or_init(|| {
            const ALIGN: usize = 1 << 30;
            // SAFETY: an anonymous private mapping anywhere has no preconditions.
            let mapping = unsafe {
                libc::mmap(
                    std::ptr::null_mut(),
                    Self::LEN + ALIGN,
                    libc::PROT_READ | libc::PROT_WRITE,
                    libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                    -1,
                    0,
                )
            };
            assert_ne!(mapping, libc::MAP_FAILED);
            let mapping = NonNull::new(mapping.cast::<u8>()).expect("a mapping is not at 0");
            // SAFETY: the offset is below `ALIGN`, which the mapping has in excess.
            let start = unsafe { mapping.add(mapping.align_offset(ALIGN)) };
            Self { start }
        })
    }

    /// Its first address.
    pub(crate) fn addr(self) -> usize {
        self.start.addr().get()
    }

    /// A part of it.
    pub(crate) fn part(self, offset: usize, len: usize) -> NonNull<[u8]> {
        assert!(offset + len <= Self::LEN);
        // SAFETY: inside the mapping.
        let start = unsafe { self.start.add(offset) };
        NonNull::slice_from_raw_parts(start, len)
    }
}
