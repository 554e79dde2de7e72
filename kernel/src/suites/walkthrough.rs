//! The buddy system, drawn: 16 MiB, and requests for 4 KiB.

use core::fmt;
use core::ptr::NonNull;

use alloc::vec::Vec;
use twinframe::{BuddyAllocator, Platform, Step, ZoneInfo};

use crate::console::println;
use crate::harness::{Outcome, kernel_tests};
use crate::memory::HEAP;
use crate::platform::Machine;
use crate::suites::free_pages;

const PAGE: usize = 4096;

/// One block of this order.
const TOP: usize = 12;
const SIZE: usize = PAGE << TOP;

/// A number of bytes as people write it.
struct Bytes(usize);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            small if small < 1 << 20 => write!(f, "{:>3} KiB", small >> 10),
            large => write!(f, "{:>3} MiB", large >> 20),
        }
    }
}

/// The two halves of a block that is split or merged around a page. The larger the block, the wider
/// it is, though not as much.
struct Halves {
    step: Step,
    /// Where the page is, in bytes from the beginning.
    page: usize,
}

impl fmt::Display for Halves {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Step::Split { order } | Step::Merge { order }) = self.step;
        let (bytes, width) = (PAGE << order, 2 * order);
        let block = self.page / bytes * bytes;
        let upper = self.page - block >= bytes / 2;
        match self.step {
            Step::Split { .. } => {
                let (lower, upper) = if upper { ('.', '#') } else { ('#', '.') };
                write!(f, "split {} at {block:#08x}  |", Bytes(bytes))?;
                draw(f, lower, width)?;
                f.write_str("|")?;
                draw(f, upper, width)?;
            }
            Step::Merge { .. } => {
                write!(f, "merge {} at {block:#08x}  |", Bytes(bytes))?;
                draw(f, '.', 2 * width + 1)?;
            }
        }
        f.write_str("|")
    }
}

fn draw(f: &mut fmt::Formatter<'_>, what: char, width: usize) -> fmt::Result {
    (0..width).try_for_each(|_| fmt::Write::write_char(f, what))
}

/// The allocator, and how its free blocks were after the latest call.
struct Walk {
    pages: BuddyAllocator,
    start: usize,
    seen: ZoneInfo,
}

impl Walk {
    /// Shows what the latest call did to the free blocks around `page`.
    fn show(&mut self, page: usize) -> Vec<Step> {
        let now = zone(&self.pages);
        let steps = now.steps_since(&self.seen).expect("one block came or went");
        let steps: Vec<Step> = steps.collect();
        let page = page - self.start;
        for step in &steps {
            println!("  {}", Halves { step: *step, page });
        }
        println!(
            "  free blocks of 4 KiB to 16 MiB: {:?}",
            &now.free_blocks[..=TOP]
        );
        self.seen = now;
        steps
    }

    fn allocate(&mut self) -> (usize, Vec<Step>) {
        let page = self.pages.alloc_pages(1, 0).expect("a page");
        println!("request of 4 KiB: served at {:#08x}", page - self.start);
        let steps = self.show(page);
        (page, steps)
    }

    fn free(&mut self, page: usize) -> Vec<Step> {
        println!("free of 4 KiB at {:#08x}", page - self.start);
        self.pages.dealloc_pages(page, 1).expect("allocated");
        self.show(page)
    }
}

fn zone(pages: &BuddyAllocator) -> ZoneInfo {
    let info = pages.buddyinfo();
    *info.zones().next().expect("memory in one zone")
}

/// One block of each order up to that of the largest, and one more of the smallest.
fn split_once(blocks: &[usize]) -> bool {
    blocks[..TOP].iter().all(|count| *count == 1) && blocks[TOP] == 0
}

kernel_tests! { "walkthrough", Test:
    /// Every split down to 4 KiB and every merge up again.
    fn sixteen_mebibytes_and_a_page() on [smp1, mem128m, mem6g] {
        // The pages begin at a multiple of 16 MiB, the metadata ends there.
        let Ok(memory) = HEAP.alloc_pages(2 * SIZE / PAGE, 2 * SIZE) else {
            return Outcome::Skip("32 MiB are not free in one block");
        };
        let metadata = BuddyAllocator::<PAGE>::required_meta_size(SIZE).next_multiple_of(PAGE);
        let begin = memory + SIZE - metadata;
        let first = NonNull::new(begin as *mut u8).expect("not at 0");
        let region = NonNull::slice_from_raw_parts(first, metadata + SIZE);
        let mut pages = BuddyAllocator::new();
        // SAFETY: pages of ours, that go back when the allocator is no longer used.
        let added = unsafe { pages.add_region_at(region, Machine::virt_to_phys(begin)) };
        added.expect("memory enough");
        let start = pages.section(0).expect("a section").start;
        assert_eq!((start, pages.total_pages()), (memory + SIZE, SIZE / PAGE));

        let seen = zone(&pages);
        let whole = seen.free_blocks;
        println!("16 MiB of memory, a buddy system of one block; # is used, . is free");
        println!("  free blocks of 4 KiB to 16 MiB: {:?}", &whole[..=TOP]);
        assert_eq!((whole[TOP], whole.iter().sum()), (1, 1));
        let mut walk = Walk { pages, start, seen };

        let (one, steps) = walk.allocate();
        let down = (1..=TOP).rev().map(|order| Step::Split { order });
        assert!(steps.into_iter().eq(down), "split at every order");
        assert!(split_once(&walk.seen.free_blocks));
        assert_eq!(one, start);

        let (two, steps) = walk.allocate();
        assert_eq!((two, steps), (start + PAGE, Vec::new()), "the buddy was free");
        let (three, steps) = walk.allocate();
        assert_eq!(three, start + 2 * PAGE);
        assert_eq!(steps, [Step::Split { order: 1 }]);

        // The buddy of what comes back is free, is in use, and is free at every order.
        assert_eq!(walk.free(three), [Step::Merge { order: 1 }]);
        assert_eq!(walk.free(two), []);
        assert!(split_once(&walk.seen.free_blocks));
        let up = (1..=TOP).map(|order| Step::Merge { order });
        assert!(walk.free(one).into_iter().eq(up), "merged at every order");
        assert_eq!(walk.seen.free_blocks, whole, "one block again");
        walk.pages.validate().expect("consistent");
        // Nothing uses the allocator any more.
        free_pages(memory, 2 * SIZE / PAGE).expect("allocated above");
    }
}
