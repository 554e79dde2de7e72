//! What all stresses have in common: CPUs, interrupts, time, and the reckoning at the end.

use alloc::vec::Vec;
use core::fmt;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};

use spin::mutex::SpinMutex;

use super::block::Block;
use super::budget::Budget;
use super::handler;
use super::history::History;
use super::ledger::Ledger;
use super::mailbox::Mailboxes;
use super::worker::Worker;
use crate::arch::{clock, percpu, storm, work};
use crate::console::println;
use crate::events::{self, Event, Load};
use crate::memory::HEAP;
use crate::{harness, settings};

/// Time between two lines on the progress.
const REPORT_MS: u64 = 3_000;

/// The order of the blocks that count as whole in what is said of fragmentation: 2 MiB.
const LARGE: usize = 9;

/// What a CPU has of its own in a rig.
pub(super) struct Place {
    /// Operations of its worker. Written by that CPU only.
    pub(super) operations: AtomicU64,
    /// Interrupts in which its handler allocated. Written by that CPU only.
    pub(super) interrupts: AtomicU64,
    /// Until when its handler does nothing, in ticks of the clock. Used by that CPU only.
    pub(super) pause: AtomicU64,
    /// Serial numbers of blocks.
    pub(super) serial: AtomicU64,
    /// What its handler keeps from one interrupt to the next.
    pub(super) kept: SpinMutex<Option<Block>>,
}

/// One stress.
pub(super) struct Rig {
    pub(super) name: &'static str,
    pub(super) seed: u64,
    pub(super) ledger: Ledger,
    pub(super) history: History,
    pub(super) boxes: Mailboxes,
    places: Vec<Place>,
    budget: Budget,
    is_over: AtomicBool,
}

/// The beginning of every message that something is wrong.
#[derive(Clone, Copy)]
pub(super) struct Title {
    name: &'static str,
    seed: u64,
}

impl fmt::Display for Title {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stress {}, seed {}", self.name, self.seed)
    }
}

/// The rig that handlers work for; null between stresses.
static CURRENT: AtomicPtr<Rig> = AtomicPtr::new(ptr::null_mut());

impl Rig {
    /// Runs `work` on every CPU with interrupts on, handlers allocating in them, until the time is over;
    /// then settles up.
    pub(super) fn run(name: &'static str, work: fn(&mut Worker<'_>)) {
        let cpus = percpu::all().map(|cpu| cpu.id() + 1).max().unwrap_or(1);
        wake_all_caches();
        HEAP.drain();
        let before = HEAP.buddyinfo();
        let rig = Self {
            name,
            seed: settings::seed(),
            ledger: Ledger::new(),
            history: History::new(),
            boxes: Mailboxes::new(cpus),
            places: (0..cpus).map(|_| Place::new()).collect(),
            budget: Budget::new(),
            is_over: AtomicBool::new(false),
        };
        CURRENT.store(ptr::from_ref(&rig).cast_mut(), Ordering::Release);
        storm::during(handler::interrupt, &|cpu| {
            work(&mut Worker::new(&rig, cpu));
        });
        CURRENT.store(ptr::null_mut(), Ordering::Release);
        rig.settle();
        let title = rig.title();
        // While the caches are as the stress has left them.
        if let Err(violation) = HEAP.validate() {
            panic!("{title}: the heap is inconsistent: {violation}");
        }
        rig.summary();
        drop(rig);
        HEAP.drain();
        assert_eq!(
            HEAP.buddyinfo(),
            before,
            "{title}: free blocks, after and before"
        );
    }

    /// The rig of the running stress.
    pub(super) fn current() -> Option<&'static Self> {
        // SAFETY: null, or the rig of `run`, which takes the pointer back when no CPU is in a handler any
        // more, and none will be.
        unsafe { CURRENT.load(Ordering::Acquire).as_ref() }
    }

    /// Which stress it is, and what repeats its choices.
    pub(super) const fn title(&self) -> Title {
        Title {
            name: self.name,
            seed: self.seed,
        }
    }

    pub(super) fn place(&self, cpu: usize) -> &Place {
        &self.places[cpu]
    }

    pub(super) fn cpus(&self) -> usize {
        self.places.len()
    }

    /// Microseconds since the beginning.
    pub(super) fn now_us(&self) -> u64 {
        clock::to_us(self.budget.elapsed())
    }

    /// Whether everybody should come to an end.
    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// Looks at the clock.
    pub(super) fn look(&self) {
        if self.budget.is_over() {
            self.is_over.store(true, Ordering::Relaxed);
        }
    }

    fn sum(&self, of: impl Fn(&Place) -> &AtomicU64) -> u64 {
        let values = self.places.iter().map(of);
        values.map(|value| value.load(Ordering::Relaxed)).sum()
    }

    /// Frees what is under way, and shows that nothing else is live.
    fn settle(&self) {
        let mut worker = Worker::new(self, percpu::id());
        for block in self.boxes.rest() {
            worker.free(block);
        }
        for place in &self.places {
            if let Some(block) = place.kept.lock().take() {
                worker.free(block);
            }
        }
        assert!(
            self.ledger.is_empty(),
            "{}: leaks, by the call that allocated:{}",
            self.title(),
            self.ledger
        );
    }

    fn summary(&self) {
        let ms = clock::to_ms(self.budget.elapsed());
        let operations = self.sum(|place| &place.operations);
        let interrupts = self.sum(|place| &place.interrupts);
        println!(
            "stress {}: {operations} operations, {interrupts} interrupts that allocated, in {ms} ms",
            self.name
        );
        for (unit, value) in [("operations", operations), ("interrupts", interrupts)] {
            events::emit(&Event::Stat {
                name: harness::running().unwrap_or(self.name),
                value,
                unit,
            });
        }
    }

    /// A line on how it goes, now and then. `last` is when the last one was, and how many operations there
    /// had been.
    pub(super) fn report(&self, last: &mut (u64, u64)) {
        let now = self.budget.elapsed();
        let since = now.saturating_sub(last.0);
        if since < clock::from_ms(REPORT_MS) {
            return;
        }
        let operations = self.sum(|place| &place.operations);
        let ms = clock::to_ms(since).max(1);
        let load = Load {
            rate: (operations - last.1) * 1000 / ms,
            live: self.ledger.live_bytes(),
            fragmentation: fragmentation(),
            interrupts: self.sum(|place| &place.interrupts),
        };
        *last = (now, operations);
        let total = self.budget.length();
        println!(
            "stress {}: {} operations/s, {} KiB live, {} of 1000 parts of free memory in blocks below 2 MiB, \
             {} interrupts that allocated, {} s left",
            self.name,
            load.rate,
            load.live / 1024,
            load.fragmentation,
            load.interrupts,
            clock::to_ms(total.saturating_sub(now)) / 1000
        );
        events::emit(&Event::Progress {
            name: harness::running().unwrap_or(self.name),
            done: clock::to_ms(now),
            total: clock::to_ms(total),
            load: Some(load),
        });
    }
}

impl Place {
    fn new() -> Self {
        Self {
            operations: AtomicU64::new(0),
            interrupts: AtomicU64::new(0),
            pause: AtomicU64::new(0),
            serial: AtomicU64::new(0),
            kept: SpinMutex::new(None),
        }
    }
}

/// Of the zone with the most free memory.
fn fragmentation() -> i32 {
    let info = HEAP.buddyinfo();
    let zone = info.zones().max_by_key(|zone| zone.free_pages);
    zone.map_or(0, |zone| zone.unusable_index(LARGE))
}

/// A CPU's first calls set its own state up, for good: that must not show in what is compared.
pub(super) fn wake_all_caches() {
    work::on_all(&|_| {
        drop(alloc::boxed::Box::new(0_u64));
        if let Ok(page) = HEAP.alloc_pages(1, 0) {
            // SAFETY: allocated just now.
            let freed = unsafe { HEAP.dealloc_pages(page, 1) };
            assert_eq!(freed, Ok(()));
        }
    });
}
