//! What an allocation or a free did to free blocks, seen from outside.

use super::frame::ORDERS;
use super::info::ZoneInfo;

/// What became of a free block.
///
/// # A walk through the buddy system
///
/// 16 MiB, and a request for 4 KiB: the one block is split step by step, and what was split is free
/// for others. When the page comes back, its buddy is free, and so the buddy of the two together,
/// and so on: everything merges again. The suite `walkthrough` of the unikernel does the same on real
/// memory.
///
/// ```
/// # use std::ptr::NonNull;
/// use twinframe::{AllocError, BuddyAllocator, Step};
///
/// const SIZE: usize = 16 << 20;
/// # // Metadata lies in front of the pages, which begin at a multiple of their size.
/// # let metadata = BuddyAllocator::<0x1000>::required_meta_size(SIZE).next_multiple_of(0x1000);
/// # let mut memory = vec![0u8; 3 * SIZE];
/// # let begin = memory.as_ptr().addr();
/// # let at = (begin + metadata).next_multiple_of(SIZE) - metadata - begin;
/// # let region = NonNull::from(&mut memory[at..at + metadata + SIZE]);
/// # let phys = (2 * SIZE - metadata) as u64;
/// let mut pages = BuddyAllocator::<0x1000>::new();
/// // SAFETY: the memory outlives the allocator and is used through it only.
/// unsafe { pages.add_region_at(region, phys) }?;
/// let start = pages.section(0).map_or(0, |section| section.start);
///
/// let zone = |pages: &BuddyAllocator| *pages.buddyinfo().zones().next().unwrap();
/// let mut drawing = String::new();
/// // The larger the blocks, the longer the lines; `#` is what the page lies in.
/// let mut draw = |step, addr: usize| {
///     let (Step::Split { order } | Step::Merge { order }) = step;
///     let mut halves = ["-".repeat(order), "-".repeat(order)];
///     let upper = (addr - start) >> (11 + order) & 1;
///     if matches!(step, Step::Split { .. }) {
///         halves[upper] = "#".repeat(order);
///     }
///     let line = match step {
///         Step::Split { .. } => format!("split {:>5} KiB |{}|{}|\n", 4 << order, halves[0], halves[1]),
///         Step::Merge { .. } => format!("merge {:>5} KiB |{}-{}|\n", 4 << order, halves[0], halves[1]),
///     };
///     drawing.push_str(&line);
/// };
///
/// let whole = zone(&pages);
/// let page = pages.alloc_pages(1, 0)?;
/// let split = zone(&pages);
/// split.steps_since(&whole).unwrap().for_each(|step| draw(step, page));
/// pages.dealloc_pages(page, 1)?;
/// zone(&pages).steps_since(&split).unwrap().for_each(|step| draw(step, page));
///
/// assert_eq!(zone(&pages), whole);
/// assert_eq!(drawing, "\
/// split 16384 KiB |############|------------|
/// split  8192 KiB |###########|-----------|
/// split  4096 KiB |##########|----------|
/// split  2048 KiB |#########|---------|
/// split  1024 KiB |########|--------|
/// split   512 KiB |#######|-------|
/// split   256 KiB |######|------|
/// split   128 KiB |#####|-----|
/// split    64 KiB |####|----|
/// split    32 KiB |###|---|
/// split    16 KiB |##|--|
/// split     8 KiB |#|-|
/// merge     8 KiB |---|
/// merge    16 KiB |-----|
/// merge    32 KiB |-------|
/// merge    64 KiB |---------|
/// merge   128 KiB |-----------|
/// merge   256 KiB |-------------|
/// merge   512 KiB |---------------|
/// merge  1024 KiB |-----------------|
/// merge  2048 KiB |-------------------|
/// merge  4096 KiB |---------------------|
/// merge  8192 KiB |-----------------------|
/// merge 16384 KiB |-------------------------|
/// ");
/// # Ok::<(), AllocError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A block was cut into halves.
    Split {
        /// The order of the block; its halves have one less.
        order: usize,
    },
    /// Two buddies became one block.
    Merge {
        /// The order of that block.
        order: usize,
    },
}

impl ZoneInfo {
    /// The splits or merges between an earlier look at the zone and this one, in the order in which
    /// they happened: splits from the largest block down, merges from the smallest up.
    ///
    /// `None` unless exactly one block was taken out of the free blocks meanwhile, or brought back.
    /// Blocks that go to a CPU's cache or come from it count; [`BuddyAllocator`] has no caches.
    ///
    /// [`BuddyAllocator`]: super::BuddyAllocator
    #[must_use]
    pub fn steps_since(&self, before: &Self) -> Option<impl Iterator<Item = Step> + use<>> {
        let taken = self.free_pages < before.free_pages;
        let (more, less) = if taken {
            (before, self)
        } else {
            (self, before)
        };
        // What the one with more has and the other has not: one block at the end of the way, for
        // which the other has one block of each smaller order on the way.
        let gone = |order: usize| more.free_blocks[order].checked_sub(less.free_blocks[order]);
        let changed = |order: &usize| more.free_blocks[*order] != less.free_blocks[*order];
        let largest = (0..ORDERS).rev().find(changed)?;
        let smallest = (0..ORDERS).find(changed)?;
        let halves = (smallest..largest)
            .all(|order| less.free_blocks[order].checked_sub(more.free_blocks[order]) == Some(1));
        if gone(largest) != Some(1) || !halves {
            return None;
        }
        Some((0..largest - smallest).map(move |step| {
            if taken {
                Step::Split {
                    order: largest - step,
                }
            } else {
                Step::Merge {
                    order: smallest + 1 + step,
                }
            }
        }))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::Zone;

    fn zone(blocks: &[usize]) -> ZoneInfo {
        let mut free_blocks = [0; ORDERS];
        free_blocks[..blocks.len()].copy_from_slice(blocks);
        let pages = blocks.iter().enumerate();
        ZoneInfo {
            zone: Zone::Normal,
            managed_pages: 1 << 20,
            free_pages: pages.map(|(order, blocks)| blocks << order).sum(),
            reserved_pages: 0,
            free_blocks,
        }
    }

    fn steps(before: &[usize], after: &[usize]) -> Option<Vec<Step>> {
        Some(zone(after).steps_since(&zone(before))?.collect())
    }

    #[test]
    fn splits_go_down_and_merges_go_up() {
        let split = |order| Step::Split { order };
        let merge = |order| Step::Merge { order };
        let splits = std::vec![split(3), split(2), split(1)];
        assert_eq!(steps(&[0, 0, 0, 1], &[1, 1, 1, 0]), Some(splits));
        let merges = std::vec![merge(1), merge(2), merge(3)];
        assert_eq!(steps(&[1, 1, 1, 0], &[0, 0, 0, 1]), Some(merges));
        // Two pages out of eight, beside others that are free.
        let splits = std::vec![split(3), split(2)];
        assert_eq!(steps(&[5, 0, 0, 2, 1], &[5, 1, 1, 1, 1]), Some(splits));
        assert_eq!(steps(&[0, 3], &[0, 2]), Some(Vec::new()));
        assert_eq!(steps(&[0, 2], &[0, 3]), Some(Vec::new()));
    }

    #[test]
    fn more_than_one_block_is_no_answer() {
        assert_eq!(steps(&[1, 1], &[1, 1]), None);
        assert_eq!(steps(&[2, 0, 1], &[0, 0, 1]), None);
        assert_eq!(
            steps(&[0, 0, 0, 1], &[0, 0, 1]),
            Some(std::vec![Step::Split { order: 3 }])
        );
        assert_eq!(steps(&[0, 0, 0, 1], &[1, 0, 1]), None);
        assert_eq!(steps(&[1, 1], &[0, 0]), None);
    }
}
