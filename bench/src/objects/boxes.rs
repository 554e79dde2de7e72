//! The program of hermit-os/kernel#1984: threads of which each makes and drops boxes of 64 bytes. There
//! 128 threads took 13 s where Linux took 57 ms.

use std::alloc::Layout;
use std::hint::black_box;
use std::time::{Duration, Instant};

use super::subjects::{Objects, OursOn, Subjects, on_cpus};
use crate::harness::{Cost, Runner, Subject};
use crate::memory::Memory;
use crate::platform::set_cpu;
use crate::report::Unit;
use crate::series::Series;
use crate::target::Target;

/// The most threads; each of them is a CPU.
const THREADS: usize = 128;

/// The fewest and the most of all threads together; in the report it is ten million for each.
const FEWEST: usize = THREADS * 10_000;
const MOST: usize = FEWEST * 8;

/// How long a round takes at least, unless it has the most boxes: much longer than to begin so many threads.
const LONG: Duration = Duration::from_millis(40);

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
            Subject::new("harness", move || {
                cost(spawn(threads, FEWEST, &|_| {}), FEWEST)
            }),
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
    let mut boxes = FEWEST;
    Subject::new(S::NAME, move || {
        loop {
            let time = spawn(threads, boxes, &work);
            if time >= LONG || boxes == MOST {
                return cost(time, boxes);
            }
            boxes *= 2;
        }
    })
}

/// The time from before the first thread begins until the last one is over, as reported there.
fn spawn(threads: usize, boxes: usize, work: &(impl Fn(usize) + Sync)) -> Duration {
    let start = Instant::now();
    std::thread::scope(|scope| {
        for cpu in 0..threads {
            scope.spawn(move || {
                set_cpu(cpu);
                work(boxes / threads);
            });
        }
    });
    start.elapsed()
}

fn cost(time: Duration, boxes: usize) -> Cost {
    Cost {
        ns: time.as_secs_f64() * 1e9 / boxes as f64,
        instructions: None,
    }
}
