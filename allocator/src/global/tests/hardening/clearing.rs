//! Nobody sees what another owner wrote.

use super::{AllocError, INIT, Rig, layout};

#[test]
fn memory_is_cleared_before_use_and_after() {
    let rig = Rig::<INIT>::new(1 << 20);
    for size in [8, 100, 2000, 5000] {
        let layout = layout(size, 8);
        let keep = rig.alloc(layout);
        for _ in 0..3 {
            let object = rig.alloc(layout);
            // SAFETY: ours, and initialised.
            let bytes = unsafe { core::slice::from_raw_parts_mut(object.as_ptr(), size) };
            assert!(bytes.iter().all(|byte| *byte == 0));
            bytes.fill(0xff);
            assert_eq!(rig.free(object, layout), Ok(()));
            // SAFETY: memory of the allocator under test, which nobody uses now.
            let bytes = unsafe { core::slice::from_raw_parts(object.as_ptr(), size) };
            // The mark of a free object takes a word.
            assert!(bytes[8..].iter().all(|byte| *byte == 0));
        }
        assert_eq!(rig.free(keep, layout), Ok(()));
    }
    rig.assert_recovered();
}

/// What a block grows by had another owner's contents, and what it gave up kept its own.
#[test]
fn memory_is_cleared_where_blocks_are_resized_in_place() {
    let rig = Rig::<INIT>::new(1 << 20);
    let (small, large) = (layout(2 * 4096, 8), layout(32 * 4096, 8));
    let block = rig.alloc(large);
    for _ in 0..2 {
        // SAFETY: ours, and initialised.
        let bytes = unsafe { core::slice::from_raw_parts_mut(block.as_ptr(), large.size()) };
        bytes.fill(0xff);
        // SAFETY: it is ours.
        let resized = unsafe { rig.global.realloc(block, large, small) };
        assert_eq!(resized, Ok(block));
        // SAFETY: memory of the allocator under test, of which nobody uses what is free.
        let bytes = unsafe { core::slice::from_raw_parts_mut(block.as_ptr(), large.size()) };
        let (kept, freed) = bytes.split_at_mut(small.size());
        assert!(kept.iter().all(|byte| *byte == 0xff));
        assert!(freed.iter().all(|byte| *byte == 0));
        // As memory is that nobody has had yet.
        freed.fill(0xa5);
        // SAFETY: it is ours.
        let resized = unsafe { rig.global.realloc(block, small, large) };
        assert_eq!(resized, Ok(block));
        // SAFETY: ours, and initialised.
        let bytes = unsafe { core::slice::from_raw_parts(block.as_ptr(), large.size()) };
        assert!(bytes[small.size()..].iter().all(|byte| *byte == 0));
    }
    // SAFETY: it is ours.
    let resized = unsafe { rig.global.realloc(block, large, small) };
    assert_eq!(resized, Ok(block));
    let wrong = layout(3 * 4096, 8);
    // SAFETY: the mistake under test.
    let refused = unsafe { rig.global.realloc(block, wrong, layout(4096, 4096)) };
    assert_eq!(refused, Err(AllocError::InvalidParam));
    // SAFETY: memory of the allocator under test.
    let bytes = unsafe { core::slice::from_raw_parts(block.as_ptr(), small.size()) };
    assert!(bytes.iter().all(|byte| *byte == 0xff));
    assert_eq!(rig.free(block, small), Ok(()));
    rig.assert_recovered();
}
