//! Objects that a CPU keeps behind its magazines.

use core::ptr::NonNull;
use std::vec::Vec;

use super::counts::of;
use super::{Host, Rig, layout, on};
use crate::{Platform, SizeClass};

impl Rig {
    fn cached(&self, cpu: usize) -> usize {
        of(&self.global, cpu, |stats| stats.cached)
    }

    /// How many objects a CPU has brought back to its slabs.
    fn brought_back(&self, cpu: usize) -> usize {
        of(&self.global, cpu, |stats| {
            usize::try_from(stats.local_frees).expect("not that many")
        })
    }

    /// How many bytes of objects a CPU keeps.
    fn kept(&self, cpu: usize) -> usize {
        let info = self.global.slabinfo_of_cpu(cpu).expect("it was here");
        let kept = |class: SizeClass| info.class(class).cached * class.size();
        SizeClass::ALL.into_iter().map(kept).sum()
    }

    fn many(&self, size: usize, count: usize) -> Vec<NonNull<u8>> {
        (0..count).map(|_| self.alloc(layout(size))).collect()
    }

    fn free_all(&self, size: usize, objects: Vec<NonNull<u8>>) {
        for object in objects {
            assert_eq!(self.free(object, layout(size)), Ok(()));
        }
    }
}

#[test]
fn what_is_freed_by_the_thousand_does_not_go_to_its_slabs() {
    if Host::HARDENING.quarantine != 0 {
        // There it does.
        return;
    }
    let rig = Rig::new(64);
    rig.free_all(64, rig.many(64, 10_000));
    assert!(rig.cached(0) > 8_000, "{}", rig.cached(0));
    assert_eq!(rig.global.slabinfo().live(), 0);
    let before = rig.brought_back(0);
    for _ in 0..10 {
        rig.free_all(64, rig.many(64, 9_000));
        assert_eq!(rig.global.validate(), Ok(()));
    }
    assert_eq!(rig.brought_back(0), before);
    rig.assert_recovered();
    assert_eq!(rig.cached(0), 0);
}

#[test]
fn no_more_is_kept_than_a_part_of_what_is_free() {
    let rig = Rig::new(32);
    // In turns, so that each class has its share of what is left.
    for size in [1000, 2000, 500, 250] {
        let objects = rig.many(size, (12 << 20) / size);
        rig.free_all(size, objects);
        let kept = rig.kept(0);
        // A quarter, and the magazines.
        assert!(kept <= (8 << 20) + SizeClass::COUNT * (32 << 10), "{kept}");
    }
    rig.assert_recovered();
}

#[test]
fn objects_of_other_cpus_are_not_kept() {
    let rig = Rig::new(64);
    let objects = rig.many(64, 10_000);
    on(1, || rig.free_all(64, objects));
    assert!(rig.cached(1) <= 128, "{}", rig.cached(1));
    rig.assert_recovered();
}

#[test]
fn places_of_small_objects_do_not_become_places_of_too_many_bytes() {
    if Host::HARDENING.quarantine != 0 {
        // There they are no places of any.
        return;
    }
    let rig = Rig::new(32);
    for size in [8, 16, 32, 64] {
        rig.free_all(size, rig.many(size, 16_000));
    }
    assert!(rig.cached(0) > 50_000, "{}", rig.cached(0));
    let mut large = rig.many(2048, (24 << 20) / 2048);
    let mut small = Vec::new();
    while !large.is_empty() {
        small.extend([8, 16, 32, 64].map(|size| (size, rig.alloc(layout(size)))));
        rig.free_all(2048, large.split_off(large.len().saturating_sub(2)));
    }
    let kept = rig.kept(0);
    assert!(kept <= (8 << 20) + SizeClass::COUNT * (32 << 10), "{kept}");
    for (size, object) in small {
        assert_eq!(rig.free(object, layout(size)), Ok(()));
    }
    rig.assert_recovered();
}
