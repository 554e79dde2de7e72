//! From the firmware's map to managed sections: nothing taken that is not ours, nothing lost.

use bootloader_api::info::MemoryRegionKind;
use twinframe::Platform;
use twinframe_boot::memmap::Class;
use twinframe_boot::{PAGE_SIZE, memmap};

use crate::arch::{image, percpu, stack, translate};
use crate::console::println;
use crate::events::{self, Event};
use crate::harness::{Outcome, kernel_tests};
use crate::memory::{self, HEAP};
use crate::platform::Machine;

/// Physical first and last byte of every managed section.
fn sections() -> impl Iterator<Item = (u64, u64)> {
    (0..HEAP.managed_section_count()).map(|index| {
        let section = HEAP.managed_section(index).expect("below the count");
        let first = Machine::virt_to_phys(section.start);
        (first, first + section.size as u64 - 1)
    })
}

/// Regions that the heap was given: usable ones, and the ACPI tables' once they had been read.
fn ours() -> impl Iterator<Item = memmap::Region> {
    [Class::Usable, Class::Reclaimable]
        .into_iter()
        .flat_map(|class| memory::map().regions(class))
}

/// The most pages that the heap has for the state of a CPU, and for what the CPUs of a node share.
const PAGES_OF_A_CPU: usize = 5;
const PAGES_SHARED: usize = 20;

/// The most pages that the heap has for all CPUs.
fn pages_of_cpus() -> usize {
    let on = |node| {
        percpu::all()
            .filter(move |cpu| percpu::node_of(cpu.id()) == node)
            .count()
    };
    let sharing = (0..HEAP.node_count()).filter(|node| on(*node) > 1).count();
    PAGES_OF_A_CPU * percpu::online() + PAGES_SHARED * sharing
}

kernel_tests! { "memory_map", Test:
    /// Every section lies inside one usable region.
    fn sections_lie_in_usable_regions() on [smp1, mem64m, mem6g, pc, pc6g, microvm, cpumax, epyc] {
        for (first, last) in sections() {
            assert!(
                ours().any(|region| region.start() <= first && last <= region.last()),
                "{first:#x}..={last:#x}"
            );
        }
    }

    /// Every usable region is managed, but for metadata and what is too small to manage.
    fn usable_regions_are_managed() on [smp1, mem64m, mem6g, mem4t, pc, pc6g, microvm, cpumax, epyc] {
        let usable: u64 = ours().map(memmap::Region::bytes).sum();
        let managed = HEAP.managed_bytes() as u64;
        assert!(managed <= usable);
        // 0.2 % for metadata, two pages a region for rounding, and what the CPUs need.
        let pages = 2 * (sections().count() + 1) + pages_of_cpus();
        let allowed = usable / 500 + PAGE_SIZE * pages as u64;
        assert!(usable - managed <= allowed, "{managed} of {usable} bytes are managed");
    }

    /// At least 99.5 % of the memory that the loader, the kernel, and the state of CPUs but the first leave can be
    /// allocated. Says how much that is of all that the firmware calls usable.
    fn most_memory_can_be_allocated() on [smp1, mem64m, mem128m, mem6g, mem4t, pc64m] {
        let bytes = |kind| -> u64 {
            let entries = memory::map().firmware().iter();
            let of_kind = entries.filter(|entry| entry.kind == kind && entry.start < entry.end);
            of_kind.map(|entry| entry.end - entry.start).sum()
        };
        // The kernel itself is among what the loader took.
        let taken = bytes(MemoryRegionKind::Bootloader);
        let left = bytes(MemoryRegionKind::Usable);
        let managed = HEAP.managed_bytes() as u64;
        let parts = |of: u64| u128::from(managed) * 10_000 / u128::from(of);
        println!(
            "{managed} bytes can be allocated: {} of 10,000 parts of what the firmware calls usable, {} of what the \
             loader and the kernel leave of that",
            parts(left + taken),
            parts(left)
        );
        events::emit(&Event::Stat {
            name: "memory.allocatable",
            value: u64::try_from(parts(left + taken)).unwrap_or(0),
            unit: "of 10,000 parts",
        });
        let of_others = PAGE_SIZE * (pages_of_cpus() - PAGES_OF_A_CPU) as u64;
        assert!(parts(left - of_others) >= 9_950, "{managed} of {left} bytes");
    }

    /// Regions come sorted and apart.
    fn regions_are_sorted_and_disjoint() on [smp1, mem6g, microvm, epyc] {
        let mut end = 0;
        for region in memory::map().regions(Class::Usable) {
            assert!(region.start() >= end && region.start() < region.last());
            end = region.last() + 1;
        }
        assert_ne!(end, 0, "there is usable memory");
    }

    /// Frame 0, the image, the stack and the page tables stay out of the allocator's hands.
    fn kernel_memory_is_kept_out() on [smp1, mem64m, mem6g, microvm] {
        let taken = |phys: u64| sections().any(|(first, last)| (first..=last).contains(&phys));
        assert!(!taken(0));
        let image = image::constants().chain(image::text()).chain(image::data());
        for virt in image.chain(stack::bounds()).step_by(4096) {
            let phys = translate::walk(virt).expect("mapped").phys;
            assert!(!taken(phys), "{virt:#x} at {phys:#x}");
        }
        assert!(!taken(translate::root()), "the top-level page table");
    }

    /// A range that is managed already is refused.
    fn overlap_is_refused() on [smp1] {
        let before = HEAP.managed_bytes();
        let section = HEAP.managed_section(0).expect("a section");
        let address = section.start as *mut u8;
        // SAFETY: the range is mapped, and nothing reads or writes through this slice: the call below
        // refuses it first, which is what is tested.
        let memory = unsafe { core::slice::from_raw_parts_mut(address, section.size) };
        // SAFETY: as above.
        let twice = unsafe { HEAP.add_region(memory) };
        assert_eq!(twice, Err(twinframe::AllocError::MemoryOverlap));
        assert_eq!(HEAP.managed_bytes(), before);
    }

    /// A reserved range far above other memory (AMD's below 1 TiB) does not make the machine large, and belongs to
    /// no section of memory around it.
    fn reserved_ranges_count_for_nothing() on [epyc, mem6g, mem4t] {
        let entries = || memory::map().firmware().iter();
        if entries().map(|entry| entry.end).max() < Some(1 << 40) {
            return Outcome::Skip("this firmware lists no reserved range at 1 TiB");
        }
        let usable = entries().filter(|entry| entry.kind == MemoryRegionKind::Usable);
        let end = usable.map(|entry| entry.end).max().expect("usable memory");
        let highest = sections().map(|(_, last)| last).max().expect("a section");
        assert!(highest < end, "{highest:#x} is managed, and usable memory ends at {end:#x}");
        for entry in entries().filter(|entry| Class::of(entry.kind) == Class::Reserved) {
            let overlaps = |(first, last)| first < entry.end && entry.start <= last;
            assert!(!sections().any(overlaps), "{:#x}..{:#x} is reserved", entry.start, entry.end);
        }
    }
}
