//! Frees that are refused, and who hears of it.

use super::rig::REPORTS;
use super::*;

/// In release builds the second free of an object was taken: its slab counted as empty with a live object in it.
#[test]
fn d05_double_frees_and_other_wrong_frees_are_errors() {
    let rig = Rig::new(4 << 20);
    let small = rig.global.alloc(layout(100, 8)).expect("enough memory");
    let other = rig.global.alloc(layout(100, 8)).expect("enough memory");
    let large = rig.global.alloc(layout(10_000, 8)).expect("enough memory");
    let inside = small.map_addr(|addr| addr.checked_add(8).expect("no wrap"));
    let page_inside = large.map_addr(|addr| addr.checked_add(PAGE).expect("no wrap"));
    let mut foreign = [0_u64; 16];
    let foreign = NonNull::from(&mut foreign).cast();
    let before = (rig.global.slabinfo(), rig.global.allocated_bytes());
    assert_eq!(
        rig.free(inside, layout(100, 8)),
        Err(AllocError::NotAllocated)
    );
    assert_eq!(
        rig.free(small, layout(64, 8)),
        Err(AllocError::InvalidParam)
    );
    assert_eq!(rig.free(foreign, layout(64, 8)), Err(AllocError::NotFound));
    assert_eq!(
        rig.free(foreign, layout(9000, 8)),
        Err(AllocError::NotFound)
    );
    assert_eq!(
        rig.free(page_inside, layout(4096, PAGE)),
        Err(AllocError::NotAllocated)
    );
    assert!(rig.free(small, layout(10_000, 8)).is_err());
    assert!(rig.free(large, layout(64, 8)).is_err());
    // SAFETY: a slab is not the caller's to free: refused.
    let slab = unsafe {
        rig.global
            .dealloc_pages(small.addr().get() & !(PAGE - 1), 4)
    };
    assert!(slab.is_err());
    assert_eq!(
        (rig.global.slabinfo(), rig.global.allocated_bytes()),
        before
    );
    assert_eq!(rig.free(small, layout(100, 8)), Ok(()));
    assert_eq!(
        rig.free(small, layout(100, 8)),
        Err(AllocError::NotAllocated)
    );
    assert_eq!(rig.free(large, layout(10_000, 8)), Ok(()));
    assert_eq!(
        rig.free(large, layout(10_000, 8)),
        Err(AllocError::NotAllocated)
    );
    assert_eq!(rig.free(other, layout(100, 8)), Ok(()));
    rig.is_recovered();
}

#[test]
fn a_refused_free_without_a_result_is_reported() {
    let rig = Rig::new(1 << 20);
    let ptr = rig.global.alloc(layout(32, 8)).expect("enough memory");
    REPORTS.take();
    for _ in 0..2 {
        // SAFETY: the second call is the mistake under test.
        unsafe { GlobalAlloc::dealloc(&rig.global, ptr.as_ptr(), layout(32, 8)) };
    }
    let expected = Misuse::Free {
        addr: ptr.addr().get(),
        size: 32,
        align: 8,
        error: AllocError::NotAllocated,
    };
    assert_eq!(REPORTS.take(), [expected]);
}

/// A size beyond the largest block was reported as a free that was refused.
#[test]
#[cfg(target_pointer_width = "64")]
fn growth_beyond_all_memory_is_no_misuse() {
    let rig = Rig::new(1 << 20);
    REPORTS.take();
    for old in [32, 9000] {
        let old = layout(old, 8);
        let ptr = rig.global.alloc(old).expect("enough memory");
        for new in [1 << 21, 5 << 30, 1 << 62] {
            // SAFETY: allocated with this layout, and the new size is valid.
            let moved = unsafe { GlobalAlloc::realloc(&rig.global, ptr.as_ptr(), old, new) };
            assert!(moved.is_null());
        }
        assert_eq!(REPORTS.take(), []);
        assert_eq!(rig.free(ptr, old), Ok(()));
    }
    let large = rig.global.alloc(layout(9000, 8)).expect("enough memory");
    assert_eq!(rig.free(large, layout(9000, 8)), Ok(()));
    // SAFETY: that it is free already is the mistake under test: refused.
    let shrunk =
        unsafe { GlobalAlloc::realloc(&rig.global, large.as_ptr(), layout(9000, 8), 5000) };
    assert!(shrunk.is_null());
    assert_eq!(REPORTS.take().len(), 1);
    rig.is_recovered();
}
