//! The program of hermit-os/kernel#1984: threads of which each makes and drops boxes of 64 bytes. There
//! 128 threads took 13 s where Linux took 57 ms.

use std::alloc::Layout;
use std::hint::black_box;
use std::time::Instant;

use super::subjects::{Objects, OursOn, Subjects, on_cpus};
use crate::harness::{Cost, Runner, Subject};
use crate::memory::Memory;
use crate::platform::set_cpu;
use crate::report::Unit;
use crate::series::Series;
use crate::target::Target;

/// The most threads; each of them is a CPU.
const THREADS: usize = 128;

/// Of all threads together; in the report it is ten million for each.
const BOXES: usize = THREADS * 10_000;

pub(super) fn run(runner: &mut Runner, subjects: &Subjects) {
    let ours: &'static OursOn<THREADS> =
        Box::leak(Box::new(OursOn::new(Memory::new(128 << 20, 2 << 20))));
    Series {
        name: ("objects boxes of 64 B on", " threads"),
        points: &[1, 2, 8, 32, THREADS],
        unit: Unit::Rate,
        targets: &[Target::Peer(1.0)],
        growth: &[Target::AtMostOrPeers(1.15)],
    }
    .run(runner, |threads| {
        let mut boxes = vec![
            Subject::new("harness", move || spawn(threads, |_| {})),
            on_threads(ours, threads),
        ];
        // All but ours, which needs more CPUs than elsewhere.
        boxes.extend(on_cpus!(subjects, on_threads, threads).into_iter().skip(1));
        boxes
    });
}

fn on_threads<S: Objects + Sync>(objects: &'static S, threads: usize) -> Subject<'static> {
    let work = move |count: usize| {
        let layout = Layout::new::<[u64; 8]>();
        for _ in 0..count {
            let object = objects.alloc(layout);
            assert!(!object.is_null(), "{} has not enough memory", S::NAME);
            // Not a volatile write: that goes through a copy on the stack, which costs as much as a pair.
            // SAFETY: allocated for that type.
            unsafe { object.cast::<[u64; 8]>().write([0; 8]) };
            black_box(object);
            // SAFETY: allocated above with that layout.
            unsafe { objects.free(object, layout) };
        }
    };
    Subject::new(S::NAME, move || spawn(threads, work))
}

/// The time from before the first thread begins until the last one is over, as reported there.
fn spawn(threads: usize, work: impl Fn(usize) + Sync) -> Cost {
    let start = Instant::now();
    std::thread::scope(|scope| {
        for cpu in 0..threads {
            let work = &work;
            scope.spawn(move || {
                set_cpu(cpu);
                work(BOXES / threads);
            });
        }
    });
    Cost {
        ns: start.elapsed().as_secs_f64() * 1e9 / BOXES as f64,
        instructions: None,
    }
}
