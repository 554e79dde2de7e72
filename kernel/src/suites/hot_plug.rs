//! Sections that leave and come back while every CPU allocates.

use core::sync::atomic::{AtomicBool, Ordering};

use twinframe::{AllocError, ManagedSection};

use crate::arch::{percpu, work};
use crate::harness::{Outcome, kernel_tests};
use crate::memory::HEAP;
use crate::suites::free_pages;

/// Takes and frees pages until told to stop.
fn churn(id: usize, stop: &AtomicBool) {
    let mut random = crate::random();
    random.seed(id as u64);
    while !stop.load(Ordering::Relaxed) {
        let count = 1 << random.u32(0..5);
        if let Ok(block) = HEAP.alloc_pages(count, 4096) {
            // SAFETY: freshly allocated.
            unsafe { (block as *mut u8).write_bytes(0x5a, 64) };
            free_pages(block, count).expect("allocated above");
        }
    }
}

/// Why a machine has no section that can leave.
const NO_ROOM: Outcome =
    Outcome::Skip("so little memory that every section has some of the heap's own state");

/// A section that holds none of the heap's own state: the second, for most of that lies in the first that was
/// added. The state of CPUs is made where there is memory, so where there is little it may be in any, for good.
fn removable() -> Option<ManagedSection> {
    HEAP.drain();
    let section = HEAP.managed_section(1).expect("two sections");
    (section.free_pages == section.total_pages).then_some(section)
}

/// Removes the section that `address` is in and adds it again; false if pages of it stayed out.
fn cycle(address: usize) -> bool {
    let managed = HEAP.managed_bytes();
    let sections = HEAP.managed_section_count();
    let range = match HEAP.remove_section(address) {
        Ok(range) => range,
        Err(AllocError::Busy(pages)) => {
            assert_ne!(pages, 0);
            return false;
        }
        Err(error) => panic!("{error}"),
    };
    assert_eq!(HEAP.managed_section_count(), sections - 1);
    assert!(HEAP.managed_bytes() < managed);
    assert_eq!(
        free_pages(address, 1),
        Err(AllocError::NotFound),
        "nobody knows it any more"
    );
    let memory = core::ptr::with_exposed_provenance_mut(range.start);
    // SAFETY: the range was the heap's, and is ours since it was removed.
    let memory = unsafe { core::slice::from_raw_parts_mut(memory, range.len()) };
    // SAFETY: it goes back to the heap for good.
    let added = unsafe { HEAP.add_region(memory) };
    added.expect("it was managed before");
    assert_eq!(HEAP.managed_section_count(), sections);
    assert_eq!(HEAP.managed_bytes(), managed);
    true
}

kernel_tests! { "hot_plug", Test:
    /// A section with a page out is busy, and says how many; with none it goes, and comes back.
    fn a_section_leaves_when_it_is_free() on [smp1, mem6g, microvm] {
        let Some(section) = removable() else {
            return NO_ROOM;
        };
        let page = HEAP
            .frames()
            .alloc_pages_at(section.start, 1, 0)
            .expect("the first page of a section that nobody uses");
        assert_eq!(
            HEAP.remove_section(page),
            Err(AllocError::Busy(1))
        );
        free_pages(page, 1).expect("allocated above");
        assert!(cycle(section.start));
    }

    /// The same while every other CPU takes and frees pages of any section.
    fn a_section_leaves_under_load() on [smp2, smp4, smp8] {
        // Each removal waits several times for every CPU, and an emulated one may wait its turn.
        let cycles = match percpu::online() {
            ..=4 => 20,
            5..=8 => 5,
            _ => 1,
        };
        // Hardly an attempt fails, and each takes its time.
        let attempts = 100 * cycles;
        let stop = AtomicBool::new(false);
        // A CPU's first call sets its own state up, for good; that must not show in the sums below.
        work::on_all(&|_| {
            let page = HEAP.alloc_pages(1, 4096).expect("a page");
            free_pages(page, 1).expect("allocated above");
        });
        let Some(section) = removable() else {
            return NO_ROOM;
        };
        let boot = percpu::id();
        work::on_all(&|id| {
            if id != boot {
                return churn(id, &stop);
            }
            let mut done = 0;
            for _ in 0..attempts {
                done += usize::from(cycle(section.start));
                if done == cycles {
                    break;
                }
            }
            stop.store(true, Ordering::Relaxed);
            assert_eq!(done, cycles, "removals in {attempts} attempts: the others found pages of it out");
        });
    }
}
