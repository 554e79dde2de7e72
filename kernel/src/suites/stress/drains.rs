//! Caches that are emptied at any time, by anybody.

use core::alloc::Layout;

use super::live_set::LiveSet;
use super::mixed::any;
use super::rig::wake_all_caches;
use super::worker::Worker;
use crate::arch::{percpu, work};
use crate::memory::{self, HEAP};
use crate::suites::free_pages;

/// Blocks that each CPU holds.
const LIVE: usize = 100;

/// Everybody allocates; once in a while somebody empties caches.
pub(super) fn work(worker: &mut Worker<'_>) {
    let mut live = LiveSet::new(LIVE);
    let cpus = worker.cpus();
    let seldom = 64 * u32::try_from(cpus).unwrap_or(1);
    while worker.goes_on() {
        match any(worker) {
            Some(block) => live.insert(worker, block),
            None => live.clear(worker),
        }
        if !worker.one_in(seldom) {
            continue;
        }
        let cpu = worker.random.usize(..cpus);
        match worker.random.u32(..5) {
            0 => {
                HEAP.drain();
            }
            1 => {
                HEAP.frames().drain_all();
            }
            2 => {
                HEAP.frames().drain_cpu(cpu);
            }
            // In an interrupt of that CPU, whatever it is doing.
            3 => {
                let drain = |_| {
                    HEAP.drain();
                };
                work::interrupt(cpu, &drain);
            }
            _ => live.clear(worker),
        }
    }
    live.clear(worker);
}

/// Pages and objects that wait in a CPU's caches.
const WAITING: usize = 10;

/// Puts something into all caches of the CPU that runs this.
fn fill_caches() {
    let layout = Layout::new::<[u64; 8]>();
    let objects = [(); WAITING].map(|()| HEAP.alloc(layout).expect("an object"));
    for object in objects {
        // SAFETY: allocated above with this layout.
        let freed = unsafe { HEAP.dealloc(object, layout) };
        assert_eq!(freed, Ok(()));
    }
    let pages = [(); WAITING].map(|()| HEAP.alloc_pages(1, 0).expect("a page"));
    for page in pages {
        assert_eq!(free_pages(page, 1), Ok(()));
    }
}

fn cached_pages(cpu: usize) -> usize {
    let info = HEAP.frames().cpu_info(cpu);
    info.map_or(0, |info| info.cached_pages)
}

/// Every CPU fills its caches; one CPU drains, each in turn; then all caches are empty.
pub(super) fn reach_every_cpu() {
    wake_all_caches();
    let before = memory::pages_out();
    for drainer in percpu::all().map(percpu::Cpu::id) {
        work::on_all(&|_| fill_caches());
        for cpu in percpu::all().map(percpu::Cpu::id) {
            assert!(
                cached_pages(cpu) >= WAITING,
                "CPU {cpu} keeps what it freed"
            );
        }
        assert!(
            HEAP.allocated_bytes() / 4096 > before,
            "slabs are kept, too"
        );
        work::on_all(&|cpu| {
            if cpu == drainer {
                HEAP.drain();
            }
        });
        for cpu in percpu::all().map(percpu::Cpu::id) {
            assert_eq!(cached_pages(cpu), 0, "CPU {cpu}, drained by {drainer}");
        }
        let out = HEAP.allocated_bytes() / 4096 - crate::arch::space::table_pages();
        assert_eq!(out, before, "pages out, drained by {drainer}");
    }
}
