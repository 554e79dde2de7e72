//! To the last page, and back.

use alloc::alloc::{alloc, dealloc};
use core::alloc::Layout;
use core::hint::black_box;

use twinframe::{AllocError, AllocResult};

use crate::events::{self, Event};
use crate::harness::kernel_tests;
use crate::memory::HEAP;
use crate::suites::chain::Chain;
use crate::suites::free_pages;

/// Takes every page there is, the largest blocks first.
pub(super) fn take_all_pages(chain: &mut Chain) {
    for order in (0..=twinframe::MAX_ORDER).rev() {
        let count = 1_usize << order;
        loop {
            match HEAP.alloc_pages(count, 4096) {
                // SAFETY: a fresh block of that many pages.
                Ok(address) => unsafe { chain.push(address as *mut u8, count * 4096) },
                Err(AllocError::NoMemory) => break,
                Err(other) => panic!("order {order}: {other}"),
            }
        }
    }
    // The reserve of the lower zones.
    while let Ok(address) = HEAP.alloc_pages_lowmem(1, 4096) {
        // SAFETY: a fresh page.
        unsafe { chain.push(address as *mut u8, 4096) };
    }
}

fn pages_left() -> usize {
    (HEAP.managed_bytes() - HEAP.allocated_bytes()) / 4096
}

/// Takes large blocks until at most `pages` pages are free, so that what follows ends in seconds on
/// any machine. Low memory goes first: what is left must not lie in its reserve.
fn leave(pages: usize, chain: &mut Chain) {
    let low = |count| HEAP.alloc_pages_lowmem(count, 4096);
    let any = |count| HEAP.alloc_pages(count, 4096);
    let kinds: [&dyn Fn(usize) -> AllocResult<usize>; 2] = [&low, &any];
    for allocate in kinds {
        for order in (0..=twinframe::MAX_ORDER).rev() {
            let count = 1 << order;
            while pages_left() >= pages + count
                && let Ok(address) = allocate(count)
            {
                // SAFETY: a fresh block of that many pages.
                unsafe { chain.push(address as *mut u8, count * 4096) };
            }
        }
    }
}

kernel_tests! { "out_of_memory", Test:
    /// Pages run out with `NoMemory`, objects with a null; everything comes back.
    fn pages_to_the_last_one() on [smp1, mem64m, mem6g, pc, microvm] {
        let free_before = HEAP.buddyinfo();
        let mut chain = Chain::new();
        take_all_pages(&mut chain);
        assert_eq!(HEAP.alloc_pages(1, 4096), Err(AllocError::NoMemory));
        let page = Layout::from_size_align(4096, 4096).expect("a layout");
        // Hidden from the optimiser, which may take an unused allocation for granted.
        // SAFETY: the layout has a size.
        assert!(black_box(unsafe { alloc(page) }).is_null());
        HEAP.validate().expect("consistent when full");
        events::emit(&Event::Stat {
            name: "out_of_memory.blocks",
            value: chain.len() as u64,
            unit: "blocks",
        });
        chain.give_back();
        HEAP.drain();
        assert_eq!(HEAP.buddyinfo(), free_before, "the largest blocks are whole again");
    }

    /// The same a page at a time.
    fn single_pages_to_the_last_one() on [smp1, mem64m] {
        let free_before = HEAP.buddyinfo();
        let mut chain = Chain::new();
        leave(25_000, &mut chain);
        while let Ok(address) = HEAP.alloc_pages(1, 4096) {
            // SAFETY: a fresh page.
            unsafe { chain.push(address as *mut u8, 4096) };
        }
        assert_eq!(HEAP.alloc_pages(1, 4096), Err(AllocError::NoMemory));
        let (last, size) = chain.pop().expect("a page");
        assert_eq!(size, 4096);
        free_pages(last.addr(), 1).expect("a page of the chain");
        let again = HEAP.alloc_pages(1, 4096).expect("the page just freed");
        // SAFETY: a fresh page.
        unsafe { chain.push(again as *mut u8, 4096) };
        chain.give_back();
        HEAP.drain();
        assert_eq!(HEAP.buddyinfo(), free_before, "the largest blocks are whole again");
    }

    /// The same with small objects, freed in the order of allocation reversed.
    fn objects_to_the_last_one() on [smp1, mem64m] {
        let layout = Layout::from_size_align(64, 8).expect("a layout");
        let mut pages = Chain::new();
        leave(5_000, &mut pages);
        let mut objects = Chain::new();
        loop {
            // SAFETY: the layout has a size.
            let object = unsafe { alloc(layout) };
            if object.is_null() {
                break;
            }
            // SAFETY: 64 fresh bytes.
            unsafe { objects.push(object, 64) };
            if objects.len().is_multiple_of(50_000) {
                events::emit(&Event::Progress {
                    name: "out_of_memory.objects",
                    done: objects.len() as u64,
                    total: 0,
                    load: None,
                });
            }
        }
        assert!(objects.len() > 10_000, "{} objects", objects.len());
        HEAP.validate().expect("consistent when full");
        while let Some((object, _)) = objects.pop() {
            // SAFETY: allocated above with this layout.
            unsafe { dealloc(object, layout) };
        }
        pages.give_back();
    }

    /// After running out, every kind of allocation works again.
    fn recovers() on [smp1] {
        for _ in 0..3 {
            let mut chain = Chain::new();
            take_all_pages(&mut chain);
            chain.give_back();
            let boxed = alloc::boxed::Box::new([7_u8; 1000]);
            assert!(boxed.iter().all(|&byte| byte == 7));
        }
    }
}
