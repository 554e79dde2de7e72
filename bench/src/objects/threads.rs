//! Objects that one CPU allocates and another frees.

use std::hint::black_box;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};

use super::subjects::{Objects, Subjects, on_cpus};
use super::{SIZES, layout};
use crate::harness::{Runner, Subject};
use crate::target::Target;
use crate::threads::measure;

const OBJECTS: usize = 100_000;
const SLOTS: usize = 1024;

pub(super) fn run(runner: &mut Runner, subjects: &Subjects) {
    for size in SIZES {
        let case = format!("objects of {size} B to another thread");
        if runner.wants(&case) {
            let mut passed = vec![Subject::new("harness", ring)];
            passed.extend(on_cpus!(subjects, pass, size));
            runner.compare(&case, "ns/object", &[Target::Peer(1.0)], passed);
        }
    }
}

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

/// The ring alone.
fn ring() -> f64 {
    let ring = Ring::new();
    measure(2, OBJECTS, |cpu| {
        for turn in 0..OBJECTS {
            if cpu == 0 {
                ring.put(turn, std::ptr::without_provenance_mut(turn + 1));
            } else {
                black_box(ring.take(turn));
            }
        }
    })
}

fn pass<S: Objects + Sync>(objects: &'static S, size: usize) -> Subject<'static> {
    let ring = Ring::new();
    Subject::new(S::NAME, move || {
        let layout = layout(black_box(size));
        measure(2, OBJECTS, |cpu| {
            for turn in 0..OBJECTS {
                if cpu == 0 {
                    let object = objects.alloc(layout);
                    assert!(!object.is_null(), "{} has not enough memory", S::NAME);
                    // SAFETY: just allocated, with more than a byte.
                    unsafe { object.write_volatile(1) };
                    ring.put(turn, object);
                } else {
                    let object = ring.take(turn);
                    // SAFETY: the other thread allocated it with that layout and forgot it.
                    unsafe { objects.free(object, layout) };
                }
            }
        })
    })
}
