//! Slabs that become pages again before they are empty.

use core::ptr::NonNull;
use std::collections::BTreeSet;
use std::vec::Vec;

use fastrand::Rng;

use super::{Host, Rig, layout, on};
use crate::{AllocError, Platform, SizeClass};

/// So long is the shortest part of a slab that can go.
const PIECE: usize = 8 << 10;

fn write(object: NonNull<u8>, size: usize) {
    let byte = (object.addr().get() >> 3).to_le_bytes()[0];
    // SAFETY: the object is live and so long.
    unsafe { object.write_bytes(byte, size) };
}

fn is_as_written(object: NonNull<u8>, size: usize) -> bool {
    let byte = (object.addr().get() >> 3).to_le_bytes()[0];
    // SAFETY: as above.
    let bytes = unsafe { core::slice::from_raw_parts(object.as_ptr(), size) };
    bytes.iter().all(|found| *found == byte)
}

#[test]
fn what_no_live_object_lies_in_goes_back_and_the_rest_serves_on() {
    let mut random = Rng::with_seed(0);
    for size in [256, 320, 512, 640, 1280, 1536, 1792, 2048] {
        let rig = Rig::new(16);
        let wanted = layout(size);
        let mut live: Vec<_> = (0..2000).map(|_| rig.alloc(wanted)).collect();
        live.iter().for_each(|object| write(*object, size));
        let mut freed = Vec::new();
        for _ in 0..1800 {
            let object = live.swap_remove(random.usize(..live.len()));
            // Some of them elsewhere.
            let cpu = random.usize(..2);
            assert_eq!(on(cpu, || rig.free(object, wanted)), Ok(()));
            freed.push(object);
        }
        let given = rig.global.drain();
        assert_eq!(rig.global.validate(), Ok(()));
        // With zones around it, an object of 2048 bytes is a page.
        assert!(given != 0 || size == 2048 && Host::HARDENING.red_zones);
        if size == 2048 && !Host::HARDENING.red_zones {
            // A slab of 8 objects stays with a probability of 0.57, each of its halves with one of 0.34.
            assert!(rig.global.allocated_bytes() < 2000 * size * 45 / 100);
        }
        for object in &freed {
            let refused = rig.free(*object, wanted);
            assert!(
                matches!(
                    refused,
                    Err(AllocError::NotFound | AllocError::NotAllocated)
                ),
                "{refused:?}"
            );
        }
        assert!(live.iter().all(|object| is_as_written(*object, size)));
        // What is left of slabs is used, what has gone is not, and each object is there once.
        live.extend((0..3000).map(|_| rig.alloc(wanted)));
        live.iter().for_each(|object| write(*object, size));
        assert!(live.iter().all(|object| is_as_written(*object, size)));
        assert_eq!(live.iter().collect::<BTreeSet<_>>().len(), live.len());
        assert_eq!(rig.global.validate(), Ok(()));
        while !live.is_empty() {
            let object = live.swap_remove(random.usize(..live.len()));
            let cpu = random.usize(..2);
            assert_eq!(on(cpu, || rig.free(object, wanted)), Ok(()));
            if live.len() % 1000 == 0 {
                rig.global.drain();
                assert_eq!(rig.global.validate(), Ok(()));
            }
        }
        rig.assert_recovered();
    }
}

#[test]
fn pages_are_found_in_slabs_of_live_objects() {
    let rig = Rig::new(8);
    let wanted = layout(SizeClass::Bytes2048.size());
    let mut objects = Vec::new();
    while let Ok(object) = rig.global.alloc(wanted) {
        objects.push(object);
    }
    let (stay, go): (Vec<_>, Vec<_>) = objects
        .into_iter()
        .partition(|object| object.addr().get() & PIECE != 0);
    for object in &go {
        assert_eq!(rig.free(*object, wanted), Ok(()));
    }
    // On another CPU, and nobody has asked for a drain.
    let blocks: Vec<_> = on(1, || {
        core::iter::from_fn(|| rig.global.alloc_pages(2, 0).ok()).collect()
    });
    assert!(
        blocks.len() * PIECE * 100 >= go.len() * 2048 * 95,
        "{} blocks instead of {} objects",
        blocks.len(),
        go.len()
    );
    for block in blocks {
        // SAFETY: it was allocated above.
        assert_eq!(unsafe { rig.global.dealloc_pages(block, 2) }, Ok(()));
    }
    for object in stay {
        assert_eq!(rig.free(object, wanted), Ok(()));
    }
    rig.assert_recovered();
}
