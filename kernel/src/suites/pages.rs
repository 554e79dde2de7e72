//! The page allocator on real memory.

use alloc::vec::Vec;
use core::slice;

use twinframe::AllocError;

use crate::harness::kernel_tests;
use crate::memory::HEAP;
use crate::suites::{free_pages, largest_order, tag};

/// The bytes of a block of pages.
///
/// # Safety
///
/// The block is allocated and nothing else refers to it.
unsafe fn bytes<'a>(address: usize, count: usize) -> &'a mut [u8] {
    // SAFETY: as the caller promises.
    unsafe { slice::from_raw_parts_mut(address as *mut u8, count * 4096) }
}

kernel_tests! { "pages", Test:
    /// Every order up to 2 MiB comes aligned to its size and holds what is written to it.
    fn every_order() on [smp1, mem64m, mem6g, mem4t, microvm] {
        let mut blocks = Vec::new();
        for order in 0..=9_usize {
            let count = 1 << order;
            let address = HEAP.alloc_pages(count, 4096).expect("a block");
            assert!(address.is_multiple_of(count * 4096));
            // SAFETY: freshly allocated.
            unsafe { bytes(address, count) }.fill(tag(order));
            blocks.push((address, count, order));
        }
        for (address, count, order) in blocks {
            // SAFETY: still ours.
            let contents = unsafe { bytes(address, count) };
            assert!(contents.iter().all(|&byte| usize::from(byte) == order));
            free_pages(address, count).expect("allocated above");
        }
    }

    /// Alignment beyond the block's own size.
    fn large_alignments() on [smp1, mem64m] {
        // No further than little memory goes in one piece.
        for shift in 12..=12 + largest_order().min(10) {
            let align = 1_usize << shift;
            let address = HEAP.alloc_pages(1, align).expect("an aligned page");
            assert!(address.is_multiple_of(align));
            free_pages(address, 1).expect("allocated above");
        }
    }

    /// Parameters out of range are refused, and change nothing.
    fn bad_requests_are_refused() on [smp1] {
        let before = HEAP.allocated_bytes();
        assert_eq!(HEAP.alloc_pages(0, 4096), Err(AllocError::InvalidParam));
        assert_eq!(HEAP.alloc_pages(1, 4097), Err(AllocError::InvalidParam));
        assert_eq!(HEAP.alloc_pages(1, 2048), Err(AllocError::InvalidParam));
        assert_eq!(HEAP.alloc_pages(usize::MAX, 4096), Err(AllocError::InvalidParam));
        assert_eq!(
            HEAP.alloc_pages((1 << twinframe::MAX_ORDER) + 1, 4096),
            Err(AllocError::InvalidParam)
        );
        assert_eq!(HEAP.allocated_bytes(), before);
    }

    /// Frees that are not frees are refused in every build, and change nothing.
    fn bad_frees_are_refused() on [smp1, mem64m] {
        let address = HEAP.alloc_pages(4, 4096).expect("a block");
        let before = HEAP.allocated_bytes();
        assert_eq!(free_pages(address + 1, 4), Err(AllocError::InvalidParam));
        assert_eq!(free_pages(address + 4096, 1), Err(AllocError::NotAllocated));
        assert_eq!(free_pages(0x1000, 1), Err(AllocError::NotFound));
        assert_eq!(HEAP.allocated_bytes(), before);
        free_pages(address, 4).expect("allocated above");
        assert_eq!(free_pages(address, 4), Err(AllocError::NotAllocated));
        HEAP.validate().expect("still consistent");
    }

    /// Many blocks of random orders never overlap, and all of them come back.
    fn random_blocks_do_not_overlap() on [smp1, mem64m, mem6g] {
        let mut random = crate::random();
        let mut blocks: Vec<(usize, usize, u8)> = Vec::new();
        for round in 0..2_000 {
            if blocks.len() > 100 || (!blocks.is_empty() && random.bool()) {
                let (address, count, tag) = blocks.swap_remove(random.usize(..blocks.len()));
                // SAFETY: still ours.
                let contents = unsafe { bytes(address, count) };
                assert!(contents.iter().step_by(512).all(|&byte| byte == tag));
                free_pages(address, count).expect("allocated above");
            } else {
                let count = 1 << random.u32(0..6);
                let address = HEAP.alloc_pages(count, 4096).expect("a block");
                // SAFETY: freshly allocated.
                unsafe { bytes(address, count) }.fill(tag(round));
                blocks.push((address, count, tag(round)));
            }
        }
        for (address, count, _) in blocks {
            free_pages(address, count).expect("allocated above");
        }
    }
}
