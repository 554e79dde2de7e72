//! Cost against the number of objects that are live.

use std::alloc::Layout;
use std::cell::RefCell;
use std::ptr::null_mut;

use fastrand::Rng;

use super::heaps::{Alone, Rlsf, Talc};
use super::layout;
#[cfg(feature = "mallocs")]
use super::mallocs::{Jemalloc, Mimalloc, Snmalloc};
use super::subjects::{BuddySlab, Libc, Objects, Ours};
use crate::harness::{Runner, Subject, time};
use crate::memory::{Discard, Memory};
use crate::report::Unit;
use crate::series::Series;
use crate::target::Target;

const SIZE: usize = 16;
const STEPS: usize = 20_000;

pub(super) fn run(runner: &mut Runner) {
    Series {
        name: ("objects of 16 B replaced at random among", ""),
        points: &[100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000],
        unit: Unit::Less("ns/pair"),
        targets: &[Target::Peer(1.0)],
        // What grows is the cost of a cache miss, which the floor has, too.
        growth: &[Target::Of("floor", 1.2)],
    }
    .run(runner, |live| {
        vec![
            in_memory(Floor::new, live),
            in_memory(Ours::new, live),
            replace(BuddySlab::new(memory), None, live),
            in_memory(Alone::<Talc>::new, live),
            in_memory(Alone::<Rlsf>::new, live),
            replace(Libc, None, live),
            #[cfg(feature = "mallocs")]
            replace(Mimalloc, None, live),
            #[cfg(feature = "mallocs")]
            replace(Snmalloc, None, live),
            #[cfg(feature = "mallocs")]
            replace(Jemalloc, None, live),
        ]
    });
}

fn memory() -> Memory {
    Memory::new(1 << 30, 2 << 20)
}

/// A subject that does not outlive the case, nor does what it used of the memory.
fn in_memory<S: Objects>(new: impl FnOnce(Memory) -> S, live: usize) -> Subject<'static> {
    let memory = memory();
    replace(new(memory), Some(memory.discard_at_end()), live)
}

/// Objects that are freed before as many new ones take their places: one alone would get its own place back. So few
/// that it is not the length of some cache that is measured.
const GROUP: usize = 32;

/// Objects that are live, and all of them freed at the end.
struct Live<S: Objects> {
    objects: S,
    all: Vec<*mut u8>,
    _memory: Option<Discard>,
}

impl<S: Objects> Drop for Live<S> {
    fn drop(&mut self) {
        for object in &self.all {
            // SAFETY: allocated with that layout, and the work is over.
            unsafe { self.objects.free(*object, layout(SIZE)) };
        }
    }
}

fn replace<S: Objects>(objects: S, memory: Option<Discard>, live: usize) -> Subject<'static> {
    let new = |objects: &S| {
        let object = objects.alloc(layout(SIZE));
        assert!(!object.is_null(), "{} has not enough memory", S::NAME);
        // SAFETY: just allocated, with more than a byte.
        unsafe { object.write_volatile(1) };
        object
    };
    let all = (0..live).map(|_| new(&objects)).collect();
    let mut live = Live {
        objects,
        all,
        _memory: memory,
    };
    let mut random = Rng::with_seed(8);
    Subject::new(S::NAME, move || {
        let Live { objects, all, .. } = &mut live;
        let steps: Vec<usize> = (0..STEPS).map(|_| random.usize(..all.len())).collect();
        time(STEPS, || {
            for group in steps.chunks(GROUP) {
                for index in group {
                    let object = std::mem::replace(&mut all[*index], null_mut());
                    if !object.is_null() {
                        // SAFETY: allocated with that layout, and not live any more.
                        unsafe { objects.free(object, layout(SIZE)) };
                    }
                }
                for index in group {
                    if all[*index].is_null() {
                        all[*index] = new(objects);
                    }
                }
            }
        })
    })
}

/// Pops and pushes an array, which takes the next bytes of the memory as long as it is empty.
struct Floor(RefCell<Stack>);

struct Stack {
    objects: [*mut u8; GROUP],
    len: usize,
    memory: Memory,
    next: usize,
}

impl Floor {
    fn new(memory: Memory) -> Self {
        Self(RefCell::new(Stack {
            objects: [null_mut(); GROUP],
            len: 0,
            memory,
            next: 0,
        }))
    }
}

impl Objects for Floor {
    const NAME: &'static str = "floor";

    #[inline(never)]
    fn alloc(&self, _: Layout) -> *mut u8 {
        let stack = &mut *self.0.borrow_mut();
        if let Some(len) = stack.len.checked_sub(1) {
            stack.len = len;
            return stack.objects[len];
        }
        let object = stack.memory.part(stack.next, SIZE);
        stack.next += SIZE;
        object.region().cast::<u8>().as_ptr()
    }

    #[inline(never)]
    unsafe fn free(&self, object: *mut u8, _: Layout) {
        let stack = &mut *self.0.borrow_mut();
        if stack.len < GROUP {
            stack.objects[stack.len] = object;
            stack.len += 1;
        }
    }
}
