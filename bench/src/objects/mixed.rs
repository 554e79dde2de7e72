//! Objects of all sizes that come and go at random, on one CPU and on two.

use super::layout;
use super::subjects::{Objects, Subjects, on_cpus, on_one_cpu};
use crate::harness::{Random, Runner, Subject, time};
use crate::target::Target;
use crate::threads::measure;

const LIVE: usize = 10_000;
const STEPS: usize = 20_000;
/// With threads, that many times the steps: to start the threads costs time, too.
const REPEAT: usize = 5;

pub(super) fn run(runner: &mut Runner, subjects: &Subjects) {
    let case = "objects mixed sizes, random replacement";
    if runner.wants(case) {
        let mixed = on_one_cpu!(subjects, alone);
        runner.compare(case, "ns/pair", &[Target::Peer(1.0)], mixed);
    }
    let case = "objects mixed sizes, random replacement on 2 threads";
    if runner.wants(case) {
        let mixed = on_cpus!(subjects, on_two);
        runner.compare(case, "ns/pair over all", &[Target::Peer(1.0)], mixed);
    }
}

/// Objects that are live, and which of them are replaced by what.
struct Work {
    live: Vec<Live>,
    steps: Vec<(usize, usize)>,
}

struct Live {
    object: *mut u8,
    size: usize,
}

// SAFETY: whoever has the work has its objects, too.
unsafe impl Send for Work {}

impl Work {
    fn new<S: Objects>(objects: &S, seed: u64) -> Self {
        let mut random = Random::new(seed);
        // From 8 to 2048 bytes, each power of two as often as the next.
        let mut step = || {
            let top = 8 << random.below(9);
            (top - random.below(top / 2), random.below(LIVE))
        };
        let live = (0..LIVE).map(|_| Live::new(objects, step().0)).collect();
        let steps = (0..STEPS).map(|_| step()).collect();
        Self { live, steps }
    }

    fn run<S: Objects>(&mut self, objects: &S) {
        for (size, index) in &self.steps {
            let slot = &mut self.live[*index];
            // SAFETY: replaced at once, so nobody uses it any more.
            unsafe { objects.free(slot.object, layout(slot.size)) };
            *slot = Live::new(objects, *size);
        }
    }
}

impl Live {
    fn new<S: Objects>(objects: &S, size: usize) -> Self {
        let object = objects.alloc(layout(size));
        assert!(!object.is_null(), "{} has not enough memory", S::NAME);
        // SAFETY: just allocated, with more than a byte.
        unsafe { object.write_volatile(1) };
        Self { object, size }
    }
}

/// Gives all objects back when the case is over.
struct Cleanup<S: Objects>(&'static S, Work);

impl<S: Objects> Drop for Cleanup<S> {
    fn drop(&mut self) {
        for live in &self.1.live {
            // SAFETY: the work is over.
            unsafe { self.0.free(live.object, layout(live.size)) };
        }
    }
}

fn alone<S: Objects>(objects: &'static S) -> Subject<'static> {
    let mut work = Cleanup(objects, Work::new(objects, 3));
    Subject::new(S::NAME, move || time(STEPS, || work.1.run(objects)))
}

fn on_two<S: Objects + Sync>(objects: &'static S) -> Subject<'static> {
    let works =
        [4, 5].map(|seed| std::sync::Mutex::new(Cleanup(objects, Work::new(objects, seed))));
    Subject::new(S::NAME, move || {
        measure(2, 2 * REPEAT * STEPS, |cpu| {
            let mut work = works[cpu].lock().expect("no panic");
            for _ in 0..REPEAT {
                work.1.run(objects);
            }
        })
    })
}
