//! Memory for devices that cannot address all of it.

use alloc::vec::Vec;

use twinframe::Platform;
use twinframe_boot::memmap::Class;

use crate::harness::{Outcome, kernel_tests};
use crate::memory::{self, HEAP};
use crate::platform::Machine;
use crate::suites::chain::Chain;
use crate::suites::free_pages;

const FOUR_GIB: u64 = 1 << 32;

/// Whether there is memory above 4 GiB at all.
fn has_high_memory() -> bool {
    memory::map()
        .regions(Class::Usable)
        .any(|region| region.start() >= FOUR_GIB)
}

kernel_tests! { "low_memory", Test:
    /// Low allocations lie below 4 GiB to the last byte, by the page tables; ordinary ones leave
    /// that memory alone while there is other.
    fn low_is_low_and_ordinary_is_high() on [mem6g, mem4t, pc6g, epyc] {
        if !has_high_memory() {
            return Outcome::Skip("no memory above 4 GiB");
        }
        let mut blocks = Vec::new();
        for count in [1, 2, 8, 64, 512, 4096] {
            let low = HEAP.alloc_pages_lowmem(count, 4096).expect("low memory");
            let last = Machine::virt_to_phys(low + count * 4096 - 1);
            assert!(last < FOUR_GIB, "{count} low pages end at {last:#x}");
            let ordinary = HEAP.alloc_pages(count, 4096).expect("memory");
            let first = Machine::virt_to_phys(ordinary);
            assert!(first >= FOUR_GIB, "{count} ordinary pages at {first:#x}");
            blocks.push((low, count));
            blocks.push((ordinary, count));
        }
        for (address, count) in blocks {
            free_pages(address, count).expect("allocated above");
        }
    }

    /// Where all memory is low, low allocations are ordinary ones.
    fn works_without_high_memory() on [smp1, mem64m, microvm] {
        let address = HEAP.alloc_pages_lowmem(4, 4096).expect("low memory");
        assert!(Machine::virt_to_phys(address + 4 * 4096 - 1) < FOUR_GIB);
        free_pages(address, 4).expect("allocated above");
    }

    /// Ordinary allocations that take all they can get leave a reserve for low ones.
    fn a_reserve_is_left_for_low_allocations() on [mem6g] {
        if !has_high_memory() {
            return Outcome::Skip("no memory above 4 GiB");
        }
        let mut taken = Chain::new();
        for order in (0..=twinframe::MAX_ORDER).rev() {
            while let Ok(address) = HEAP.alloc_pages(1 << order, 4096) {
                // SAFETY: a fresh block of that many pages.
                unsafe { taken.push(address as *mut u8, 4096 << order) };
            }
        }
        let low = HEAP.alloc_pages_lowmem(1, 4096);
        taken.give_back();
        let low = low.expect("a page of the reserve");
        assert!(Machine::virt_to_phys(low) < FOUR_GIB);
        free_pages(low, 1).expect("allocated above");
    }
}
