//! What becomes of memory that is held back, shuffled, or refused.

use std::collections::BTreeSet;
use std::vec::Vec;

use super::{ALL, Checked, QUARANTINE, RANDOM, Rig};
use super::{AllocError, GlobalAllocator, Layout, NonNull, layout};
use crate::ObjectCache;
use crate::traits::PageAllocator;

#[test]
fn freed_objects_rest_in_quarantine_and_no_longer() {
    let rig = Rig::<QUARANTINE>::new(1 << 20);
    let layout = layout(64, 8);
    let object = rig.alloc(layout);
    assert_eq!(rig.free(object, layout), Ok(()));
    assert_eq!(rig.global.slabinfo().live(), 0, "it counts as free");
    // 4096 bytes are 64 objects, this one included.
    for _ in 0..63 {
        let other = rig.alloc(layout);
        assert_ne!(other, object);
        assert_eq!(rig.free(other, layout), Ok(()));
    }
    let mut taken: Vec<_> = (0..300).map(|_| rig.alloc(layout)).collect();
    assert!(!taken.contains(&object), "it still rests");
    let other = taken.pop().expect("300");
    assert_eq!(rig.free(other, layout), Ok(()));
    taken.extend((0..300).map(|_| rig.alloc(layout)));
    assert!(taken.contains(&object), "now it does not");
    for object in taken {
        assert_eq!(rig.free(object, layout), Ok(()));
    }
    rig.assert_recovered();
}

#[test]
fn nothing_fails_while_there_is_memory_in_quarantine() {
    let rig = Rig::<ALL>::new(1 << 20);
    for size in [40, 500, 2000, 3000] {
        let layout = layout(size, 8);
        let mut objects = Vec::new();
        while let Ok(object) = rig.global.alloc(layout) {
            objects.push(object);
        }
        let all = objects.len();
        assert!(all * size > 400_000, "{all} of {size}");
        for object in objects.drain(..all / 2) {
            assert_eq!(rig.free(object, layout), Ok(()));
        }
        for _ in 0..all / 2 {
            objects.push(rig.alloc(layout));
        }
        for object in objects {
            assert_eq!(rig.free(object, layout), Ok(()));
        }
        // Pages too.
        let pages = rig.global.alloc_pages(128, 0).expect("half of the memory");
        // SAFETY: ours.
        assert_eq!(unsafe { rig.global.dealloc_pages(pages, 128) }, Ok(()));
    }
    rig.assert_recovered();
}

#[test]
fn the_order_of_objects_is_random() {
    let rig = Rig::<RANDOM>::new(1 << 20);
    let layout = layout(64, 8);
    let objects: Vec<_> = (0..200).map(|_| rig.alloc(layout)).collect();
    let next = |pair: &&[NonNull<u8>]| pair[0].addr().get().abs_diff(pair[1].addr().get()) == 64;
    let in_a_row = objects.windows(2).filter(next).count();
    assert!(in_a_row < 40, "{in_a_row} of 199 are neighbours");
    assert_eq!(objects.iter().collect::<BTreeSet<_>>().len(), 200);
    for object in objects {
        assert_eq!(rig.free(object, layout), Ok(()));
    }
    rig.assert_recovered();
}

/// Allocates by every way there is; stops at the first that fails. Whatever happens, it frees all.
fn workload(global: &GlobalAllocator<Checked<ALL>>) -> Result<(), AllocError> {
    let mut live: Vec<(NonNull<u8>, Layout)> = Vec::new();
    let mut pages = Vec::new();
    let cache: ObjectCache<'_, [u32; 9], Checked<ALL>> = ObjectCache::new(global, "workload");
    let mut kept = Vec::new();
    let mut run = || {
        for round in 0..12_usize {
            let wanted = layout(round * 300, 1 << round);
            live.push((global.alloc(wanted)?, wanted));
            live.push((global.alloc_zeroed(wanted)?, wanted));
            let (object, old) = live.swap_remove(round);
            let new = layout(old.size() + 100, old.align());
            // SAFETY: allocated for `old`.
            match unsafe { global.realloc(object, old, new) } {
                Ok(object) => live.push((object, new)),
                Err(error) => {
                    live.push((object, old));
                    return Err(error);
                }
            }
            let mut bulk = [NonNull::dangling(); 5];
            global.alloc_bulk(wanted, &mut bulk)?;
            live.extend(bulk.map(|object| (object, wanted)));
            pages.push((global.alloc_pages(1 + round, 0)?, 1 + round));
            kept.push(cache.insert_with(|| [7; 9])?);
        }
        Ok(())
    };
    let result = run();
    for (object, layout) in live {
        // SAFETY: ours.
        assert_eq!(unsafe { global.dealloc(object, layout) }, Ok(()));
    }
    for (addr, count) in pages {
        // SAFETY: ours.
        assert_eq!(unsafe { global.dealloc_pages(addr, count) }, Ok(()));
    }
    result
}

#[test]
fn an_allocation_at_an_address_can_fail() {
    let rig = Rig::<ALL>::new(1 << 20);
    let page = rig.global.alloc_pages(1, 0).expect("enough memory");
    // SAFETY: ours.
    assert_eq!(unsafe { rig.global.dealloc_pages(page, 1) }, Ok(()));
    let mut pages = &rig.global;
    rig.global.fail_allocation(1);
    assert_eq!(pages.alloc_pages_at(page, 1, 0), Err(AllocError::NoMemory));
    assert_eq!(pages.alloc_pages_at(page, 1, 0), Ok(page));
}

#[test]
fn every_single_allocation_of_a_workload_can_fail() {
    let rig = Rig::<ALL>::new(8 << 20);
    assert_eq!(workload(&rig.global), Ok(()));
    let (total, failed) = rig.global.fault_counts();
    assert!(total > 100 && failed == 0);
    for nth in 1..=total {
        rig.global.fail_allocation(nth);
        assert_eq!(workload(&rig.global), Err(AllocError::NoMemory), "{nth}");
        assert_eq!(rig.global.fault_counts().1, nth);
        rig.assert_recovered();
    }
    assert_eq!(workload(&rig.global), Ok(()));
    rig.assert_recovered();
}
