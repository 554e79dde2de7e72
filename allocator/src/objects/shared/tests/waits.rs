//! CPUs that stay where they are while others wait for them: they may be in a handler that waits for a lock which
//! whoever allocates holds.

use super::super::super::size_class::SizeClass;
use super::super::allocator::ObjectAllocator;
use super::super::overflow::Moving;
use super::handlers::Interrupted as Machine;
use super::{MIB, Memory, on};
use crate::FrameAllocator;
use crate::pages::tests::Deadline;
use crate::patience::Patience;
use crate::sync::Pinned;

const CLASS: SizeClass = SizeClass::Bytes64;

type Objects = ObjectAllocator<Machine, 0x1000>;

/// Two CPUs, which spin where they wait, that have objects in their magazines, and nobody has any.
fn two_cpus(memory: &Memory) -> (FrameAllocator<Machine>, Objects) {
    let (frames, objects) = (FrameAllocator::new(), ObjectAllocator::new());
    // SAFETY: the memory outlives what the tests do with the allocator, and is used through it only.
    let region = unsafe { memory.whole().as_mut() };
    // SAFETY: as above.
    unsafe { frames.add_region(region) }.expect("enough memory");
    for cpu in [0, 1] {
        on(cpu, || {
            let all: [_; 100] = core::array::from_fn(|_| {
                let object = objects.alloc_inspected(&frames, CLASS);
                object.expect("enough memory").addr().get()
            });
            for addr in all {
                // SAFETY: just allocated.
                let freed = unsafe { objects.free(&frames, addr, CLASS) };
                assert_eq!(freed, Ok(()));
            }
        });
    }
    (frames, objects)
}

#[test]
fn nobody_waits_for_ever_for_a_cpu_that_is_in_its_magazines() {
    let _deadline = Deadline::start();
    let memory = Memory::new(4 * MIB);
    let (frames, objects) = two_cpus(&memory);
    on(1, || {
        let pinned = Pinned::<Machine>::new();
        let cpu = objects.cpus.get(1).expect("it has called");
        let turn = objects.own_turn(cpu, &pinned);
        assert!(turn.is_some());
        on(0, || objects.drain(&frames));
        frames.drain_all();
        assert_ne!(frames.allocated_bytes(), 0, "what it has is left to it");
        drop(turn);
    });
    objects.drain(&frames);
    frames.drain_all();
    assert_eq!(frames.allocated_bytes(), 0);
}

/// Has CPU 1 do something during which CPU 0 drains, and expects that this comes to an end with so many pages.
fn drains_beside(expected: fn(usize) -> bool, hold: impl FnOnce(&Objects, &mut dyn FnMut())) {
    let _deadline = Deadline::start();
    let memory = Memory::new(4 * MIB);
    let (frames, objects) = two_cpus(&memory);
    on(1, || {
        hold(&objects, &mut || {
            let given = on(0, || objects.drain(&frames));
            assert!(expected(given), "{given}");
        });
    });
    on(1, || objects.drain(&frames));
    frames.drain_all();
    assert_eq!(frames.allocated_bytes(), 0);
}

#[test]
fn nobody_waits_for_ever_for_a_cpu_that_looks_at_magazines() {
    drains_beside(
        |given| given == 0,
        |objects, drain| {
            let exclusive = objects.try_exclusive();
            assert!(exclusive.is_some());
            drain();
        },
    );
}

#[test]
fn nobody_waits_for_ever_for_a_cpu_that_is_draining() {
    drains_beside(
        |given| given == 0,
        |objects, drain| {
            let mut patience = Patience::none();
            assert!(objects.passes.join::<Machine>(&mut patience, |_| drain()));
        },
    );
}

#[test]
fn nobody_waits_for_ever_for_objects_on_their_way() {
    drains_beside(
        |given| given != 0,
        |objects, drain| {
            let _moving = Moving::new(objects);
            drain();
        },
    );
}
