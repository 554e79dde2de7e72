//! The page tables that the kernel starts with.

use core::ops::Range;

use x86_64::structures::paging::mapper::MapToError;
use x86_64::structures::paging::{
    FrameAllocator, Mapper, OffsetPageTable, Page, PageSize, PageTable, PageTableFlags, PhysFrame,
    Size1GiB, Size2MiB, Size4KiB,
};
use x86_64::{PhysAddr, VirtAddr};

use crate::PAGE_SIZE;

/// Hands out the frames of one window, lowest first.
pub(super) struct Bump {
    window: Range<u64>,
    next: u64,
}

impl Bump {
    /// `window` is page-aligned.
    pub(super) fn new(window: Range<u64>) -> Self {
        Self {
            next: window.start,
            window,
        }
    }

    /// `bytes` rounded up to pages, or `None` when the window is used up.
    pub(super) fn take(&mut self, bytes: u64) -> Option<Range<u64>> {
        let start = self.next;
        let end = start.checked_add(bytes.checked_next_multiple_of(PAGE_SIZE)?)?;
        if end > self.window.end {
            return None;
        }
        self.next = end;
        Some(start..end)
    }

    /// Everything handed out so far.
    pub(super) fn used(&self) -> Range<u64> {
        self.window.start..self.next
    }
}

// SAFETY: every frame is handed out once, from a window that nothing else uses.
unsafe impl FrameAllocator<Size4KiB> for Bump {
    fn allocate_frame(&mut self) -> Option<PhysFrame<Size4KiB>> {
        let frame = self.take(PAGE_SIZE)?;
        PhysFrame::from_start_address(PhysAddr::new(frame.start)).ok()
    }
}

/// An address space under construction, reached through the identity map of the boot tables.
pub(super) struct AddressSpace<'a> {
    tables: OffsetPageTable<'static>,
    root: PhysAddr,
    frames: &'a mut Bump,
    gib_pages: bool,
}

/// The window is too small for the page tables.
#[derive(Debug)]
pub(super) struct OutOfFrames;

impl<'a> AddressSpace<'a> {
    /// An empty address space.
    ///
    /// # Safety
    ///
    /// The frames of `frames` are unused memory, mapped one to one.
    pub(super) unsafe fn new(frames: &'a mut Bump, gib_pages: bool) -> Result<Self, OutOfFrames> {
        let root = frames.take(PAGE_SIZE).ok_or(OutOfFrames)?.start;
        let table = root as *mut PageTable;
        // Zeroed in place: a table passed by value would be copied over the small boot stack.
        // SAFETY: the frame is unused and mapped one to one, as the caller guarantees.
        unsafe { table.write_bytes(0, 1) };
        // SAFETY: all zeroes is an empty table, reachable only through this reference.
        let level_4 = unsafe { &mut *table };
        // SAFETY: all tables are in frames that are mapped one to one.
        let tables = unsafe { OffsetPageTable::new(level_4, VirtAddr::zero()) };
        Ok(Self {
            tables,
            root: PhysAddr::new(root),
            frames,
            gib_pages,
        })
    }

    /// Physical address of the top-level table.
    pub(super) fn root(&self) -> PhysAddr {
        self.root
    }

    /// Maps `bytes` bytes at `virt` to `phys`, with the largest pages that fit.
    ///
    /// # Safety
    ///
    /// The mapping does not alias memory that something else owns by reference.
    pub(super) unsafe fn map(
        &mut self,
        virt: u64,
        phys: u64,
        bytes: u64,
        flags: PageTableFlags,
    ) -> Result<(), OutOfFrames> {
        let mut done = 0;
        while done < bytes {
            let (from, to, left) = (virt + done, phys + done, bytes - done);
            let fits = |size: u64| (from | to).is_multiple_of(size) && left >= size;
            if self.gib_pages && fits(Size1GiB::SIZE) {
                // SAFETY: the caller answers for the range.
                unsafe { self.map_one::<Size1GiB>(from, to, flags)? };
                done += Size1GiB::SIZE;
            } else if fits(Size2MiB::SIZE) {
                // SAFETY: the caller answers for the range.
                unsafe { self.map_one::<Size2MiB>(from, to, flags)? };
                done += Size2MiB::SIZE;
            } else {
                // SAFETY: the caller answers for the range.
                unsafe { self.map_one::<Size4KiB>(from, to, flags)? };
                done += Size4KiB::SIZE;
            }
        }
        Ok(())
    }

    /// # Safety
    ///
    /// As [`map`](Self::map).
    unsafe fn map_one<S: PageSize + core::fmt::Debug>(
        &mut self,
        virt: u64,
        phys: u64,
        flags: PageTableFlags,
    ) -> Result<(), OutOfFrames>
    where
        OffsetPageTable<'static>: Mapper<S>,
    {
        let page = Page::<S>::containing_address(VirtAddr::new(virt));
        let frame = PhysFrame::<S>::containing_address(PhysAddr::new(phys));
        // SAFETY: the caller answers for the page.
        let mapped = unsafe { self.tables.map_to(page, frame, flags, self.frames) };
        match mapped {
            // This address space is not active yet: there is nothing to flush.
            Ok(flush) => {
                flush.ignore();
                Ok(())
            }
            Err(MapToError::FrameAllocationFailed) => Err(OutOfFrames),
            Err(error) => unreachable!("the layout is free of overlaps: {error:?}"),
        }
    }
}

/// The most frames that page tables for `bytes` of direct map and the small mappings can need.
pub(super) const fn tables_bound(bytes: u64, small_pages: u64, gib_pages: bool) -> u64 {
    let level_2 = if gib_pages {
        1
    } else {
        bytes.div_ceil(1 << 30)
    };
    // One more of each than the size alone needs: a fixed address may lie across their borders.
    let level_3 = bytes.div_ceil(1 << 39) + 1;
    // The small mappings (image, stack, boot information): two paths of three tables each, for the
    // same reason.
    1 + level_3 + (level_2 + 1) + 3 * 2 * 3 + small_pages.div_ceil(512)
}
