//! Objects of all sizes that come and go at random, on one CPU and on several.

use std::sync::Mutex;

use fastrand::Rng;

use super::layout;
use super::subjects::{Objects, Subjects, on_cpus, on_one_cpu};
use crate::harness::{Runner, Subject, time};
use crate::report::Unit;
use crate::series::Series;
use crate::target::Target;
use crate::threads::measure;

const LIVE: usize = 10_000;
const STEPS: usize = 20_000;
/// Of all threads together: to start them costs time, too.
const SHARED_STEPS: usize = 16 * STEPS;

pub(super) fn run(runner: &mut Runner, subjects: &Subjects) {
    let case = "objects mixed sizes, random replacement";
    if runner.wants(case) {
        let mixed = on_one_cpu!(subjects, alone);
        runner.compare(case, Unit::Less("ns/pair"), &[Target::Peer(1.0)], mixed);
    }
    Series {
        name: ("objects mixed sizes, of its own on each of", " threads"),
        points: &[1, 2, 4, 8],
        unit: Unit::Rate,
        targets: &[Target::Peer(1.0)],
        growth: &[Target::AtMostOrPeers(1.15)],
    }
    .run(runner, |threads| on_cpus!(subjects, on_threads, threads));
}

/// From 8 to 2048 bytes, each power of two as often as the next.
pub(super) fn any_size(random: &mut Rng) -> usize {
    let top = 8 << random.usize(..9);
    top - random.usize(..top / 2)
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
        let mut random = Rng::with_seed(seed);
        let mut step = || (any_size(&mut random), random.usize(..LIVE));
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

fn on_threads<S: Objects + Sync>(objects: &'static S, threads: usize) -> Subject<'static> {
    let work = |seed| Mutex::new(Cleanup(objects, Work::new(objects, seed)));
    let works: Vec<_> = (4..).take(threads).map(work).collect();
    Subject::new(S::NAME, move || {
        measure(threads, SHARED_STEPS, |cpu| {
            let mut work = works[cpu].lock().expect("no panic");
            for _ in 0..SHARED_STEPS / STEPS / threads {
                work.1.run(objects);
            }
        })
    })
}
