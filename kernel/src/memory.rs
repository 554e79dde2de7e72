//! From the firmware's memory map to a heap.

use bootloader_api::BootInfo;
use bootloader_api::info::MemoryRegionKind;
use core::ops::Range;
use core::slice;
use spin::Once;
use spin::mutex::{SpinMutex, SpinMutexGuard};
use twinframe::{AllocError, GlobalAllocator, Platform};
use twinframe_boot::PAGE_SIZE;
use twinframe_boot::memmap::{self, Class, MemoryMap, Region, Reservation, TypeName};

use crate::arch::cpu::{self, Exit};
use crate::arch::{percpu, space, trampoline, translate};
use crate::console::println;
use crate::events::{self, Event, Hex, Text};
use crate::platform::Machine;
use crate::{firmware, nodes};

/// The heap of the kernel: `Box` and friends, and pages for whoever asks.
#[global_allocator]
pub(crate) static HEAP: GlobalAllocator<Machine> = GlobalAllocator::new();

/// Where application processors will start: next to frame 0, so that it splits no region.
const TRAMPOLINE: Range<u64> = trampoline::ADDRESS..trampoline::ADDRESS + PAGE_SIZE;

static MAP: Once<MemoryMap<'static>> = Once::new();
static RESERVATIONS: SpinMutex<[Reservation; 2]> = SpinMutex::new([
    Reservation::FRAME_ZERO,
    Reservation {
        start: TRAMPOLINE.start,
        end: TRAMPOLINE.end,
        owner: "trampoline",
    },
]);

/// The firmware's memory map, in order.
pub(crate) fn map() -> MemoryMap<'static> {
    *MAP.get().expect("memory is initialised first")
}

/// Tells address translation where the loader has mapped physical memory, and how much of it.
pub(crate) fn announce_direct_map(info: &BootInfo) {
    // Every loader maps 4 GiB, and further up to the end of the last usable entry.
    const ALWAYS: u64 = 1 << 32;
    let Some(offset) = info.physical_memory_offset.into_option() else {
        // Without it there is no way to report, or to go on.
        cpu::exit(Exit::Failure);
    };
    let end = info
        .memory_regions
        .iter()
        .filter(|entry| entry.kind == MemoryRegionKind::Usable && entry.start < entry.end)
        .map(|entry| entry.end)
        .max()
        .unwrap_or(0);
    // SAFETY: as the loader promises.
    unsafe { translate::set_direct_map(offset, end.max(ALWAYS)) };
}

/// Brings the memory map into order, gives every usable region to the heap, and shows what became
/// of it all.
pub(crate) fn init(info: &'static mut BootInfo) {
    let root = info.rsdp_addr.into_option();
    let firmware: &'static mut [_] = &mut info.memory_regions;
    let map = MAP.call_once(|| {
        let reservations = SpinMutexGuard::leak(RESERVATIONS.lock());
        memmap::normalise(firmware, reservations)
    });

    println!("{}", map.report(Class::Usable));
    for row in map.report(Class::Usable).rows() {
        events::emit(&Event::Region {
            start: Hex(row.entry.start),
            end: Hex(row.entry.end),
            kind: Text(format_args!("{}", TypeName(row.entry.kind))),
            verdict: row.verdict.name(),
            managed: row.managed,
            lost: row.lost,
        });
    }
    if let Some(affinities) = firmware::affinities(root) {
        nodes::init(&affinities);
    }
    for region in map.regions(Class::Usable) {
        nodes::split(region, add);
    }
    show();
}

/// Hands the memory of the ACPI tables to the heap, once they have been read.
pub(crate) fn add_reclaimable() {
    for region in map().regions(Class::Reclaimable) {
        nodes::split(region, add);
    }
}

/// Hands one region, which lies on one node, to the heap.
fn add(region: Region, node: usize) {
    let (start, bytes) = (region.start(), region.bytes());
    let before = HEAP.managed_bytes() as u64;
    let address = Machine::phys_to_virt(start) as *mut u8;
    let length = usize::try_from(bytes).expect("a 64-bit machine");
    // SAFETY: the region is usable memory that nothing else claims, and the direct map covers it.
    let memory = unsafe { slice::from_raw_parts_mut(address, length) };
    let added = if HEAP.managed_section_count() == 0 {
        // SAFETY: the heap is the only one to get this memory, and it stays mapped for good.
        unsafe { HEAP.init(memory) }
    } else {
        // SAFETY: likewise.
        unsafe { HEAP.add_region(memory) }
    };
    match added {
        Ok(()) => {
            let managed = HEAP.managed_bytes() as u64 - before;
            println!(
                "hot-added {start:#x}..={:#x}: {} pages, {} of them metadata, node {node}",
                region.last(),
                bytes / PAGE_SIZE,
                (bytes - managed) / PAGE_SIZE
            );
        }
        Err(AllocError::InvalidParam) => {
            println!(
                "left out {start:#x}..={:#x}: too small to manage",
                region.last()
            );
        }
        Err(error) => panic!("region {start:#x}..={:#x}: {error}", region.last()),
    }
}

/// Whether the page where application processors start is memory that the firmware leaves to us.
pub(crate) fn has_trampoline() -> bool {
    map().offers(TRAMPOLINE.start)
}

/// Totals, by zone.
fn show() {
    let usable: u64 = map().regions(Class::Usable).map(Region::bytes).sum();
    let managed = HEAP.managed_bytes() as u64;
    println!(
        "heap: {managed} of {usable} usable bytes in {} sections",
        HEAP.managed_section_count()
    );
    for info in (0..HEAP.node_count()).filter_map(|node| HEAP.node_buddyinfo(node)) {
        println!("{info}");
    }
    for zone in HEAP.buddyinfo().zones() {
        events::emit(&Event::Zone {
            zone: zone.zone.name(),
            managed: zone.managed_pages as u64 * PAGE_SIZE,
            free: zone.free_pages as u64 * PAGE_SIZE,
        });
    }
}

/// What is free and what is in use: pages by zone, objects by class, and these by CPU.
pub(crate) fn show_use() {
    println!("{}", HEAP.buddyinfo());
    println!("{}", HEAP.slabinfo());
    for info in (0..percpu::MAX_CPUS).filter_map(|cpu| HEAP.slabinfo_of_cpu(cpu)) {
        println!("{info}");
    }
}

/// What the firmware says that a physical address is; `None` if it lists nothing there.
pub(crate) fn kind_of(phys: u64) -> Option<TypeName> {
    let map = MAP.get()?;
    let mut entries = map.firmware().iter();
    let entry = entries.find(|entry| (entry.start..entry.end).contains(&phys))?;
    Some(TypeName(entry.kind))
}

/// Pages that are not free, once every cache has been emptied. Page tables do not count: they stay.
pub(crate) fn pages_out() -> usize {
    HEAP.drain();
    HEAP.allocated_bytes() / 4096 - space::table_pages()
}

/// Checks every invariant of the heap, unless that would take long on this much memory.
pub(crate) fn check_if_small() {
    const SMALL: usize = 1 << 30;
    if HEAP.managed_bytes() <= SMALL {
        check();
    }
}

/// Checks every invariant of the heap.
pub(crate) fn check() {
    if let Err(violation) = HEAP.validate() {
        panic!("the heap is inconsistent: {violation}");
    }
}
