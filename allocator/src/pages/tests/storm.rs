//! Threads and signals that do everything at once.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use std::vec::Vec;

use fastrand::Rng;

use super::shared::{assert_recovered, shared};
use super::{Cpu, Deadline, GIB, Host, MIB, Memory, PAGE, duration, interrupt_cpus};
use crate::{AllocError, FrameAllocator, PageRequest};

const THREADS: usize = 4;

/// A block that says on every page whose it is.
struct Stamped {
    addr: usize,
    count: usize,
    stamp: usize,
}

impl Stamped {
    fn new(addr: usize, count: usize, stamp: usize) -> Self {
        for page in 0..count {
            let word = core::ptr::with_exposed_provenance_mut::<usize>(addr + page * PAGE);
            // SAFETY: the block was just allocated.
            unsafe { word.write_volatile(stamp + page) };
        }
        Self { addr, count, stamp }
    }

    fn free(self, frames: &FrameAllocator<Host>) {
        for page in 0..self.count {
            let word = core::ptr::with_exposed_provenance::<usize>(self.addr + page * PAGE);
            // SAFETY: the block is allocated.
            let found = unsafe { word.read_volatile() };
            assert_eq!(
                found,
                self.stamp + page,
                "somebody else wrote into an allocated block"
            );
        }
        // SAFETY: the block is this value's.
        unsafe { frames.dealloc_pages(self.addr, self.count) }.unwrap();
    }
}

/// Random requests against the allocator until told to stop.
fn churn(frames: &FrameAllocator<Host>, id: usize, stop: &AtomicBool, exchange: &Exchange) {
    Cpu::set(id);
    let mut random = Rng::with_seed(id as u64);
    let mut live: Vec<Stamped> = Vec::new();
    let mut stamp = id << 40;
    while !stop.load(Ordering::Relaxed) {
        match random.usize(..100) {
            0..50 => {
                let count = match random.usize(..20) {
                    0 => 512,
                    1..4 => 1 + random.usize(..40),
                    _ => 1 << random.usize(..4),
                };
                let mut request = PageRequest::new(count);
                if random.usize(..4) == 0 {
                    request = request.lowmem();
                }
                if random.usize(..4) == 0 {
                    request = request.exact();
                }
                match frames.allocate(&request) {
                    Ok(addr) => {
                        stamp += 1 << 12;
                        let exact = if request.exact {
                            count
                        } else {
                            count.next_power_of_two()
                        };
                        live.push(Stamped::new(addr, exact, stamp));
                    }
                    Err(error) => assert_eq!(error, AllocError::NoMemory),
                }
            }
            50..90 => {
                if !live.is_empty() {
                    live.swap_remove(random.usize(..live.len())).free(frames);
                }
            }
            90..98 => {
                if let Some(block) = live.pop() {
                    exchange.put(block);
                }
                if let Some(block) = exchange.get(random.usize(..64)) {
                    block.free(frames);
                }
            }
            98 => {
                frames.drain_cpu(random.usize(..THREADS + 1));
            }
            _ => {
                frames.drain_all();
                live.drain(..).for_each(|block| block.free(frames));
            }
        }
        if live.len() > 400 {
            live.drain(..200).for_each(|block| block.free(frames));
        }
    }
    live.drain(..).for_each(|block| block.free(frames));
}

/// Where threads leave blocks for others to free.
#[derive(Default)]
struct Exchange(std::sync::Mutex<Vec<Stamped>>);

impl Exchange {
    fn put(&self, block: Stamped) {
        self.0.lock().unwrap().push(block);
    }

    fn get(&self, i: usize) -> Option<Stamped> {
        let mut blocks = self.0.lock().unwrap();
        (i < blocks.len()).then(|| blocks.swap_remove(i))
    }
}

#[test]
fn threads_allocate_free_and_drain_each_other() {
    let _deadline = Deadline::start();
    let memory = Memory::new(96 * MIB);
    let frames = shared(&memory, 4 * GIB - 64 * MIB as u64);
    let stop = AtomicBool::new(false);
    let exchange = Exchange::default();
    thread::scope(|scope| {
        for id in 0..THREADS {
            let (frames, stop, exchange) = (&frames, &stop, &exchange);
            scope.spawn(move || churn(frames, id, stop, exchange));
        }
        // A CPU of its own for what looks at the caches meanwhile, too.
        Cpu::set(THREADS);
        let end = Instant::now() + duration();
        while Instant::now() < end {
            thread::sleep(Duration::from_millis(50));
            frames.validate().unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    });
    exchange
        .0
        .lock()
        .unwrap()
        .drain(..)
        .for_each(|block| block.free(&frames));
    assert_recovered(&frames);
}

#[test]
fn regions_come_and_go_under_load() {
    let _deadline = Deadline::start();
    let memory = Memory::new(64 * MIB);
    let frames = shared(&memory, GIB);
    let extra: Vec<Memory> = (0..4).map(|_| Memory::new(8 * MIB)).collect();
    let stop = AtomicBool::new(false);
    let exchange = Exchange::default();
    let (mut added, mut removed, mut busy) = (0, 0, 0);
    thread::scope(|scope| {
        for id in 0..THREADS {
            let (frames, stop, exchange) = (&frames, &stop, &exchange);
            scope.spawn(move || churn(frames, id, stop, exchange));
        }
        Cpu::set(THREADS);
        let end = Instant::now() + duration();
        let mut random = Rng::with_seed(99);
        while Instant::now() < end {
            let i = random.usize(..extra.len());
            let phys = 8 * GIB + (i as u64) * GIB;
            // SAFETY: the memory outlives the allocator, or its section is removed before.
            match unsafe { frames.add_region_at(extra[i].whole(), phys) } {
                Ok(_) => added += 1,
                Err(error) => {
                    assert_eq!(error, AllocError::MemoryOverlap);
                    match frames.remove_section(extra[i].addr() + 4 * MIB) {
                        Ok(range) => {
                            removed += 1;
                            // It is ours again: nobody may touch it any more.
                            let start = core::ptr::with_exposed_provenance_mut::<u8>(range.start);
                            // SAFETY: the section is gone.
                            unsafe { start.write_bytes(0xdd, range.len()) };
                        }
                        Err(AllocError::Busy(pages)) => {
                            assert!(pages > 0);
                            busy += 1;
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    exchange
        .0
        .lock()
        .unwrap()
        .drain(..)
        .for_each(|block| block.free(&frames));
    std::println!("{added} added, {removed} removed, {busy} times busy");
    assert!(added > 0 && removed > 0);
    assert_recovered(&frames);
}

/// Memory that is short all the time: every page is always in somebody's hands or in a cache.
#[test]
fn no_page_is_missed_in_another_cpus_cache() {
    let _deadline = Deadline::start();
    let memory = Memory::new(4 * MIB);
    let frames = shared(&memory, GIB);
    // One page per CPU is what is left; whoever has it frees it and takes it again.
    for id in 0..=THREADS {
        Cpu::set(id);
        let addr = frames.alloc_pages(1, 0).unwrap();
        // SAFETY: just allocated.
        unsafe { frames.dealloc_pages(addr, 1) }.unwrap();
    }
    frames.drain_all();
    let mut all: Vec<usize> = core::iter::from_fn(|| frames.alloc_pages(1, 0).ok()).collect();
    for addr in all.drain(..THREADS) {
        // SAFETY: just allocated.
        unsafe { frames.dealloc_pages(addr, 1) }.unwrap();
    }
    let stop = AtomicBool::new(false);
    let rounds = AtomicUsize::new(0);
    thread::scope(|scope| {
        for id in 0..THREADS {
            let (frames, stop, rounds) = (&frames, &stop, &rounds);
            scope.spawn(move || {
                Cpu::set(id);
                while !stop.load(Ordering::Relaxed) {
                    let addr = frames
                        .alloc_pages(1, 0)
                        .expect("a page is free for every CPU");
                    // SAFETY: just allocated.
                    unsafe { frames.dealloc_pages(addr, 1) }.unwrap();
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        thread::sleep(duration());
        stop.store(true, Ordering::Relaxed);
    });
    assert!(rounds.load(Ordering::Relaxed) > 0);
    for addr in all {
        // SAFETY: ours since before the threads.
        unsafe { frames.dealloc_pages(addr, 1) }.unwrap();
    }
    assert_recovered(&frames);
}

static INTERRUPTED: FrameAllocator<Host> = FrameAllocator::new();
static INTERRUPTS: AtomicUsize = AtomicUsize::new(0);
/// Pages that handlers allocated and have not freed yet, one place per CPU.
static HANDED: [AtomicUsize; THREADS] = [const { AtomicUsize::new(0) }; THREADS];

/// The interrupt: allocates, and frees what an earlier one allocated.
extern "C" fn interrupt(_: libc::c_int) {
    if Cpu::is_masked() {
        return;
    }
    INTERRUPTS.fetch_add(1, Ordering::Relaxed);
    for (i, place) in HANDED.iter().enumerate() {
        let count = 1 << i;
        let fresh = INTERRUPTED.alloc_pages(count, 0).unwrap_or(0);
        let old = place.swap(fresh, Ordering::AcqRel);
        if old != 0 {
            // SAFETY: whoever takes the address out of its place owns the block.
            unsafe { INTERRUPTED.dealloc_pages(old, count) }.unwrap();
        }
    }
}

#[test]
fn interrupts_allocate_whatever_they_interrupted() {
    let _deadline = Deadline::start();
    let memory = core::mem::ManuallyDrop::new(Memory::new(64 * MIB));
    // SAFETY: the memory is never unmapped.
    unsafe { INTERRUPTED.add_region_at(memory.whole(), GIB) }.unwrap();
    interrupt_cpus(libc::SIGUSR1, interrupt, &INTERRUPTS, |id, stop| {
        churn_without_mutex(&INTERRUPTED, id, stop);
    });
    for (i, place) in HANDED.iter().enumerate() {
        let addr = place.swap(0, Ordering::AcqRel);
        if addr != 0 {
            // SAFETY: as in the handler.
            unsafe { INTERRUPTED.dealloc_pages(addr, 1 << i) }.unwrap();
        }
    }
    assert_recovered(&INTERRUPTED);
}

/// Like [`churn`], but without exchanging blocks, so that a signal finds no lock but ours.
fn churn_without_mutex(frames: &FrameAllocator<Host>, id: usize, stop: &AtomicBool) {
    let mut random = Rng::with_seed(id as u64);
    let mut live: Vec<Stamped> = Vec::with_capacity(1000);
    let mut stamp = (id + 1) << 40;
    while !stop.load(Ordering::Relaxed) {
        let count = if random.usize(..30) == 0 {
            512
        } else {
            1 << random.usize(..6)
        };
        if random.usize(..2) == 0 && live.len() < 900 {
            if let Ok(addr) = frames.alloc_pages(count, 0) {
                stamp += 1 << 12;
                live.push(Stamped::new(addr, count, stamp));
            }
        } else if !live.is_empty() {
            live.swap_remove(random.usize(..live.len())).free(frames);
        } else if random.usize(..100) == 0 {
            frames.drain_all();
        }
    }
    live.drain(..).for_each(|block| block.free(frames));
}
