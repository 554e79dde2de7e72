//! Address space for regions: reserved, and backed by memory where it is touched.

use core::ptr::NonNull;

/// Zeroed memory, aligned to 4 GiB so that virtual alignment never limits a block.
pub(crate) struct Memory {
    mapping: NonNull<u8>,
    mapped: usize,
    start: NonNull<u8>,
    len: usize,
}

const ALIGN: usize = 4 << 30;

impl Memory {
    pub(crate) fn new(len: usize) -> Self {
        let mapped = len + ALIGN;
        // SAFETY: an anonymous private mapping anywhere has no preconditions.
        let mapping = unsafe {
            libc::mmap(
                core::ptr::null_mut(),
                mapped,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        assert_ne!(mapping, libc::MAP_FAILED, "no address space");
        let mapping = NonNull::new(mapping.cast::<u8>()).unwrap();
        let offset = mapping.align_offset(ALIGN);
        // SAFETY: the offset is below `ALIGN`, which the mapping has in excess.
        let start = unsafe { mapping.add(offset) };
        Self {
            mapping,
            mapped,
            start,
            len,
        }
    }

    pub(crate) fn addr(&self) -> usize {
        self.start.addr().get()
    }

    pub(crate) fn whole(&self) -> NonNull<[u8]> {
        self.part(0, self.len)
    }

    pub(crate) fn part(&self, offset: usize, len: usize) -> NonNull<[u8]> {
        assert!(offset + len <= self.len);
        // SAFETY: inside the mapping.
        let start = unsafe { self.start.add(offset) };
        NonNull::slice_from_raw_parts(start, len)
    }
}

// SAFETY: it only says where the mapping is.
unsafe impl Sync for Memory {}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`.
        unsafe { libc::munmap(self.mapping.as_ptr().cast(), self.mapped) };
    }
}
