//! Collections on an allocator of their own.

use allocator_api2::alloc::Allocator;
use allocator_api2::boxed::Box;
use allocator_api2::vec::Vec;

use super::{AllocError, NonNull, PAGE, Rig, layout};

#[test]
fn collections_live_on_it() {
    let rig = Rig::new(8 << 20);
    let mut numbers = Vec::new_in(&rig.global);
    for number in 0..100_000_usize {
        numbers.push(Box::new_in(number, &rig.global));
    }
    assert!(
        numbers
            .iter()
            .enumerate()
            .all(|(at, number)| **number == at)
    );
    numbers.truncate(10);
    numbers.shrink_to_fit();
    assert_eq!(rig.global.slabinfo().live(), 11);
    let nothing: Vec<(), _> = Vec::with_capacity_in(5, &rig.global);
    drop((numbers, nothing));
    rig.is_recovered();
}

#[test]
fn a_vector_that_cannot_grow_keeps_what_it_has() {
    let rig = Rig::new(1 << 20);
    let mut bytes = Vec::new_in(&rig.global);
    bytes.resize(100_000, 7_u8);
    assert!(bytes.try_reserve_exact(2 << 20).is_err());
    assert_eq!(bytes.len(), 100_000);
    assert!(bytes.iter().all(|byte| *byte == 7));
    drop(bytes);
    rig.is_recovered();
}

#[test]
fn every_layout_is_aligned_grows_and_shrinks() {
    let rig = Rig::new(16 << 20);
    let global = &rig.global;
    let sizes = [0, 1, 8, 100, 2048, 2049, 5 * PAGE, 4 * PAGE + 1, 64 * PAGE];
    for align in (0..=15).map(|shift| 1 << shift) {
        for small in sizes {
            for large in sizes.into_iter().filter(|large| *large >= small) {
                let (low, high) = (layout(small, align), layout(large, 2 * align));
                let memory = Allocator::allocate(&global, low).expect("enough memory");
                assert!(memory.len() >= small);
                assert_eq!(memory.cast::<u8>().addr().get() % align, 0);
                // SAFETY: ours, and so long.
                unsafe { memory.cast::<u8>().write_bytes(0xa1, small) };
                // SAFETY: allocated just now.
                let grown = unsafe { global.grow_zeroed(memory.cast(), low, high) };
                let grown = grown.expect("enough memory");
                assert_eq!(grown.cast::<u8>().addr().get() % (2 * align), 0);
                // SAFETY: ours, and initialised.
                let bytes = unsafe { grown.as_ref() };
                assert!(bytes[..small].iter().all(|byte| *byte == 0xa1));
                assert!(bytes[small..large].iter().all(|byte| *byte == 0));
                // SAFETY: allocated just now.
                let shrunk = unsafe { global.shrink(grown.cast(), high, low) };
                let shrunk = shrunk.expect("enough memory");
                assert_eq!(shrunk.cast::<u8>().addr().get() % align, 0);
                // The returned length fits, as well as the one asked for.
                let fitting = layout(shrunk.len(), align);
                // SAFETY: allocated just now.
                unsafe { global.deallocate(shrunk.cast(), fitting) };
            }
        }
    }
    rig.is_recovered();
}

#[test]
fn zeroed_memory_has_the_length_that_was_asked_for() {
    let rig = Rig::new(1 << 20);
    for size in [0, 5, 2000, 5000] {
        for _ in 0..3 {
            let asked = layout(size, 4);
            let mut memory =
                Allocator::allocate_zeroed(&&rig.global, asked).expect("enough memory");
            // SAFETY: ours, and initialised.
            let bytes = unsafe { memory.as_mut() };
            assert_eq!(bytes.len(), size);
            assert!(bytes.iter().all(|byte| *byte == 0));
            bytes.fill(0xff);
            assert_eq!(rig.free(memory.cast::<u8>(), asked), Ok(()));
        }
    }
    rig.is_recovered();
}

#[test]
fn a_refused_free_is_reported() {
    let rig = Rig::new(1 << 20);
    let asked = layout(40, 8);
    let memory: NonNull<u8> = Allocator::allocate(&&rig.global, asked)
        .expect("enough memory")
        .cast();
    super::REPORTS.take();
    for _ in 0..2 {
        // SAFETY: the second call is the mistake under test.
        unsafe { Allocator::deallocate(&&rig.global, memory, asked) };
    }
    assert!(matches!(
        super::REPORTS.take()[..],
        [crate::Misuse::Free {
            error: AllocError::NotAllocated,
            ..
        }]
    ));
}
