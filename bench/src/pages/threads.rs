//! Several CPUs at once.

use std::hint::black_box;

use spin::mutex::SpinMutex;

use super::MIB;
use super::subjects::{Pages, PeerBuddySlab, PeerBuddySystem, Shared};
use crate::harness::{Runner, Subject};
use crate::memory::Memory;
use crate::report::Unit;
use crate::series::Series;
use crate::target::Target;
use crate::threads::measure;

/// Of all threads together.
const PAIRS: usize = 400_000;

pub(super) fn run(runner: &mut Runner) {
    Series {
        name: ("pages pairs on", " threads"),
        points: &[1, 2, 4, 8],
        unit: Unit::Rate,
        targets: &[Target::Peer(3.0)],
        growth: &[Target::AtMostOrPeers(1.15)],
    }
    .run(runner, |threads| {
        vec![
            shared(threads),
            locked::<PeerBuddySlab>(threads),
            locked::<PeerBuddySystem>(threads),
        ]
    });
}

fn shared(threads: usize) -> Subject<'static> {
    let pages = Shared::new(Memory::new(256 * MIB, 4 << 30)).0;
    Subject::new(Shared::NAME, move || {
        measure(threads, PAIRS, |_| {
            for _ in 0..PAIRS / threads {
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
        measure(threads, PAIRS, |_| {
            for _ in 0..PAIRS / threads {
                let addr = black_box(pages.lock().alloc(S::size(0)));
                pages.lock().free(addr, S::size(0));
            }
        })
    })
}
