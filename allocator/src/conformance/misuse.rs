//! What makes no sense is refused, and changes nothing.

use super::Subject;
use crate::{AllocError, FrameAllocator, MAX_ORDER, PageRequest, Platform};

/// Counts and alignments out of range.
pub fn bad_requests_change_nothing<P: Platform, const PAGE_SIZE: usize>(
    frames: &FrameAllocator<P, PAGE_SIZE>,
) {
    let subject = Subject::new(frames);
    let refused = [
        (0, 0),
        ((1 << MAX_ORDER) + 1, 0),
        (usize::MAX, 0),
        (1, 1),
        (1, PAGE_SIZE / 2),
        (1, PAGE_SIZE + 1),
        (1, 3 * PAGE_SIZE),
        (1, usize::MAX),
    ];
    for (count, align) in refused {
        let expected = Err(AllocError::InvalidParam);
        assert_eq!(
            frames.alloc_pages(count, align),
            expected,
            "{count}, {align}"
        );
        assert_eq!(frames.alloc_pages_exact(count, align), expected);
        assert_eq!(frames.alloc_pages_lowmem(count, align), expected);
    }
    let below_all = PageRequest::new(1).max_phys(0);
    assert_eq!(frames.allocate(&below_all), Err(AllocError::NoMemory));
    assert_eq!(frames.buddyinfo(), subject.before);
    subject.finish();
}

/// Frees of what is not an allocated block: foreign, misaligned, inside, with another count, twice.
pub fn bad_frees_change_nothing<P: Platform, const PAGE_SIZE: usize>(
    frames: &FrameAllocator<P, PAGE_SIZE>,
) {
    let subject = Subject::new(frames);
    let addr = frames.alloc_pages(8, 0).expect("a block");
    let single = frames.alloc_pages(1, 0).expect("a page");
    let out = frames.allocated_bytes();
    assert_eq!(subject.free(addr + 1, 8), Err(AllocError::InvalidParam));
    assert_eq!(
        subject.free(addr + PAGE_SIZE, 1),
        Err(AllocError::NotAllocated)
    );
    assert_eq!(subject.free(addr, 4), Err(AllocError::InvalidParam));
    assert_eq!(subject.free(addr, 0), Err(AllocError::InvalidParam));
    assert_eq!(subject.free(0, 1), Err(AllocError::NotFound));
    assert_eq!(
        subject.free(usize::MAX & !(PAGE_SIZE - 1), 1),
        Err(AllocError::NotFound)
    );
    assert_eq!(frames.allocated_bytes(), out);
    assert_eq!(subject.free(addr, 8), Ok(()));
    assert_eq!(subject.free(single, 1), Ok(()));
    // Noticed while the block is in a cache, and when it has merged with its neighbours.
    assert_eq!(subject.free(single, 1), Err(AllocError::NotAllocated));
    assert_eq!(subject.free(addr, 8), Err(AllocError::NotAllocated));
    frames.drain_all();
    assert_eq!(subject.free(single, 1), Err(AllocError::NotAllocated));
    assert_eq!(subject.free(addr, 8), Err(AllocError::NotAllocated));
    subject.finish();
}
