//! How much of a region was written to.
//!
//! Allocators count what they hand out each in its own way, if at all. What they cost a kernel is the
//! memory that is not the same as before: every 128 bytes of the region have a mark, and a page on which
//! a mark is gone counts.

/// Bytes from mark to mark: few pages are used so little that all their marks stay.
const STRIDE: usize = 128;
const PAGE: usize = 4096;

/// Bytes in pages of which a mark is gone. Puts all marks there again; in memory that has none yet, that is
/// all that it does.
pub(super) fn take(region: &mut [u8]) -> usize {
    let mut pages = 0;
    for (page, first) in region
        .chunks_exact_mut(PAGE)
        .zip((0..).step_by(PAGE / STRIDE))
    {
        let mut is_touched = false;
        for (line, number) in page.chunks_exact_mut(STRIDE).zip(first..) {
            let (word, _) = line.split_at_mut(8);
            if word != mark(number) {
                word.copy_from_slice(&mark(number));
                is_touched = true;
            }
        }
        pages += usize::from(is_touched);
    }
    pages * PAGE
}

/// A value that no allocator writes.
fn mark(number: u64) -> [u8; 8] {
    (number ^ 0xa5c3_96e1_78d2_4b0f).to_le_bytes()
}
