//! Blocks are where and what they were asked to be.

use super::Subject;
use crate::{AllocError, FrameAllocator, PageRequest, Platform, ZoneInfo};

/// The largest order that the checks ask for: 8 MiB with 4 KiB pages.
const LARGEST: usize = 11;

/// The same where there is less than four times as much memory, and no such block.
const LARGEST_OF_LITTLE: usize = 9;

/// A block of every order, as far as there are some, is aligned to its size, in both address spaces; alignments
/// beyond it are honoured too.
pub fn every_order<P: Platform, const PAGE_SIZE: usize>(frames: &FrameAllocator<P, PAGE_SIZE>) {
    let subject = Subject::new(frames);
    let zones = subject.before.zones();
    let free = zones.filter_map(ZoneInfo::largest_order).max();
    let is_little = frames.total_pages() < 4 << LARGEST;
    let least = if is_little {
        LARGEST_OF_LITTLE
    } else {
        LARGEST
    };
    let largest = free.unwrap_or(0).clamp(least, LARGEST);
    for order in 0..=largest {
        let count = 1 << order;
        for align in (order..=largest).map(|order| PAGE_SIZE << order) {
            let addr = frames.alloc_pages(count, align).expect("a block");
            assert!(addr.is_multiple_of(align), "{addr:#x} for {align:#x}");
            assert!(P::virt_to_phys(addr).is_multiple_of(align as u64));
            subject.fill(addr, count, 0xa5);
            assert!(subject.holds(addr, count, 0xa5));
            assert_eq!(subject.free(addr, count), Ok(()));
        }
    }
    subject.finish();
}

/// An exact count costs that many pages, and no more.
pub fn exact_counts<P: Platform, const PAGE_SIZE: usize>(frames: &FrameAllocator<P, PAGE_SIZE>) {
    let subject = Subject::new(frames);
    for count in [1, 3, 5, 7, 13, 100, 513, 1000] {
        let before = frames.allocated_bytes();
        let addr = frames.alloc_pages_exact(count, 0).expect("a run");
        assert_eq!(frames.allocated_bytes() - before, count * PAGE_SIZE);
        subject.fill(addr, count, 0x3c);
        // The tail belongs to others at once.
        let other = frames.alloc_pages(1, 0).expect("a page");
        subject.fill(other, 1, 0xc3);
        assert!(subject.holds(addr, count, 0x3c));
        assert_eq!(subject.free(other, 1), Ok(()));
        assert_eq!(subject.free(addr, count + 1), Err(AllocError::InvalidParam));
        assert_eq!(subject.free(addr, count), Ok(()));
        frames.drain_all();
    }
    subject.finish();
}

/// An address that is free can be had, one that is not cannot.
pub fn given_addresses<P: Platform, const PAGE_SIZE: usize>(frames: &FrameAllocator<P, PAGE_SIZE>) {
    let subject = Subject::new(frames);
    let addr = frames.alloc_pages(8, 0).expect("a block");
    assert_eq!(
        frames.alloc_pages_at(addr, 1, 0),
        Err(AllocError::NoMemory),
        "allocated already"
    );
    assert_eq!(subject.free(addr, 8), Ok(()));
    frames.drain_all();
    let middle = addr + 2 * PAGE_SIZE;
    assert_eq!(frames.alloc_pages_at(middle, 2, 0), Ok(middle));
    assert_eq!(
        frames.alloc_pages_at(addr, 8, 0),
        Err(AllocError::NoMemory),
        "two pages of it are out"
    );
    assert_eq!(subject.free(middle, 2), Ok(()));
    subject.finish();
}

/// A physical limit holds for the last byte; a limit below all memory is `NoMemory`.
pub fn limits<P: Platform, const PAGE_SIZE: usize>(frames: &FrameAllocator<P, PAGE_SIZE>) {
    let subject = Subject::new(frames);
    let lowest = (0..frames.section_count())
        .filter_map(|index| frames.section(index))
        .map(|section| section.phys)
        .min()
        .expect("a section");
    if let Some(below) = lowest.checked_sub(1) {
        let request = PageRequest::new(1).max_phys(below);
        assert_eq!(frames.allocate(&request), Err(AllocError::NoMemory));
    }
    let mut looked = false;
    for index in 0..frames.section_count() {
        let section = frames.section(index).expect("a section");
        // With little of a section in use, its first half has something left.
        if section.free_pages < section.total_pages / 4 * 3 {
            continue;
        }
        looked = true;
        // The first half of the section, to the byte.
        let last = section.phys + (section.size / 2) as u64 - 1;
        for count in [1, 4] {
            let bytes = (count * PAGE_SIZE) as u64;
            if last < lowest + 2 * bytes {
                continue;
            }
            let request = PageRequest::new(count).max_phys(last);
            let addr = frames.allocate(&request).expect("memory below the limit");
            let phys = P::virt_to_phys(addr);
            assert!(
                phys + bytes - 1 <= last,
                "{phys:#x} for a limit of {last:#x}"
            );
            assert_eq!(subject.free(addr, count), Ok(()));
        }
    }
    assert!(looked, "every section is mostly in use");
    subject.finish();
}

/// Zeroed pages are zero, on memory that was not.
pub fn zeroed<P: Platform, const PAGE_SIZE: usize>(frames: &FrameAllocator<P, PAGE_SIZE>) {
    let subject = Subject::new(frames);
    for count in [1, 2, 16] {
        for _ in 0..3 {
            let addr = frames
                .allocate(&PageRequest::new(count).zeroed())
                .expect("pages");
            assert!(subject.holds(addr, count, 0));
            subject.fill(addr, count, 0xff);
            assert_eq!(subject.free(addr, count), Ok(()));
        }
    }
    subject.finish();
}

/// Bulk calls give as many blocks as they say, all different, and take them back.
pub fn bulk<P: Platform, const PAGE_SIZE: usize>(frames: &FrameAllocator<P, PAGE_SIZE>) {
    let subject = Subject::new(frames);
    for count in [1, 4] {
        let mut addrs = [0; 100];
        assert_eq!(frames.alloc_bulk(count, &mut addrs), Ok(addrs.len()));
        addrs.sort_unstable();
        assert!(
            addrs
                .windows(2)
                .all(|pair| pair[0] + count * PAGE_SIZE <= pair[1])
        );
        // SAFETY: allocated just now, and not used.
        assert_eq!(unsafe { frames.free_bulk(&addrs, count) }, Ok(()));
    }
    subject.finish();
}
