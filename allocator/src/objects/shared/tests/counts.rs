//! What CPUs did, against what they are said to have done.

use std::vec::Vec;

use super::{Host, Rig, layout, on};
use crate::{CpuClassStats, GlobalAllocator, Platform, SizeClass};

/// A count of a CPU over all classes; 0 for a CPU that did nothing.
pub(super) fn of(
    global: &GlobalAllocator<Host>,
    cpu: usize,
    count: fn(&CpuClassStats) -> usize,
) -> usize {
    let info = global.slabinfo_of_cpu(cpu);
    info.map_or(0, |info| {
        let classes = SizeClass::ALL.map(|class| count(info.class(class)));
        classes.into_iter().sum()
    })
}

/// Allocations and frees of all CPUs.
pub(super) fn all(global: &GlobalAllocator<Host>) -> (usize, usize) {
    let sum = |count| (0..Host::MAX_CPUS).map(|cpu| of(global, cpu, count)).sum();
    (sum(|stats| stats.allocations), sum(|stats| stats.frees))
}

#[test]
fn allocations_and_frees_count_where_they_were_made() {
    let rig = Rig::new(16);
    let mut made = [[0; 2]; 3];
    let mut live = Vec::new();
    let mut state = 12345_u64;
    for step in 0..40_000 {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let random = usize::try_from(state >> 40).unwrap();
        let cpu = random % 3;
        let wanted = layout([16, 100, 1000][random / 3 % 3]);
        on(cpu, || {
            // Mostly up for a while, then mostly down.
            if (random / 9 % 8 < 5) == (step / 1500 % 2 == 0) {
                live.push((rig.alloc(wanted), wanted));
                made[cpu][0] += 1;
            } else if !live.is_empty() {
                let (object, layout) = live.swap_remove(random / 72 % live.len());
                assert_eq!(rig.free(object, layout), Ok(()));
                made[cpu][1] += 1;
            }
        });
        if step % 5000 == 0 {
            rig.global.drain();
        }
        if step % 1000 == 0 {
            for (cpu, [allocations, frees]) in made.into_iter().enumerate() {
                assert_eq!(of(&rig.global, cpu, |stats| stats.allocations), allocations);
                assert_eq!(of(&rig.global, cpu, |stats| stats.frees), frees);
            }
            assert_eq!(rig.global.slabinfo().live(), live.len());
        }
    }
    assert!(of(&rig.global, 0, |stats| stats.refills) > 10);
    assert!(of(&rig.global, 0, |stats| stats.drains) > 10);
    for (object, layout) in live {
        assert_eq!(rig.free(object, layout), Ok(()));
    }
    rig.assert_recovered();
}

#[test]
fn frees_from_elsewhere_are_told_from_the_owners() {
    let rig = Rig::new(4);
    let objects: Vec<_> = (0..1000).map(|_| rig.alloc(layout(100))).collect();
    let slabs = |count: fn(&CpuClassStats) -> u64| {
        let info = rig.global.slabinfo_of_cpu(0).expect("CPU 0 was here");
        let classes = SizeClass::ALL.map(|class| count(info.class(class)));
        classes.into_iter().sum::<u64>()
    };
    on(1, || {
        for object in &objects[..600] {
            assert_eq!(rig.free(*object, layout(100)), Ok(()));
        }
    });
    on(1, || rig.global.drain());
    assert!(slabs(|stats| stats.remote_frees) >= 600);
    assert_eq!(of(&rig.global, 0, |stats| stats.active), 400);
    assert_eq!(of(&rig.global, 1, |stats| stats.slabs), 0);
    let remote = slabs(|stats| stats.remote_frees);
    for object in &objects[600..] {
        assert_eq!(rig.free(*object, layout(100)), Ok(()));
    }
    rig.global.drain();
    assert_eq!(slabs(|stats| stats.remote_frees), remote);
    assert!(slabs(|stats| stats.local_frees) >= 400);
    rig.assert_recovered();
}

#[test]
fn a_cpu_prints_the_classes_that_it_used() {
    let rig = Rig::new(4);
    let object = rig.alloc(layout(1000));
    let info = rig.global.slabinfo_of_cpu(0).expect("CPU 0 was here");
    let text = std::format!("{info}");
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines[0].starts_with("# cpu 0 "));
    assert_eq!(lines[0].matches('<').count(), 14);
    let cells: Vec<_> = lines[1].split_whitespace().collect();
    let stats = SizeClass::ALL
        .map(|class| *info.class(class))
        .into_iter()
        .find(|stats| stats.slabs != 0)
        .expect("one class was used");
    assert_eq!(cells[1], std::format!("{}", stats.active));
    assert_eq!((stats.slabs, stats.allocations, stats.frees), (1, 1, 0));
    assert_eq!(cells[6], "1");
    assert_eq!(cells[12], std::format!("{}", stats.cached));
    assert_eq!(cells[13], "1");
    assert_eq!(rig.global.slabinfo_of_cpu(1), None);
    assert_eq!(rig.global.slabinfo_of_cpu(Host::MAX_CPUS), None);
    assert_eq!(rig.free(object, layout(1000)), Ok(()));
    rig.assert_recovered();
}
