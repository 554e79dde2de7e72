//! Mistakes made on purpose, in an allocator of their own that looks for them.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::alloc::Layout;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicPtr, Ordering};

use spin::mutex::SpinMutex;
use twinframe::{
    AllocError, AllocResult, GlobalAllocator, Hardening, LiveObjects, Misuse, ObjectCache, Platform,
};

use crate::arch::{percpu, work};
use crate::console::println;
use crate::harness::{Outcome, kernel_tests};
use crate::memory::HEAP;
use crate::platform::Machine;
use crate::suites::free_pages;

/// This machine for an allocator that checks everything, and records what it finds.
struct Watched;

// SAFETY: as for `Machine`, which answers all of it.
unsafe impl Platform for Watched {
    const MAX_CPUS: usize = Machine::MAX_CPUS;
    const HARDENING: Hardening = Hardening::ALL;
    type IrqState = <Machine as Platform>::IrqState;

    fn cpu_id() -> usize {
        Machine::cpu_id()
    }

    fn virt_to_phys(virt: usize) -> u64 {
        Machine::virt_to_phys(virt)
    }

    fn phys_to_virt(phys: u64) -> usize {
        Machine::phys_to_virt(phys)
    }

    fn node_of_cpu(cpu: usize) -> usize {
        Machine::node_of_cpu(cpu)
    }

    fn node_of_phys(phys: u64) -> usize {
        Machine::node_of_phys(phys)
    }

    fn irq_save() -> Self::IrqState {
        Machine::irq_save()
    }

    unsafe fn irq_restore(state: Self::IrqState) {
        // SAFETY: the caller's duties are the same.
        unsafe { Machine::irq_restore(state) };
    }

    fn misuse(what: &Misuse) {
        println!("misuse: {what}");
        let mut reports = REPORTS.lock();
        if let Some(place) = reports.iter_mut().find(|place| place.is_none()) {
            *place = Some(*what);
        }
    }

    fn heavy_barrier() {
        Machine::heavy_barrier();
    }
}

static REPORTS: SpinMutex<[Option<Misuse>; 8]> = SpinMutex::new([None; 8]);

/// What was reported since the last call.
fn reports() -> Vec<Misuse> {
    let taken = core::mem::take(&mut *REPORTS.lock());
    taken.into_iter().flatten().collect()
}

type Heap = GlobalAllocator<Watched>;

/// An allocator over pages of the kernel's heap.
struct Rig {
    heap: Box<Heap>,
    pages: usize,
}

/// 2 MiB.
const PAGES: usize = 512;

impl Rig {
    fn new() -> Self {
        let pages = HEAP.alloc_pages(PAGES, 4096).expect("2 MiB");
        let start = core::ptr::with_exposed_provenance_mut::<u8>(pages);
        // SAFETY: the pages were just allocated, and every byte of memory has a value.
        let region = unsafe { core::slice::from_raw_parts_mut(start, PAGES * 4096) };
        // Made at compile time, so that unoptimised code does not pass it through the stack often.
        let heap = Box::write(Box::new_uninit(), const { Heap::new() });
        // SAFETY: the pages are used through this heap only, until both end.
        unsafe { heap.init(region) }.expect("enough memory");
        Self { heap, pages }
    }

    fn alloc(&self, layout: Layout) -> NonNull<u8> {
        self.heap.alloc(layout).expect("enough memory")
    }

    fn free(&self, object: NonNull<u8>, layout: Layout) -> AllocResult {
        // SAFETY: the tests free what they allocated, or something that is refused.
        unsafe { self.heap.dealloc(object, layout) }
    }

    fn assert_recovered(&self) {
        assert_eq!(self.heap.validate(), Ok(()));
        assert_eq!(self.heap.slabinfo().live(), 0);
        self.heap.drain();
        assert_eq!(self.heap.allocated_bytes(), 0);
        assert_eq!(self.heap.validate(), Ok(()));
        assert_eq!(reports(), []);
    }

    /// Everything was freed: all is as in the beginning.
    fn end(self) {
        self.assert_recovered();
        drop(self.heap);
        free_pages(self.pages, PAGES).expect("allocated in the beginning");
    }
}

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).expect("a layout")
}

/// Changes a byte of the allocator's memory; returns what it was and is.
fn clobber(object: NonNull<u8>, offset: isize) -> (u8, u8) {
    // SAFETY: the byte lies in the pages of the rig; writing to it is the mistake under test.
    let byte = unsafe { object.offset(offset) };
    // SAFETY: as above.
    let before = unsafe { byte.read_volatile() };
    // SAFETY: as above.
    unsafe { byte.write_volatile(before ^ 0x10) };
    (before, before ^ 0x10)
}

/// Frees an object, changes the byte at `offset` from its beginning, and allocates until the report
/// comes, which must name that byte.
fn write_after_free(size: usize, offset: isize) {
    let rig = Rig::new();
    let layout = layout(size, 8);
    let object = rig.alloc(layout);
    rig.free(object, layout).expect("a live object");
    let (expected, found) = clobber(object, offset);
    let mut objects = Vec::new();
    let report = loop {
        objects.push(rig.alloc(layout));
        if let Some(report) = reports().pop() {
            break report;
        }
    };
    let Misuse::UseAfterFree {
        object: slot,
        offset: at,
        expected: was,
        found: is,
        ..
    } = report
    else {
        panic!("{report}");
    };
    assert_eq!(slot + at, object.addr().get().wrapping_add_signed(offset));
    assert_eq!((was, is), (expected, found));
    for object in objects {
        rig.free(object, layout).expect("a live object");
    }
    rig.end();
}

/// Allocates in every way there is, up to the first failure, and frees all.
fn workload(heap: &Heap) -> AllocResult {
    let mut live: Vec<(NonNull<u8>, Layout)> = Vec::new();
    let mut pages = Vec::new();
    let cache: ObjectCache<'_, [u64; 5], Watched> = ObjectCache::new(heap, "workload");
    let mut kept = Vec::new();
    let mut run = || {
        for round in 0..8_usize {
            let wanted = layout(round * 400, 1 << round);
            live.push((heap.alloc(wanted)?, wanted));
            live.push((heap.alloc_zeroed(wanted)?, wanted));
            let mut bulk = [NonNull::dangling(); 4];
            heap.alloc_bulk(wanted, &mut bulk)?;
            live.extend(bulk.map(|object| (object, wanted)));
            pages.push((heap.alloc_pages(1 + round, 4096)?, 1 + round));
            kept.push(cache.insert_with(|| [1; 5])?);
        }
        Ok(())
    };
    let result = run();
    for (object, layout) in live {
        // SAFETY: allocated above with this layout.
        unsafe { heap.dealloc(object, layout) }.expect("a live object");
    }
    for (address, count) in pages {
        // SAFETY: allocated above.
        unsafe { heap.dealloc_pages(address, count) }.expect("allocated pages");
    }
    result
}

kernel_tests! { "hardening", Test:
    /// A byte written before or behind an object is reported when the object is freed.
    fn red_zones_on_either_side() on [smp1] {
        let rig = Rig::new();
        for (size, align) in [(1, 1), (24, 8), (100, 64), (2000, 16), (2048, 2048)] {
            let layout = layout(size, align);
            let ends = [-1, -8, size.cast_signed(), size.cast_signed() + 5];
            for offset in ends {
                let object = rig.alloc(layout);
                assert!(object.addr().get().is_multiple_of(align));
                let (expected, found) = clobber(object, offset);
                rig.free(object, layout).expect("the memory is not lost");
                let object = object.addr().get();
                assert_eq!(reports(), [Misuse::RedZone { object, size, offset, expected, found }]);
            }
        }
        rig.end();
    }

    /// A write to the first word of a free object.
    fn write_after_free_at_the_first_word() on [smp1] {
        write_after_free(100, 0);
        write_after_free(2000, 7);
    }

    /// A write to the fiftieth byte of a free object.
    fn write_after_free_at_the_fiftieth_byte() on [smp1] {
        write_after_free(100, 50);
        write_after_free(2000, 50);
    }

    /// A write to the word that marks an object as free, which lies before its red zone.
    fn corrupted_mark() on [smp1] {
        write_after_free(100, -16);
        write_after_free(100, -9);
    }

    /// A second free on the same CPU.
    fn double_free_local() on [smp1] {
        let rig = Rig::new();
        for size in [0, 8, 100, 2048, 9000] {
            let layout = layout(size, 8);
            let object = rig.alloc(layout);
            rig.free(object, layout).expect("a live object");
            for _ in 0..3 {
                assert_eq!(rig.free(object, layout), Err(AllocError::NotAllocated));
            }
        }
        rig.end();
    }

    /// A second free on every other CPU, of what another CPU had freed already.
    fn double_free_remote() on [smp2, smp4] {
        if percpu::online() < 2 {
            return Outcome::Skip("one CPU");
        }
        let rig = Rig::new();
        let layout = layout(100, 8);
        let objects: Vec<AtomicPtr<u8>> =
            (0..300).map(|_| AtomicPtr::new(rig.alloc(layout).as_ptr())).collect();
        let heap: &Heap = &rig.heap;
        let free_all_on = |cpu: usize, expected: AllocResult| {
            work::on_all(&|id| {
                for object in objects.iter().filter(|_| id == cpu) {
                    let object = NonNull::new(object.load(Ordering::Relaxed)).expect("an object");
                    // SAFETY: live the first time; refused later.
                    assert_eq!(unsafe { heap.dealloc(object, layout) }, expected);
                }
            });
        };
        free_all_on(1, Ok(()));
        free_all_on(1, Err(AllocError::NotAllocated));
        free_all_on(0, Err(AllocError::NotAllocated));
        rig.end();
    }

    /// A free for another class, for another size of the same class, for whole pages.
    fn free_with_wrong_layout() on [smp1] {
        let rig = Rig::new();
        let right = layout(100, 8);
        let object = rig.alloc(right);
        for wrong in [layout(99, 8), layout(40, 8), layout(100, 64), layout(3000, 8), layout(0, 1)] {
            assert!(rig.free(object, wrong).is_err(), "{wrong:?}");
        }
        rig.free(object, right).expect("still live");
        rig.end();
    }

    /// A cache that ends before its objects.
    fn leak_of_a_cache() on [smp1] {
        let rig = Rig::new();
        let cache = ObjectCache::with_constructor(&rig.heap, "inode", || [7_u32; 20]);
        let leaked = cache.alloc().expect("enough memory").into_raw();
        let LiveObjects { cache, stats } = cache.destroy().expect_err("one object is live");
        assert_eq!((stats.name, stats.live()), ("inode", 1));
        assert_eq!(reports(), []);
        drop(cache);
        assert_eq!(reports(), [Misuse::Leak { cache: "inode", objects: 1 }]);
        rig.free(leaked.cast(), Layout::new::<[u32; 20]>()).expect("nothing is lost");
        rig.end();
    }

    /// What rests in quarantine is found before anything fails.
    fn quarantine_yields_under_pressure() on [smp1] {
        let rig = Rig::new();
        let layout = layout(500, 8);
        let mut objects = Vec::new();
        while let Ok(object) = rig.heap.alloc(layout) {
            objects.push(object);
        }
        let all = objects.len();
        for object in objects.drain(all / 2..) {
            rig.free(object, layout).expect("a live object");
        }
        while objects.len() < all {
            objects.push(rig.alloc(layout));
        }
        for object in objects {
            rig.free(object, layout).expect("a live object");
        }
        rig.end();
    }

    /// Every single allocation of a workload fails once; each time, all that was allocated comes back.
    fn every_allocation_can_fail() on [smp1] {
        let rig = Rig::new();
        assert_eq!(workload(&rig.heap), Ok(()));
        let (total, failed) = rig.heap.fault_counts();
        assert!(total > 60 && failed == 0);
        for nth in 1..=total {
            rig.heap.fail_allocation(nth);
            assert_eq!(workload(&rig.heap), Err(AllocError::NoMemory), "number {nth}");
            assert_eq!(rig.heap.fault_counts().1, nth);
            rig.assert_recovered();
        }
        assert_eq!(workload(&rig.heap), Ok(()));
        rig.end();
    }
}
