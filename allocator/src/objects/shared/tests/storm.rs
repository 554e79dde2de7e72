//! Threads and signals that do everything at once.

use core::alloc::Layout;
use core::ptr::NonNull;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;
use std::vec::Vec;

use fastrand::Rng;

use super::{Rig, layout};
use crate::GlobalAllocator;
use crate::pages::tests::{Cpu, Deadline, Host, MIB, Memory, duration, interrupt_cpus};

const THREADS: usize = 4;

/// An allocation that is filled with its own stamp.
struct Stamped {
    object: NonNull<u8>,
    layout: Layout,
    stamp: u8,
}

// SAFETY: it owns its memory, as a `Box` would.
unsafe impl Send for Stamped {}

impl Stamped {
    fn new(global: &GlobalAllocator<Host>, layout: Layout, stamp: u8) -> Option<Self> {
        let object = global.alloc(layout).ok()?;
        assert_eq!(object.addr().get() % layout.align(), 0);
        // SAFETY: the memory was just allocated.
        unsafe { object.write_bytes(stamp, layout.size()) };
        Some(Self {
            object,
            layout,
            stamp,
        })
    }

    fn free(self, global: &GlobalAllocator<Host>) {
        // SAFETY: the memory is this value's, and filled.
        let bytes =
            unsafe { core::slice::from_raw_parts(self.object.as_ptr(), self.layout.size()) };
        assert!(
            bytes.iter().all(|byte| *byte == self.stamp),
            "somebody else wrote into an object"
        );
        // SAFETY: as above, and it ends here.
        unsafe { global.dealloc(self.object, self.layout) }.unwrap();
    }
}

fn some_layout(random: &mut Rng) -> Layout {
    let size = match random.usize(..20) {
        0 => random.usize(..20_000),
        1..6 => random.usize(..2049),
        _ => random.usize(..300),
    };
    Layout::from_size_align(size, 1 << random.usize(..8)).unwrap()
}

/// Random requests against the allocator until told to stop.
fn churn(
    global: &GlobalAllocator<Host>,
    id: usize,
    stop: &AtomicBool,
    exchange: &Mutex<Vec<Stamped>>,
) {
    Cpu::set(id);
    let mut random = Rng::with_seed(id as u64);
    let mut live: Vec<Stamped> = Vec::new();
    let mut stamp = 0_u8;
    while !stop.load(Ordering::Relaxed) {
        match random.usize(..1000) {
            0..500 => {
                stamp = stamp.wrapping_add(1);
                live.extend(Stamped::new(global, some_layout(&mut random), stamp));
            }
            500..880 => {
                if !live.is_empty() {
                    live.swap_remove(random.usize(..live.len())).free(global);
                }
            }
            880..998 => {
                let mut others = exchange.lock().unwrap();
                others.extend(live.pop());
                let taken = (others.len() > 200).then(|| others.swap_remove(random.usize(..200)));
                drop(others);
                if let Some(other) = taken {
                    other.free(global);
                }
            }
            998 => {
                global.drain();
            }
            _ => live.drain(..).for_each(|object| object.free(global)),
        }
        if live.len() > 4000 {
            live.drain(..2000).for_each(|object| object.free(global));
        }
    }
    live.drain(..).for_each(|object| object.free(global));
}

fn storm(mib: usize) {
    let _deadline = Deadline::start();
    let rig = Rig::new(mib);
    let stop = AtomicBool::new(false);
    let exchange = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for id in 0..THREADS {
            let (global, stop, exchange) = (&rig.global, &stop, &exchange);
            scope.spawn(move || churn(global, id, stop, exchange));
        }
        thread::sleep(duration());
        stop.store(true, Ordering::Relaxed);
    });
    let left = core::mem::take(&mut *exchange.lock().unwrap());
    left.into_iter().for_each(|object| object.free(&rig.global));
    rig.assert_recovered();
}

/// As `d01_` in `defects`, with everything else going on at the same time.
#[test]
fn d01_threads_free_each_others_objects_and_drain() {
    storm(64);
}

#[test]
fn threads_survive_when_memory_is_short_all_the_time() {
    storm(2);
}

/// One thread allocates, the other frees, and the first finds the memory again.
#[test]
fn d02_a_producer_never_runs_dry_while_its_consumer_frees() {
    let _deadline = Deadline::start();
    let rig = Rig::new(4);
    let (sender, receiver) = std::sync::mpsc::sync_channel::<Vec<Stamped>>(4);
    thread::scope(|scope| {
        let global = &rig.global;
        scope.spawn(move || {
            Cpu::set(1);
            for batch in receiver {
                for object in batch {
                    object.free(global);
                }
            }
        });
        Cpu::set(0);
        let end = Instant::now() + duration();
        while Instant::now() < end {
            let batch: Vec<_> = (0_u8..100)
                .map(|stamp| Stamped::new(global, layout(1000), stamp).expect("3 MiB are free"))
                .collect();
            sender.send(batch).unwrap();
        }
        drop(sender);
    });
    rig.assert_recovered();
}

static INTERRUPTED: GlobalAllocator<Host> = GlobalAllocator::new();
static INTERRUPTS: AtomicUsize = AtomicUsize::new(0);
/// Objects that handlers allocated and have not freed yet.
static HANDED: [AtomicPtr<u8>; 4] = [const { AtomicPtr::new(core::ptr::null_mut()) }; 4];

/// The interrupt: allocates, and frees what an earlier one allocated, perhaps on another CPU.
extern "C" fn interrupt(_: libc::c_int) {
    if Cpu::is_masked() {
        return;
    }
    INTERRUPTS.fetch_add(1, Ordering::Relaxed);
    for (place, size) in HANDED.iter().zip([16, 64, 64, 2048]) {
        let fresh = INTERRUPTED
            .alloc(layout(size))
            .map_or(core::ptr::null_mut(), NonNull::as_ptr);
        let old = place.swap(fresh, Ordering::AcqRel);
        if let Some(old) = NonNull::new(old) {
            // SAFETY: whoever takes the pointer out of its place owns the object.
            unsafe { INTERRUPTED.dealloc(old, layout(size)) }.unwrap();
        }
    }
}

/// Like `churn`, with nothing that an interrupt could deadlock.
fn churn_alone(global: &GlobalAllocator<Host>, id: usize, stop: &AtomicBool) {
    let mut random = Rng::with_seed(id as u64);
    let mut live: [Option<Stamped>; 300] = [const { None }; 300];
    let sizes = [16, 64, 100, 2048];
    while !stop.load(Ordering::Relaxed) {
        let slot = &mut live[random.usize(..300)];
        match slot.take() {
            Some(object) => object.free(global),
            None => *slot = Stamped::new(global, layout(sizes[random.usize(..4)]), 7),
        }
        if random.usize(..200_000) == 0 {
            global.drain();
        }
    }
    live.into_iter()
        .flatten()
        .for_each(|object| object.free(global));
}

/// An interrupt that allocates while its CPU is inside the allocator hung for ever.
#[test]
fn d13_interrupts_allocate_whatever_they_interrupted() {
    let _deadline = Deadline::start();
    let memory = core::mem::ManuallyDrop::new(Memory::new(16 * MIB));
    // SAFETY: the memory is never unmapped, and nobody else's.
    let region = unsafe { memory.whole().as_mut() };
    // SAFETY: as above.
    unsafe { INTERRUPTED.init(region) }.unwrap();
    interrupt_cpus(libc::SIGUSR2, interrupt, &INTERRUPTS, |id, stop| {
        churn_alone(&INTERRUPTED, id, stop);
    });
    for (place, size) in HANDED.iter().zip([16, 64, 64, 2048]) {
        if let Some(old) = NonNull::new(place.swap(core::ptr::null_mut(), Ordering::AcqRel)) {
            // SAFETY: as in the handler.
            unsafe { INTERRUPTED.dealloc(old, layout(size)) }.unwrap();
        }
    }
    assert_eq!(INTERRUPTED.slabinfo().live(), 0);
    INTERRUPTED.drain();
    assert_eq!(INTERRUPTED.allocated_bytes(), 0);
    assert_eq!(INTERRUPTED.validate(), Ok(()));
}
