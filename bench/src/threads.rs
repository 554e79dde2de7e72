//! Several CPUs at once.

use std::sync::{Barrier, Mutex};
use std::time::Instant;

use crate::harness::Cost;
use crate::platform::set_cpu;

/// Runs `work` on every thread at once; the cost of an operation from the first one's beginning to
/// the last one's end, where all threads together do `operations`.
pub(crate) fn measure(threads: usize, operations: usize, work: impl Fn(usize) + Sync) -> Cost {
    let barrier = Barrier::new(threads);
    let spans = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for cpu in 0..threads {
            let (barrier, spans, work) = (&barrier, &spans, &work);
            scope.spawn(move || {
                set_cpu(cpu);
                barrier.wait();
                let start = Instant::now();
                work(cpu);
                let span = (start, Instant::now());
                spans.lock().expect("no panic").push(span);
            });
        }
    });
    let spans = spans.into_inner().expect("no panic");
    let start = spans.iter().map(|span| span.0).min().expect("a thread");
    let end = spans.iter().map(|span| span.1).max().expect("a thread");
    Cost {
        ns: (end - start).as_secs_f64() * 1e9 / operations as f64,
        instructions: None,
    }
}
