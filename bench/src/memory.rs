//! Memory for the allocators to manage.

use std::ptr::NonNull;

/// Address space with memory behind what is touched; never unmapped.
#[derive(Clone, Copy)]
pub(crate) struct Memory {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: plain memory, handed to one allocator at a time.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// `len` bytes, aligned to `align`.
    pub(crate) fn new(len: usize, align: usize) -> Self {
        Self::map(len, align, 0)
    }

    /// The same below 4 GiB, so that an identity translation makes it low memory.
    pub(crate) fn low(len: usize, align: usize) -> Self {
        Self::map(len, align, libc::MAP_32BIT)
    }

    /// Bytes of this process that are in memory now.
    pub(crate) fn resident() -> usize {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let pages = statm.split(' ').nth(1).and_then(|text| text.parse().ok());
        pages.map_or(0, |pages: usize| pages * 4096)
    }

    fn map(len: usize, align: usize, flags: libc::c_int) -> Self {
        // SAFETY: an anonymous private mapping anywhere has no preconditions.
        let mapping = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len + align,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | flags,
                -1,
                0,
            )
        };
        assert_ne!(
            mapping,
            libc::MAP_FAILED,
            "no address space for {len} bytes"
        );
        let mapping = NonNull::new(mapping.cast::<u8>()).expect("a mapping is not at 0");
        // SAFETY: the offset is below `align`, which the mapping has in excess.
        let start = unsafe { mapping.add(mapping.align_offset(align)) };
        Self { start, len }
    }

    pub(crate) fn addr(self) -> usize {
        self.start.addr().get()
    }

    pub(crate) fn len(self) -> usize {
        self.len
    }

    pub(crate) fn region(self) -> NonNull<[u8]> {
        NonNull::slice_from_raw_parts(self.start, self.len)
    }

    pub(crate) fn part(self, offset: usize, len: usize) -> Self {
        assert!(offset + len <= self.len);
        // SAFETY: inside the mapping.
        let start = unsafe { self.start.add(offset) };
        Self { start, len }
    }

    /// Writes to every page, so that no page fault falls into a measurement.
    pub(crate) fn touch(self) -> Self {
        for offset in (0..self.len).step_by(4096) {
            // SAFETY: inside the mapping, which nobody uses yet.
            let page = unsafe { self.start.add(offset) };
            // SAFETY: as above.
            unsafe { page.write_volatile(0) };
        }
        self
    }

    /// Gives the memory back to the system when the guard goes; it stays mapped.
    pub(crate) fn discard_at_end(self) -> Discard {
        Discard(self)
    }

    /// Gives the memory back to the system; it stays mapped.
    pub(crate) fn discard(self) {
        let start = self.start.as_ptr().cast();
        // SAFETY: this is the mapping, or a part of it, and nobody uses it any more.
        let status = unsafe { libc::madvise(start, self.len, libc::MADV_DONTNEED) };
        assert_eq!(status, 0, "the mapping is private and anonymous");
    }
}

/// Gives memory back to the system in the end.
pub(crate) struct Discard(Memory);

impl Drop for Discard {
    fn drop(&mut self) {
        self.0.discard();
    }
}
