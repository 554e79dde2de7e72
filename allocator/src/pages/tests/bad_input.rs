//! Whatever is wrong gets its error, and nothing changes.

use core::ptr::NonNull;
use std::string::{String, ToString};
use std::vec::Vec;

use super::{GIB, MIB, Memory, PAGE, allocator};
use crate::{AllocError, AllocResult, BuddyAllocator, PageFlags, PageRequest};

/// Everything that can be seen from outside.
fn snapshot(pages: &BuddyAllocator) -> (usize, usize, String, Vec<crate::ManagedSection>) {
    pages.validate().unwrap();
    let sections = (0..pages.section_count())
        .map(|i| pages.section(i).unwrap())
        .collect();
    let info = pages.buddyinfo().to_string();
    (pages.total_pages(), pages.free_pages(), info, sections)
}

fn refuses<T: core::fmt::Debug + PartialEq>(
    pages: &mut BuddyAllocator,
    error: AllocError,
    call: impl FnOnce(&mut BuddyAllocator) -> AllocResult<T>,
) {
    let before = snapshot(pages);
    assert_eq!(call(pages), Err(error));
    assert_eq!(snapshot(pages), before);
}

#[test]
fn frees() {
    use AllocError::{InvalidParam, NotAllocated, NotFound};
    let memory = Memory::new(64 * MIB);
    let mut pages = allocator(&memory, GIB);
    let block = pages.alloc_pages(8, 0).unwrap();
    let freed = pages.alloc_pages(1, 0).unwrap();
    let kept = pages.alloc_pages(1, 0).unwrap();
    pages.dealloc_pages(freed, 1).unwrap();
    let end = memory.addr() + 64 * MIB;
    let metadata = memory.addr();
    for (addr, count, error) in [
        (0, 1, NotFound),
        (usize::MAX, 1, NotFound),
        (metadata, 1, NotFound),
        (end, 1, NotFound),
        (block + 1, 8, InvalidParam),
        (block + PAGE - 1, 8, InvalidParam),
        (block, 0, InvalidParam),
        (block, 1, InvalidParam),
        (block, 4, InvalidParam),
        (block, 9, InvalidParam),
        (block, 16, InvalidParam),
        (block, usize::MAX, InvalidParam),
        (block + PAGE, 1, NotAllocated),
        (block + 4 * PAGE, 4, NotAllocated),
        (freed, 1, NotAllocated),
        (end - PAGE, 1, NotAllocated),
    ] {
        refuses(&mut pages, error, |pages| pages.dealloc_pages(addr, count));
    }
    pages.dealloc_pages(kept, 1).unwrap();
    pages.dealloc_pages(block, 5).unwrap();
    refuses(&mut pages, NotAllocated, |pages| {
        pages.dealloc_pages(block, 8)
    });
    refuses(&mut pages, NotAllocated, |pages| {
        pages.dealloc_pages(kept, 1)
    });
    super::assert_recovered(&pages);
}

/// An exact count that is a power of two is a block like any other.
#[test]
fn frees_of_exact_counts() {
    use AllocError::InvalidParam;
    let memory = Memory::new(64 * MIB);
    let mut pages = allocator(&memory, GIB);
    let run = pages.alloc_pages_exact(5, 0).unwrap();
    for count in [1, 4, 6, 8] {
        refuses(&mut pages, InvalidParam, |pages| {
            pages.dealloc_pages(run, count)
        });
    }
    pages.dealloc_pages(run, 5).unwrap();
    for right in [3, 4] {
        let block = pages.alloc_pages_exact(4, 0).unwrap();
        for wrong in [1, 2, 5, 8] {
            refuses(&mut pages, InvalidParam, |pages| {
                pages.dealloc_pages(block, wrong)
            });
        }
        pages.dealloc_pages(block, right).unwrap();
    }
    super::assert_recovered(&pages);
}

#[test]
fn page_flags() {
    use AllocError::{InvalidParam, NotAllocated, NotFound};
    let memory = Memory::new(64 * MIB);
    let mut pages = allocator(&memory, GIB);
    let slab = pages.alloc_pages(4, 0).unwrap();
    let run = pages.alloc_pages_exact(3, 0).unwrap();
    let small = pages.alloc_pages(1, 0).unwrap();
    for (addr, error) in [
        (0, NotFound),
        (slab + 1, InvalidParam),
        (slab + PAGE, NotAllocated),
        (run, NotAllocated),
        (small, InvalidParam),
    ] {
        for flags in [PageFlags::Allocated, PageFlags::Slab] {
            refuses(&mut pages, error, |pages| {
                // SAFETY: the blocks are ours.
                unsafe { pages.set_page_flags(addr, flags) }
            });
        }
    }
    refuses(&mut pages, InvalidParam, |pages| {
        // SAFETY: as above.
        unsafe { pages.set_page_flags(slab, PageFlags::Free) }
    });
    let descriptor = core::ptr::dangling_mut();
    // SAFETY: as above.
    unsafe { pages.set_slab(slab, descriptor) }.unwrap();
    // SAFETY: as above.
    unsafe { pages.set_page_flags(slab, PageFlags::Slab) }.unwrap();
    assert_eq!(
        pages.slab_of(slab + 3 * PAGE).map(NonNull::as_ptr),
        Some(descriptor)
    );
    // SAFETY: as above.
    unsafe { pages.set_page_flags(slab, PageFlags::Allocated) }.unwrap();
    // The block's next owner is not to find the descriptor.
    assert_eq!(pages.slab_of(slab), None);
    assert_eq!(pages.slab_of(slab + 3 * PAGE), None);
    for (addr, count) in [(slab, 4), (run, 3), (small, 1)] {
        pages.dealloc_pages(addr, count).unwrap();
    }
    super::assert_recovered(&pages);
}

#[test]
fn allocations() {
    use AllocError::{InvalidParam, NoMemory};
    let memory = Memory::new(4 * MIB);
    let mut pages = allocator(&memory, GIB);
    for (count, align, error) in [
        (0, 0, InvalidParam),
        (1, 1, InvalidParam),
        (1, PAGE / 2, InvalidParam),
        (1, PAGE * 3, InvalidParam),
        (1 << 21, 0, InvalidParam),
        (usize::MAX, 0, InvalidParam),
        (1024, 0, NoMemory),
        (1, 4 * MIB, NoMemory),
    ] {
        refuses(&mut pages, error, |pages| pages.alloc_pages(count, align));
        refuses(&mut pages, error, |pages| {
            pages.alloc_pages_lowmem(count, align)
        });
        refuses(&mut pages, error, |pages| {
            pages.alloc_pages_exact(count, align)
        });
    }
    refuses(&mut pages, NoMemory, |pages| {
        pages.allocate(&PageRequest::new(1).max_phys(GIB - 1))
    });
    let busy = pages.alloc_pages(4, 0).unwrap();
    refuses(&mut pages, NoMemory, |pages| {
        pages.alloc_pages_at(busy - 2 * PAGE, 3, 0)
    });
}

#[test]
fn an_allocator_without_memory_says_so() {
    let mut pages = BuddyAllocator::<PAGE>::new();
    assert_eq!(pages.alloc_pages(1, 0), Err(AllocError::NotInitialized));
    assert_eq!(pages.alloc_pages(0, 0), Err(AllocError::InvalidParam));
    assert_eq!(pages.dealloc_pages(PAGE, 1), Err(AllocError::NotFound));
    assert_eq!(pages.remove_section(PAGE), Err(AllocError::NotFound));
    assert_eq!(pages.slab_of(PAGE), None);
    assert_eq!(pages.section(0), None);
    pages.validate().unwrap();
}

#[test]
fn regions() {
    use AllocError::{AlreadyInitialized, InvalidParam, MemoryOverlap};
    let memory = Memory::new(64 * MIB);
    let mut pages = BuddyAllocator::<PAGE>::new();
    let base = GIB;
    // SAFETY: the memory outlives the allocator; what is refused is not touched.
    let mut add =
        |offset, len, phys| unsafe { pages.add_region_at(memory.part(offset, len), phys) };
    add(8 * MIB, 8 * MIB, base).unwrap();
    for (offset, len, phys, error) in [
        (0, 0, 0, InvalidParam),
        (0, PAGE, 0, InvalidParam),
        (0, 2 * PAGE - 1, 0, InvalidParam),
        (1, 2 * PAGE, 1, InvalidParam),
        (0, MIB, 1, InvalidParam),
        (0, MIB, u64::MAX - 4095, InvalidParam),
        // By virtual address: all of it, its ends, its metadata, a region around it.
        (8 * MIB, 8 * MIB, 8 * GIB, MemoryOverlap),
        (15 * MIB, 2 * MIB, 8 * GIB, MemoryOverlap),
        (7 * MIB, MIB + PAGE, 8 * GIB, MemoryOverlap),
        (0, 64 * MIB, 8 * GIB, MemoryOverlap),
        // By physical address only.
        (32 * MIB, MIB, base, MemoryOverlap),
        (
            32 * MIB,
            MIB,
            base + 8 * MIB as u64 - PAGE as u64,
            MemoryOverlap,
        ),
        (
            32 * MIB,
            MIB,
            base - MIB as u64 + PAGE as u64,
            MemoryOverlap,
        ),
    ] {
        assert_eq!(
            add(offset, len, phys).err(),
            Some(error),
            "{offset:#x} {len:#x} {phys:#x}"
        );
    }
    // Neighbours are no overlap, even when they share the bytes of a partial page.
    add(16 * MIB + 100, MIB, base + 8 * MIB as u64 + 100).unwrap();
    add(7 * MIB + 1, MIB - 1, base - MIB as u64 + 1).unwrap();
    assert_eq!(pages.section_count(), 3);
    // SAFETY: refused.
    let refused = unsafe { pages.init(&mut [0; 10]) };
    assert_eq!(refused, Err(AlreadyInitialized));
    super::assert_recovered(&pages);
}

#[test]
fn the_end_of_the_address_space_is_refused() {
    let mut pages = BuddyAllocator::<PAGE>::new();
    let top = core::ptr::without_provenance_mut::<u8>(usize::MAX - 16 * PAGE + 1);
    let region = core::ptr::slice_from_raw_parts_mut(top, 16 * PAGE);
    let region = NonNull::new(region).unwrap();
    // SAFETY: a region that is refused is not touched.
    let refused = unsafe { pages.add_region_at(region, 0) };
    assert_eq!(refused, Err(AllocError::InvalidParam));
}
