//! Kernel virtual memory outside the direct map: page by page, with holes where a fault should be.

use core::ops::Range;
use core::sync::atomic::{AtomicUsize, Ordering};

use spin::mutex::SpinMutex;
use twinframe::{AllocError, AllocResult};
use twinframe_boot::PAGE_SIZE;
use x86_64::VirtAddr;
use x86_64::instructions::interrupts::without_interrupts;
use x86_64::registers::control::Cr3;
use x86_64::structures::paging::{
    FrameAllocator, Mapper, OffsetPageTable, Page, PageTable, PageTableFlags, PhysFrame, Size4KiB,
};

use super::{shootdown, translate};
use crate::memory::HEAP;

/// Bytes under one entry of the top-level table, which is what this area takes.
const AREA: u64 = 1 << 39;

/// The next unused address of the area; 0 until the area is chosen. Addresses are not used twice, so
/// a stale pointer into a freed mapping faults for good.
static NEXT: SpinMutex<u64> = SpinMutex::new(0);

static TABLES: AtomicUsize = AtomicUsize::new(0);

/// Pages mapped at consecutive addresses, above an unmapped one.
#[derive(Debug)]
pub(crate) struct Mapped {
    start: u64,
    pages: u64,
}

/// Frames for page tables.
struct Frames;

// SAFETY: the heap hands out each page once.
unsafe impl FrameAllocator<Size4KiB> for Frames {
    fn allocate_frame(&mut self) -> Option<PhysFrame> {
        let frame = fresh_frame()?;
        TABLES.fetch_add(1, Ordering::Relaxed);
        Some(frame)
    }
}

fn fresh_frame() -> Option<PhysFrame> {
    let page = HEAP.alloc_pages(1, 4096).ok()?;
    let phys = translate::virt_to_phys(page)?;
    PhysFrame::from_start_address(x86_64::PhysAddr::new(phys)).ok()
}

/// Pages that page tables of this area take. They stay when what they mapped is gone.
pub(crate) fn table_pages() -> usize {
    TABLES.load(Ordering::Relaxed)
}

/// The active page tables.
///
/// # Safety
///
/// The caller holds the lock of this module: nothing else changes page tables.
unsafe fn tables() -> OffsetPageTable<'static> {
    let offset = VirtAddr::new(translate::phys_to_virt(0) as u64);
    let root = translate::phys_to_virt(translate::root()) as *mut PageTable;
    // SAFETY: the active top-level table, in the direct map, ours alone by the caller's promise.
    let root = unsafe { &mut *root };
    // SAFETY: all tables lie in the direct map.
    unsafe { OffsetPageTable::new(root, offset) }
}

/// A top-level entry of the upper half that nothing uses.
fn choose(root: &PageTable) -> Option<u64> {
    (257..511_u16)
        .find(|&index| root[usize::from(index)].is_unused())
        .map(|index| 0xffff_0000_0000_0000 | u64::from(index) << 39)
}

/// Runs `body` with the page tables and the next free address, alone.
fn with_tables<R>(body: impl FnOnce(&mut OffsetPageTable<'_>, &mut u64) -> R) -> R {
    without_interrupts(|| {
        let mut next = NEXT.lock();
        // SAFETY: the lock is held.
        let mut tables = unsafe { tables() };
        if *next == 0 {
            *next = choose(tables.level_4_table()).unwrap_or(0);
        }
        body(&mut tables, &mut next)
    })
}

/// Addresses for `pages` pages above an unmapped one. They are nobody else's from now on.
fn reserve(pages: u64) -> AllocResult<u64> {
    with_tables(|_, next| {
        let start = *next + PAGE_SIZE;
        let end = start + pages * PAGE_SIZE;
        if *next == 0 || end & (AREA - 1) == 0 || (end ^ *next) & !(AREA - 1) != 0 {
            return Err(AllocError::NoMemory);
        }
        *next = end;
        Ok(start)
    })
}

/// Maps `pages` pages of a device's registers, from the page-aligned physical address `phys` on, for
/// good. Reads and writes reach the device one by one: nothing is cached.
///
/// # Safety
///
/// There is no RAM at these addresses, which the direct map would have mapped as cached.
pub(crate) unsafe fn map_device(phys: u64, pages: u64) -> AllocResult<u64> {
    let flags = PageTableFlags::PRESENT
        | PageTableFlags::WRITABLE
        | PageTableFlags::NO_EXECUTE
        | PageTableFlags::NO_CACHE
        | PageTableFlags::WRITE_THROUGH;
    let start = reserve(pages)?;
    for offset in (0..pages * PAGE_SIZE).step_by(4096) {
        let page = Page::<Size4KiB>::containing_address(VirtAddr::new(start + offset));
        let frame = PhysFrame::containing_address(x86_64::PhysAddr::new(phys + offset));
        let mapped = with_tables(|tables, _| {
            // SAFETY: fresh addresses; what is there is the caller's promise.
            unsafe { tables.map_to(page, frame, flags, &mut Frames) }
        });
        mapped.map_err(|_| AllocError::NoMemory)?.flush();
    }
    Ok(start)
}

impl Mapped {
    /// Maps `pages` fresh pages, writable and not executable. The page below the first is left
    /// unmapped.
    pub(crate) fn new(pages: u64) -> AllocResult<Self> {
        let start = reserve(pages)?;
        // Dropped on failure, which unmaps the pages that were mapped.
        let mut mapped = Self { start, pages: 0 };
        for _ in 0..pages {
            let frame = fresh_frame().ok_or(AllocError::NoMemory)?;
            mapped.push(frame)?;
        }
        Ok(mapped)
    }

    fn push(&mut self, frame: PhysFrame) -> AllocResult {
        let page = Page::<Size4KiB>::containing_address(VirtAddr::new(
            self.start + self.pages * PAGE_SIZE,
        ));
        let flags = PageTableFlags::PRESENT | PageTableFlags::WRITABLE | PageTableFlags::NO_EXECUTE;
        let mapped = with_tables(|tables, _| {
            // SAFETY: a fresh frame, at an address that was never used.
            unsafe { tables.map_to(page, frame, flags, &mut Frames) }
        });
        match mapped {
            Ok(flush) => flush.flush(),
            Err(_) => {
                give_back(frame);
                return Err(AllocError::NoMemory);
            }
        }
        self.pages += 1;
        Ok(())
    }

    /// The mapped addresses.
    pub(crate) fn range(&self) -> Range<u64> {
        self.start..self.start + self.pages * PAGE_SIZE
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        for address in self.range().step_by(4096) {
            let page = Page::<Size4KiB>::containing_address(VirtAddr::new(address));
            let unmapped = with_tables(|tables, _| tables.unmap(page));
            let Ok((frame, flush)) = unmapped else {
                continue;
            };
            flush.flush();
            // No CPU may still reach the frame by this address when it goes to its next owner.
            shootdown::flush_everywhere();
            give_back(frame);
        }
    }
}

fn give_back(frame: PhysFrame) {
    let address = translate::phys_to_virt(frame.start_address().as_u64());
    // SAFETY: its only mapping is gone, on all CPUs.
    let freed = unsafe { HEAP.dealloc_pages(address, 1) };
    if let Err(error) = freed {
        log::error!("frame {frame:?} was not the heap's: {error}");
    }
}

/// Drops this CPU's translations, all of them.
pub(super) fn flush_own() {
    let (frame, flags) = Cr3::read();
    // SAFETY: the same page tables as before.
    unsafe { Cr3::write(frame, flags) };
}
