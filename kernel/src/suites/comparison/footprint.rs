//! How much of a region was written to.
//!
//! Allocators count what they hand out each in its own way, if at all. What they cost a kernel is the
//! memory that is not the same as before: every 64 bytes of the region get a mark, and a page on which
//! a mark is gone counts.

/// Bytes from mark to mark: no object is so small that many of them pass between two.
const STRIDE: usize = 64;
const PAGE: usize = 4096;

/// A region with marks.
pub(super) struct Footprint(());

impl Footprint {
    /// Marks `region`, which is aligned to pages.
    pub(super) fn prepare(region: &mut [u8]) -> Self {
        for (line, number) in region.chunks_exact_mut(STRIDE).zip(0..) {
            line[..8].copy_from_slice(&mark(number));
        }
        Self(())
    }

    /// Bytes in pages of which a mark is gone. Nobody uses the region any more.
    pub(super) fn touched(&self, region: &[u8]) -> usize {
        let mut pages = 0;
        for (page, first) in region.chunks_exact(PAGE).zip((0..).step_by(PAGE / STRIDE)) {
            let mut lines = page.chunks_exact(STRIDE).zip(first..);
            pages += usize::from(lines.any(|(line, number)| line[..8] != mark(number)));
        }
        pages * PAGE
    }
}

/// A value that no allocator writes.
fn mark(number: u64) -> [u8; 8] {
    (number ^ 0xa5c3_96e1_78d2_4b0f).to_le_bytes()
}
