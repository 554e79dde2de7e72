//! `virt_to_phys`: arithmetic inside the direct map, page tables outside it, one answer.

use alloc::boxed::Box;

use twinframe::Platform;
use twinframe_boot::memmap::Class;
use twinframe_boot::pvh;

use crate::arch::{image, stack, translate};
use crate::harness::kernel_tests;
use crate::memory::{self, HEAP};
use crate::platform::Machine;
use crate::suites::free_pages;

/// Both ways to the physical address, which must agree.
fn both(virt: usize) -> u64 {
    let arithmetic = Machine::virt_to_phys(virt);
    let walked = translate::walk(virt as u64).map(|mapping| mapping.phys);
    assert_eq!(Some(arithmetic), walked, "{virt:#x}");
    arithmetic
}

kernel_tests! { "virt_to_phys", Test:
    /// At both ends of every usable region and, from a seed, in between.
    fn direct_map_agrees_with_page_tables() on [smp1, mem6g, pc6g, microvm, cpumax, epyc] {
        let mut random = crate::random();
        for region in memory::map().regions(Class::Usable) {
            let inside = (0..64).map(|_| random.u64(region.start()..=region.last()));
            for phys in [region.start(), region.last()].into_iter().chain(inside) {
                let virt = Machine::phys_to_virt(phys);
                assert_eq!(both(virt), phys);
            }
        }
    }

    /// The kernel image is outside the direct map: only the page tables know.
    fn kernel_image() on [smp1, mem6g] {
        for virt in image::constants().chain(image::text()).chain(image::data()).step_by(4096) {
            let virt = usize::try_from(virt).expect("64 bits");
            let phys = both(virt);
            // Our own entry loads the image in one piece; another loader need not.
            if pvh::facts().is_some() {
                assert_eq!(phys, virt as u64 - image::BASE, "{virt:#x}");
            }
        }
    }

    /// So is the stack.
    fn stack_memory() on [smp1, microvm] {
        let here = 0_u8;
        both((&raw const here).addr());
        for virt in stack::bounds().step_by(4096) {
            both(usize::try_from(virt).expect("64 bits"));
        }
    }

    /// A write through one view is seen through the other.
    fn two_views_of_one_byte() on [smp1, mem6g] {
        let mut boxed = Box::new(0x5a_u8);
        let phys = both((&raw const *boxed).addr());
        let alias = Machine::phys_to_virt(phys) as *mut u8;
        // SAFETY: the same byte, which `boxed` owns; no reference to it is live during the write.
        unsafe { alias.write_volatile(0xa5) };
        assert_eq!(core::hint::black_box(&mut boxed).as_ref(), &0xa5);
    }

    /// Whole blocks are contiguous in physical memory, and aligned there to their size.
    fn blocks_are_physically_contiguous() on [smp1, mem6g] {
        for order in 0..=9 {
            let count = 1_usize << order;
            let address = HEAP.alloc_pages(count, 4096).expect("a block");
            let first = both(address);
            assert!(first.is_multiple_of(count as u64 * 4096), "order {order}");
            for page in 0..count {
                assert_eq!(both(address + page * 4096), first + page as u64 * 4096);
            }
            free_pages(address, count).expect("allocated above");
        }
    }

    /// What is not mapped has no physical address.
    fn unmapped_addresses_have_none() on [smp1] {
        assert_eq!(translate::virt_to_phys(0x10), None, "null and its neighbours");
        assert_eq!(translate::walk(stack::guard(&stack::bounds()).start), None);
        assert_eq!(translate::walk(0x0000_8000_0000_0000), None, "not canonical");
        assert_eq!(translate::walk(u64::MAX), None);
    }
}
