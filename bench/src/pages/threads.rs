//! Several CPUs at once.

use std::hint::black_box;
use std::sync::{Barrier, Mutex};
use std::time::Instant;

use spin::mutex::SpinMutex;

use super::MIB;
use super::subjects::{Pages, PeerBuddySlab, PeerBuddySystem, Shared};
use crate::harness::{Runner, Subject};
use crate::memory::Memory;
use crate::platform::set_cpu;

const PAIRS: usize = 100_000;

pub(super) fn run(runner: &mut Runner) {
    for threads in [1, 2, 4, 8] {
        let case = format!("pages pairs on {threads} threads");
        if !runner.wants(&case) {
            continue;
        }
        runner.compare(
            &case,
            "ns/pair over all",
            vec![
                shared(threads),
                locked::<PeerBuddySlab>(threads),
                locked::<PeerBuddySystem>(threads),
            ],
        );
    }
}

/// Runs `work` on every thread at once; nanoseconds per pair from the first one's beginning to the
/// last one's end, counting the pairs of all threads.
fn measure(threads: usize, work: impl Fn(usize) + Sync) -> f64 {
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
                spans
                    .lock()
                    .expect("no panic")
                    .push((start, Instant::now()));
            });
        }
    });
    let spans = spans.into_inner().expect("no panic");
    let start = spans.iter().map(|span| span.0).min().expect("a thread");
    let end = spans.iter().map(|span| span.1).max().expect("a thread");
    (end - start).as_secs_f64() * 1e9 / (threads * PAIRS) as f64
}

fn shared(threads: usize) -> Subject<'static> {
    let pages = Shared::new(Memory::new(256 * MIB, 4 << 30)).0;
    Subject::new(Shared::NAME, move || {
        measure(threads, |_| {
            for _ in 0..PAIRS {
                let addr = black_box(pages.alloc_pages(1, 0)).unwrap_or(0);
                // SAFETY: just allocated.
                let freed = unsafe { pages.dealloc_pages(addr, 1) };
                debug_assert!(freed.is_ok());
            }
        })
    })
}

fn locked<S: Pages + Send + 'static>(threads: usize) -> Subject<'static> {
    let pages: SpinMutex<S> = SpinMutex::new(S::new(Memory::new(256 * MIB, 4 << 30)));
    Subject::new(S::LOCKED, move || {
        measure(threads, |_| {
            for _ in 0..PAIRS {
                let addr = black_box(pages.lock().alloc(0));
                pages.lock().free(addr, 0);
            }
        })
    })
}
