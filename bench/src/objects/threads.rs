//! Objects that one CPU allocates and another frees.

use std::hint::black_box;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};

use super::subjects::{Objects, Subjects, on_cpus};
use super::{SIZES, layout};
use crate::harness::{Cost, Runner, Subject};
use crate::report::Unit;
use crate::series::Series;
use crate::target::Target;
use crate::threads::measure;

/// Of all threads together.
const OBJECTS: usize = 200_000;
const SLOTS: usize = 1024;

pub(super) fn run(runner: &mut Runner, subjects: &Subjects) {
    for size in SIZES.into_iter().filter(|size| *size != SCALED) {
        let case = format!("objects of {size} B to another thread");
        if runner.wants(&case) {
            let mut passed = vec![harness(2)];
            passed.extend(on_cpus!(subjects, pass, 2, size));
            runner.compare(&case, Unit::Less("ns/object"), &[Target::Peer(1.0)], passed);
        }
    }
    Series {
        name: ("objects of 64 B to another thread, on", " threads"),
        points: &[1, 2, 4, 8],
        unit: Unit::Rate,
        targets: &[Target::Peer(1.0)],
        growth: &[Target::AtMostOrPeers(1.15)],
    }
    .run(runner, |threads| {
        let mut passed = vec![harness(threads)];
        passed.extend(on_cpus!(subjects, pass, threads, SCALED));
        passed
    });
}

/// The size that goes through more and more threads.
const SCALED: usize = 64;

/// A ring that one thread fills and another empties: a null pointer is an empty slot.
struct Ring([AtomicPtr<u8>; SLOTS]);

impl Ring {
    fn new() -> Self {
        Self([const { AtomicPtr::new(null_mut()) }; SLOTS])
    }

    fn put(&self, turn: usize, object: *mut u8) {
        let slot = &self.0[turn % SLOTS];
        while !slot.load(Ordering::Acquire).is_null() {
            wait();
        }
        slot.store(object, Ordering::Release);
    }

    fn take(&self, turn: usize) -> *mut u8 {
        let slot = &self.0[turn % SLOTS];
        loop {
            let object = slot.load(Ordering::Acquire);
            if !object.is_null() {
                slot.store(null_mut(), Ordering::Release);
                return object;
            }
            wait();
        }
    }
}

/// The other thread may need this one's CPU.
fn wait() {
    for _ in 0..64 {
        std::hint::spin_loop();
    }
    std::thread::yield_now();
}

/// What a thread does with the ring that it shares with a neighbour.
#[derive(Clone, Copy)]
enum Part {
    /// As much as fits goes in, then all of it comes out: a thread alone.
    Both,
    Puts,
    Takes,
}

impl Part {
    const fn of(thread: usize, threads: usize) -> Self {
        match (threads, thread % 2) {
            (1, _) => Self::Both,
            (_, 0) => Self::Puts,
            _ => Self::Takes,
        }
    }
}

/// Has pairs of threads pass what `make` gives to `end`.
fn through_rings(
    threads: usize,
    make: impl Fn() -> *mut u8 + Sync,
    end: impl Fn(*mut u8) + Sync,
) -> Cost {
    let rings: Vec<Ring> = (0..threads.div_ceil(2)).map(|_| Ring::new()).collect();
    let each = OBJECTS / rings.len();
    measure(threads, OBJECTS, |cpu| {
        let ring = &rings[cpu / 2];
        match Part::of(cpu, threads) {
            Part::Both => {
                for start in (0..each).step_by(SLOTS) {
                    let turns = start..each.min(start + SLOTS);
                    turns.clone().for_each(|turn| ring.put(turn, make()));
                    turns.for_each(|turn| end(ring.take(turn)));
                }
            }
            Part::Puts => (0..each).for_each(|turn| ring.put(turn, make())),
            Part::Takes => (0..each).for_each(|turn| end(ring.take(turn))),
        }
    })
}

/// The rings alone.
fn harness(threads: usize) -> Subject<'static> {
    let make = || std::ptr::without_provenance_mut(1);
    Subject::new("harness", move || {
        through_rings(threads, make, |object| {
            black_box(object);
        })
    })
}

fn pass<S: Objects + Sync>(objects: &'static S, threads: usize, size: usize) -> Subject<'static> {
    Subject::new(S::NAME, move || {
        let layout = layout(black_box(size));
        let make = || {
            let object = objects.alloc(layout);
            assert!(!object.is_null(), "{} has not enough memory", S::NAME);
            // SAFETY: just allocated, with more than a byte.
            unsafe { object.write_volatile(1) };
            object
        };
        through_rings(threads, make, |object| {
            // SAFETY: allocated with that layout by another thread, which forgot it.
            unsafe { objects.free(object, layout) };
        })
    })
}
