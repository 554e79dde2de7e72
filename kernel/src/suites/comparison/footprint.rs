//! How much of a region was written to.
//!
//! Allocators count what they hand out each in its own way, if at all. What they cost a kernel is the
//! memory that is not the same as before: every 128 bytes of the region have a mark, and a page on which
//! a mark is gone counts.

/// Words from mark to mark: few pages are used so little that all their marks stay.
const STRIDE: usize = 16;
/// Words in a page.
const PAGE: usize = 512;

/// Bytes in pages of which a mark is gone. Puts all marks there again; in memory that has none yet, that is
/// all that it does.
pub(super) fn take(region: &mut [u8]) -> usize {
    // SAFETY: any bytes are a word.
    let (_, words, _) = unsafe { region.align_to_mut::<u64>() };
    let mut pages = 0;
    // No iterators: this runs in kernels without optimisation, too, and over a lot of memory.
    let mut page = 0;
    while page + PAGE <= words.len() {
        let mut is_touched = false;
        let mut index = page;
        while index < page + PAGE {
            let mark = index as u64 ^ 0xa5c3_96e1_78d2_4b0f;
            if words[index] != mark {
                words[index] = mark;
                is_touched = true;
            }
            index += STRIDE;
        }
        pages += usize::from(is_touched);
        page += PAGE;
    }
    pages * PAGE * 8
}
