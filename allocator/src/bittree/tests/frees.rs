//! Frees that are none.

use super::*;
use crate::AllocError;

#[test]
fn an_address_outside_or_inside_a_block_is_refused() {
    let memory = memory(1 << 20);
    let mut tree = tree(part(memory, 0, 512 << 10));
    let of = layout(256, 64);
    let block = tree.alloc(of).expect("a block");
    let outside = part(memory, 800 << 10, 1).cast();
    assert_eq!(free(&mut tree, outside, of), Err(AllocError::NotFound));
    assert_eq!(
        free(&mut tree, NonNull::dangling(), of),
        Err(AllocError::NotFound)
    );
    for inside in [1, 8, 16, 64, 128, 255] {
        // SAFETY: inside the block.
        let inside = unsafe { block.add(inside) };
        assert_eq!(free(&mut tree, inside, of), Err(AllocError::InvalidParam));
    }
    let huge = layout(1 << 30, 1);
    assert_eq!(free(&mut tree, block, huge), Err(AllocError::InvalidParam));
    assert_eq!(tree.used_bytes(), 256);
    tree.validate().expect("nothing changed");
    assert_eq!(free(&mut tree, block, of), Ok(()));
}

/// Seen whether the block is still itself, merged, or a part of it is allocated again.
#[test]
fn a_double_free_is_refused() {
    let mut tree = tree(memory(512 << 10));
    let other = layout(128 << 10, 1);
    let kept = tree.alloc(other).expect("a block");
    let of = layout(256, 1);
    let [first, second] = [(); 2].map(|()| tree.alloc(of).expect("a block"));
    assert_eq!(free(&mut tree, first, of), Ok(()));
    assert_eq!(free(&mut tree, first, of), Err(AllocError::NotAllocated));
    tree.validate().expect("nothing changed");

    assert_eq!(free(&mut tree, second, of), Ok(()));
    for block in [first, second] {
        assert_eq!(free(&mut tree, block, of), Err(AllocError::NotAllocated));
    }
    tree.validate().expect("nothing changed");

    let small = layout(16, 1);
    let part = tree.alloc(small).expect("a block");
    assert_eq!(part, first, "the lowest address of the split block");
    assert_eq!(free(&mut tree, first, of), Err(AllocError::NotAllocated));
    tree.validate().expect("nothing changed");
    assert_eq!(free(&mut tree, part, small), Ok(()));
    assert_eq!(free(&mut tree, kept, other), Ok(()));
    assert_eq!(tree.used_bytes(), 0);
}

/// Nothing that was never allocated is freed, wherever it lies in a free block.
#[test]
fn what_was_never_allocated_is_refused() {
    let memory = memory(512 << 10);
    let mut tree = tree(memory);
    let large = layout(128 << 10, 1);
    let kept = tree.alloc(large).expect("a block");
    let mut refused = 0;
    for shift in 4..=17 {
        let of = layout(1 << shift, 1);
        for offset in (0..500 << 10).step_by(12_288) {
            let at = part(memory, offset, 1).cast();
            if !(kept..part(memory, 128 << 10, 1).cast()).contains(&at) {
                assert!(free(&mut tree, at, of).is_err(), "{of:?} at {offset:#x}");
                refused += 1;
            }
        }
    }
    assert!(refused > 300);
    tree.validate().expect("nothing changed");
    assert_eq!(free(&mut tree, kept, large), Ok(()));
}

/// A layout that is too large covers blocks that are free.
#[test]
fn a_larger_layout_is_refused_while_anything_in_it_is_free() {
    let mut tree = tree(memory(512 << 10));
    let other = tree.alloc(layout(128 << 10, 1));
    assert!(other.is_ok(), "enough is in use for every size below");
    let small = layout(64, 1);
    let block = tree.alloc(small).expect("a block");
    for size in [128, 1024, 4096, 65536] {
        let larger = layout(size, 1);
        assert_eq!(
            free(&mut tree, block, larger),
            Err(AllocError::NotAllocated)
        );
    }
    tree.validate().expect("nothing changed");
    assert_eq!(free(&mut tree, block, small), Ok(()));
}

/// What a user writes into a block has no influence on its free.
#[test]
fn contents_do_not_matter() {
    let mut tree = tree(memory(128 << 10));
    let of = layout(64, 1);
    for byte in [0, 1, 0x7f, 0xff] {
        let blocks = [(); 20].map(|()| tree.alloc(of).expect("a block"));
        for block in blocks {
            // SAFETY: 64 bytes of our own.
            unsafe { block.write_bytes(byte, 64) };
        }
        for block in blocks {
            assert_eq!(free(&mut tree, block, of), Ok(()));
        }
        tree.validate().expect("consistent");
        assert_eq!(tree.used_bytes(), 0);
    }
}

#[test]
fn validate_sees_a_write_after_free() {
    let mut tree = tree(memory(128 << 10));
    let of = layout(64, 1);
    let [block, _kept] = [(); 2].map(|()| tree.alloc(of).expect("a block"));
    assert_eq!(free(&mut tree, block, of), Ok(()));
    let links = block.cast::<u64>();
    // SAFETY: memory of the test, which breaks a rule here to have it seen.
    let before = unsafe { links.read() };
    for (wrong, flaw) in [(u64::MAX, Flaw::Link), (!before, Flaw::Link)] {
        // SAFETY: as above.
        unsafe { links.write(wrong) };
        assert_eq!(tree.validate(), Err(flaw));
    }
    // SAFETY: as above.
    unsafe { links.write(before) };
    // SAFETY: the second word of the block.
    let mark = unsafe { links.add(1) };
    // SAFETY: as above.
    unsafe { mark.write(0) };
    assert_eq!(tree.validate(), Err(Flaw::Mark));
}
