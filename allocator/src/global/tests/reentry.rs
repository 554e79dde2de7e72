//! Interrupts at every point at which the allocator asks its platform for something.

use core::cell::Cell;
use core::ptr::null;

use super::{AllocError, GlobalAllocator, NonNull, PAGE, Vec, layout, vec};
use crate::{CpuClassStats, CpuSlabInfo, Hardening, Platform, SizeClass};

type Global = GlobalAllocator<Interrupted>;

std::thread_local! {
    static CPU: Cell<usize> = const { Cell::new(0) };
    static MASKED: Cell<usize> = const { Cell::new(0) };
    static IN_HANDLER: Cell<bool> = const { Cell::new(false) };
    /// Calls so far at which an interrupt could have come.
    static CALLS: Cell<usize> = const { Cell::new(0) };
    /// The call at which the first one comes, and how many calls later each further one; 0 is never.
    static FIRST: Cell<usize> = const { Cell::new(0) };
    static EVERY: Cell<usize> = const { Cell::new(0) };
    static GLOBAL: Cell<*const Global> = const { Cell::new(null()) };
    /// What handlers keep from one interrupt to a later one.
    static KEPT: Cell<Option<(NonNull<u8>, usize)>> = const { Cell::new(None) };
}

/// CPUs played by one thread, which is interrupted inside the calls of the platform.
struct Interrupted;

/// A point at which an interrupt may come.
fn point() {
    if MASKED.get() != 0 || IN_HANDLER.get() {
        return;
    }
    let calls = CALLS.get() + 1;
    CALLS.set(calls);
    let (first, every) = (FIRST.get(), EVERY.get());
    if first == 0
        || calls < first
        || (calls != first && (every == 0 || !(calls - first).is_multiple_of(every)))
    {
        return;
    }
    // SAFETY: null, or the allocator of the test that runs on this thread.
    if let Some(global) = unsafe { GLOBAL.get().as_ref() } {
        IN_HANDLER.set(true);
        handler(global, calls);
        IN_HANDLER.set(false);
    }
}

/// Allocates and frees objects and pages, and frees what an earlier interrupt allocated, perhaps on
/// another CPU. It takes no answer for an error but that memory has run out.
fn handler(global: &Global, calls: usize) {
    let free = |object, size| {
        // SAFETY: allocated below.
        assert_eq!(unsafe { global.dealloc(object, layout(size, 8)) }, Ok(()));
    };
    for size in [16, 64, 100, 2048, 5000] {
        match global.alloc(layout(size, 8)) {
            Ok(object) => {
                // SAFETY: ours.
                unsafe { object.write_bytes(0xaa, size) };
                if calls % 3 == size % 3 {
                    let before = KEPT.replace(Some((object, size)));
                    before
                        .into_iter()
                        .for_each(|(object, size)| free(object, size));
                } else {
                    free(object, size);
                }
            }
            Err(error) => assert_eq!(error, AllocError::NoMemory),
        }
    }
    if let Ok(pages) = global.alloc_pages(2, 0) {
        // SAFETY: allocated just now.
        assert_eq!(unsafe { global.dealloc_pages(pages, 2) }, Ok(()));
    }
}

// SAFETY: one thread plays all CPUs, one after the other; the translation is the identity; while
// masked there is no interrupt, and an interrupt ends on the CPU that it came to; one thread needs no
// barrier. (The handler allocates, as handlers do.)
unsafe impl Platform for Interrupted {
    const MAX_CPUS: usize = 3;
    const HARDENING: Hardening = Hardening {
        quarantine: 8192,
        ..Hardening::NONE
    };
    type IrqState = ();

    fn cpu_id() -> usize {
        point();
        CPU.get()
    }

    fn virt_to_phys(virt: usize) -> u64 {
        point();
        virt as u64
    }

    fn phys_to_virt(phys: u64) -> usize {
        point();
        usize::try_from(phys).expect("an address")
    }

    fn irq_save() {
        point();
        MASKED.set(MASKED.get() + 1);
    }

    unsafe fn irq_restore((): ()) {
        MASKED.set(MASKED.get() - 1);
        point();
    }

    fn pin() {
        point();
    }

    fn unpin() {
        point();
    }

    fn heavy_barrier() {
        point();
    }

    fn relax() {
        point();
    }
}

/// Arrivals, refills, fresh slabs, remote frees, drains, and memory that runs out.
fn workload(global: &Global) {
    let mut live = Vec::new();
    for (cpu, size) in [(0, 100), (1, 2048), (2, 16), (0, 3000)] {
        CPU.set(cpu);
        for _ in 0..20 {
            live.extend(global.alloc(layout(size, 8)).map(|object| (object, size)));
        }
    }
    CPU.set(1);
    let mut pages = Vec::new();
    while let Ok(addr) = global.alloc_pages(8, 0) {
        pages.push(addr);
    }
    while let Ok(object) = global.alloc(layout(512, 8)) {
        live.push((object, 512));
    }
    CPU.set(0);
    for (object, size) in live {
        // SAFETY: ours.
        assert_eq!(unsafe { global.dealloc(object, layout(size, 8)) }, Ok(()));
    }
    for addr in pages {
        // SAFETY: ours.
        assert_eq!(unsafe { global.dealloc_pages(addr, 8) }, Ok(()));
    }
    global.drain();
}

/// Runs the workload with interrupts as told, and returns how many calls there were.
fn run(first: usize, every: usize) -> usize {
    let mut memory = vec![0; 40 * PAGE];
    let global = Global::new();
    // SAFETY: the memory is used through the allocator only, and outlives it.
    unsafe { global.init(&mut memory) }.expect("enough memory");
    CALLS.set(0);
    FIRST.set(first);
    EVERY.set(every);
    GLOBAL.set(&raw const global);
    workload(&global);
    GLOBAL.set(null());
    assert_eq!(MASKED.get(), 0);
    if let Some((object, size)) = KEPT.take() {
        // SAFETY: the handler left it.
        assert_eq!(unsafe { global.dealloc(object, layout(size, 8)) }, Ok(()));
    }
    assert_eq!(global.slabinfo().live(), 0);
    let cpus: Vec<_> = (0..3)
        .filter_map(|cpu| global.slabinfo_of_cpu(cpu))
        .collect();
    let sum = |count: fn(&CpuClassStats) -> usize| -> usize {
        let classes = |info: &CpuSlabInfo| SizeClass::ALL.map(|class| count(info.class(class)));
        cpus.iter().flat_map(classes).sum()
    };
    assert_eq!(sum(|stats| stats.allocations), sum(|stats| stats.frees));
    global.drain();
    assert_eq!(global.allocated_bytes(), 0);
    assert_eq!(global.validate(), Ok(()));
    CALLS.get()
}

/// An interrupt that allocated while its CPU was inside the allocator found a lock held for ever. Here, too, if
/// a drain waits in a handler for the drain that it interrupted.
#[test]
fn d13_an_interrupt_at_any_point_allocates_and_frees() {
    let calls = run(0, 0);
    assert!(calls > 1000, "{calls}");
    for first in 1..calls {
        run(first, 0);
    }
    for every in [1, 2, 3, 5, 7, 31] {
        run(1, every);
    }
}
