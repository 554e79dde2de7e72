//! What any allocator must do, as checks that run wherever it runs.
//!
//! The same functions are called by the host's tests and, on real memory, by the kernel's. Those here
//! are about the page allocator of this crate. Each takes one that nothing else uses at the time,
//! panics at the first violation, and leaves every page as it found it. They need no heap. Those in
//! [`interface`] are about any allocator behind the [`traits`](crate::traits), and make their own.

pub mod interface;
mod misuse;
mod placement;
mod random;

pub use misuse::{bad_frees_change_nothing, bad_requests_change_nothing};
pub use placement::{bulk, every_order, exact_counts, given_addresses, limits, zeroed};
pub use random::random_blocks;

use crate::{AllocResult, BuddyInfo, FrameAllocator, Platform};

/// An allocator under test, and how it was before.
struct Subject<'a, P: Platform, const PAGE_SIZE: usize> {
    frames: &'a FrameAllocator<P, PAGE_SIZE>,
    before: BuddyInfo,
}

impl<'a, P: Platform, const PAGE_SIZE: usize> Subject<'a, P, PAGE_SIZE> {
    fn new(frames: &'a FrameAllocator<P, PAGE_SIZE>) -> Self {
        // A CPU that calls for the first time takes a page for its own state, for good.
        let page = frames.alloc_pages(1, 0).expect("a page");
        // SAFETY: allocated just now, and not used.
        assert_eq!(unsafe { frames.dealloc_pages(page, 1) }, Ok(()));
        frames.drain_all();
        Self {
            frames,
            before: frames.buddyinfo(),
        }
    }

    fn free(&self, addr: usize, count: usize) -> AllocResult {
        // SAFETY: the checks own what they free and do not use it afterwards, or free what the
        // allocator must refuse.
        unsafe { self.frames.dealloc_pages(addr, count) }
    }

    /// The bytes of `count` allocated pages, through which the checks see that blocks are apart.
    fn fill(&self, addr: usize, count: usize, byte: u8) {
        let start = core::ptr::with_exposed_provenance_mut::<u8>(addr);
        for page in 0..count {
            let page = start.wrapping_add(page * PAGE_SIZE);
            // SAFETY: inside the block, which the check owns.
            unsafe { page.write_bytes(byte, 64) };
        }
    }

    fn holds(&self, addr: usize, count: usize, byte: u8) -> bool {
        let start = core::ptr::with_exposed_provenance::<u8>(addr);
        (0..count).all(|page| {
            let page = start.wrapping_add(page * PAGE_SIZE);
            // SAFETY: inside the block, which the check owns and has filled.
            let bytes = unsafe { core::slice::from_raw_parts(page, 64) };
            bytes.iter().all(|found| *found == byte)
        })
    }

    /// Everything is consistent and as it was, the largest blocks included.
    fn finish(self) {
        self.frames.drain_all();
        if let Err(violation) = self.frames.validate() {
            panic!("inconsistent afterwards: {violation}");
        }
        assert_eq!(self.frames.buddyinfo(), self.before, "not all came back");
    }
}
