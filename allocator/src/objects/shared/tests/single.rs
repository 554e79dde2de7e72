//! One thread that is one CPU after another.

use std::collections::BTreeSet;
use std::vec::Vec;

use super::{Host, Rig, layout, on};
use crate::{AllocError, Platform, SizeClass};

/// 984,064 objects that another CPU had freed gave back no page: every further request for another class or for
/// pages failed. (The benches' tests show that.)
#[test]
fn d02_a_million_objects_freed_elsewhere_strand_nothing() {
    let rig = Rig::new(64);
    let small = layout(64);
    let mut objects = Vec::new();
    while let Ok(object) = rig.global.alloc(small) {
        objects.push(object);
    }
    // Red zones take their share.
    let least = if Host::HARDENING.red_zones {
        650_000
    } else {
        950_000
    };
    assert!(objects.len() >= least, "{} objects", objects.len());
    on(1, || {
        for object in objects {
            assert_eq!(rig.free(object, small), Ok(()));
        }
    });
    // Other classes and pages succeed on every CPU without anybody asking for a drain.
    for cpu in 0..4 {
        on(cpu, || {
            let other = rig.alloc(layout(2048));
            assert_eq!(rig.free(other, layout(2048)), Ok(()));
            let pages = rig
                .global
                .alloc_pages(4096, 0)
                .expect("16 MiB of 64 are free");
            // SAFETY: allocated just now.
            assert_eq!(unsafe { rig.global.dealloc_pages(pages, 4096) }, Ok(()));
        });
    }
    rig.assert_recovered();
}

#[test]
fn an_object_freed_on_another_cpu_is_that_cpus_next_one() {
    let rig = Rig::new(4);
    let object = rig.alloc(layout(100));
    on(1, || {
        let warm = rig.alloc(layout(100));
        assert_eq!(rig.free(object, layout(100)), Ok(()));
        let next = rig.alloc(layout(100));
        assert_eq!(next == object, Host::HARDENING.quarantine == 0);
        assert_eq!(rig.free(next, layout(100)), Ok(()));
        assert_eq!(rig.free(warm, layout(100)), Ok(()));
    });
    rig.assert_recovered();
}

/// A second remote free made a cycle of the list, and its owner walked that for ever with its lock held.
#[test]
fn d06_a_remote_double_free_is_refused() {
    let rig = Rig::new(4);
    let objects: Vec<_> = (0..300).map(|_| rig.alloc(layout(32))).collect();
    on(1, || {
        for object in &objects {
            assert_eq!(rig.free(*object, layout(32)), Ok(()));
        }
        for object in &objects {
            assert_eq!(rig.free(*object, layout(32)), Err(AllocError::NotAllocated));
        }
    });
    for object in &objects {
        assert_eq!(rig.free(*object, layout(32)), Err(AllocError::NotAllocated));
    }
    rig.assert_recovered();
}

// Where objects lie in a slab is known only without zones around them.
#[cfg(not(feature = "red_zones"))]
#[test]
fn the_free_of_an_object_that_was_never_handed_out_is_refused() {
    if Host::HARDENING.red_zones {
        // Then objects do not begin where slabs are cut; `global::tests::hardening` tries those.
        return;
    }
    let rig = Rig::new(4);
    for class in SizeClass::ALL {
        let wanted = layout(class.size());
        let first = rig.alloc(wanted);
        let slab = class.slab_pages(4096) * 4096;
        let base = first.addr().get() & !(slab - 1);
        for index in 0..class.objects_in(slab) {
            let addr = first.map_addr(|_| {
                let addr = base + index * class.size();
                addr.try_into().expect("no object lies at 0")
            });
            if addr != first {
                assert_eq!(rig.free(addr, wanted), Err(AllocError::NotAllocated));
            }
        }
        assert_eq!(rig.free(first, wanted), Ok(()));
    }
    rig.assert_recovered();
}

/// `NoMemory` while free objects lay in the caches of another CPU, or in slabs that somebody had fetched
/// meanwhile.
#[test]
fn d07_no_allocation_fails_while_another_cpu_holds_free_objects() {
    let rig = Rig::new(8);
    for class in [
        SizeClass::Bytes16,
        SizeClass::Bytes112,
        SizeClass::Bytes2048,
    ] {
        let wanted = layout(class.size());
        let mut objects = Vec::new();
        while let Ok(object) = rig.global.alloc(wanted) {
            objects.push(object);
        }
        // All that is free now lies in CPU 1's magazine.
        let given: Vec<_> = objects.drain(..5).collect();
        on(1, || {
            for object in &given {
                assert_eq!(rig.free(*object, wanted), Ok(()));
            }
        });
        let again: Vec<_> = given.iter().map(|_| rig.alloc(wanted)).collect();
        assert_eq!(rig.global.alloc(wanted), Err(AllocError::NoMemory));
        let distinct: BTreeSet<_> = again.iter().chain(&objects).collect();
        assert_eq!(distinct.len(), again.len() + objects.len());
        for object in again.into_iter().chain(objects) {
            assert_eq!(rig.free(object, wanted), Ok(()));
        }
    }
    rig.assert_recovered();
}

#[test]
fn cpu_255_works_like_any_other() {
    let rig = Rig::new(8);
    let objects: Vec<_> = (0..256)
        .map(|cpu| on(cpu, || rig.global.alloc(layout(48))))
        .collect::<Result<_, _>>()
        .expect("room for 256 CPUs");
    for (cpu, object) in objects.into_iter().enumerate() {
        assert_eq!(on(255 - cpu, || rig.free(object, layout(48))), Ok(()));
    }
    rig.assert_recovered();
}
