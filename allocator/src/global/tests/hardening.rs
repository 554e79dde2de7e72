//! Every mistake that hardening is there for is made, and seen.

mod clearing;
mod pressure;

use core::cell::{Cell, RefCell};

use super::{AllocError, GlobalAlloc, GlobalAllocator, Layout, Misuse, NonNull};
use super::{Vec, layout, vec};
use crate::{Hardening, ObjectCache, Platform};

std::thread_local! {
    static REPORTS: RefCell<Vec<Misuse>> = const { RefCell::new(Vec::new()) };
    static CPU: Cell<usize> = const { Cell::new(0) };
}

/// Several CPUs, played by one thread, with the hardening of that number.
struct Checked<const KIND: usize>;

const POISON: usize = 0;
const MARKS: usize = 1;
const RED_ZONES: usize = 2;
const INIT: usize = 3;
const QUARANTINE: usize = 4;
const RANDOM: usize = 5;
const FAULTS: usize = 6;
const ALL: usize = 7;

const KINDS: [Hardening; 8] = [
    Hardening {
        poison: true,
        ..Hardening::NONE
    },
    Hardening {
        check_marks: true,
        ..Hardening::NONE
    },
    Hardening {
        red_zones: true,
        ..Hardening::NONE
    },
    Hardening {
        init_on_alloc: true,
        init_on_free: true,
        ..Hardening::NONE
    },
    Hardening {
        quarantine: 4096,
        ..Hardening::NONE
    },
    Hardening {
        random_order: true,
        ..Hardening::NONE
    },
    Hardening {
        fault_injection: true,
        ..Hardening::NONE
    },
    Hardening::ALL,
];

// SAFETY: every test runs on one thread with an allocator of its own, so no CPU is two contexts at
// once; the translation is the identity; there are no interrupts; one thread needs no barrier.
unsafe impl<const KIND: usize> Platform for Checked<KIND> {
    const MAX_CPUS: usize = 4;
    const HARDENING: Hardening = KINDS[KIND];
    type IrqState = ();

    fn cpu_id() -> usize {
        CPU.get()
    }

    fn virt_to_phys(virt: usize) -> u64 {
        virt as u64
    }

    fn phys_to_virt(phys: u64) -> usize {
        usize::try_from(phys).expect("an address")
    }

    fn irq_save() {}

    unsafe fn irq_restore((): ()) {}

    fn heavy_barrier() {}

    fn misuse(what: &Misuse) {
        REPORTS.with_borrow_mut(|reports| reports.push(*what));
    }
}

struct Rig<const KIND: usize> {
    global: GlobalAllocator<Checked<KIND>>,
    _memory: Vec<u8>,
}

impl<const KIND: usize> Rig<KIND> {
    fn new(bytes: usize) -> Self {
        REPORTS.take();
        let mut memory = vec![0xa5; bytes];
        let global = GlobalAllocator::new();
        // SAFETY: the memory is used through the allocator only, and outlives it.
        unsafe { global.init(&mut memory) }.expect("enough memory");
        Self {
            global,
            _memory: memory,
        }
    }

    fn alloc(&self, layout: Layout) -> NonNull<u8> {
        let object = self.global.alloc(layout).expect("enough memory");
        assert_eq!(object.addr().get() % layout.align(), 0);
        object
    }

    fn free(&self, ptr: NonNull<u8>, layout: Layout) -> Result<(), AllocError> {
        // SAFETY: the tests free what they allocated, or something that is refused.
        unsafe { self.global.dealloc(ptr, layout) }
    }

    fn assert_recovered(&self) {
        assert_eq!(self.global.validate(), Ok(()));
        assert_eq!(self.global.slabinfo().live(), 0);
        self.global.drain();
        assert_eq!(self.global.allocated_bytes(), 0);
        assert_eq!(self.global.validate(), Ok(()));
        assert_eq!(REPORTS.take(), []);
    }
}

/// Changes a byte, from the beginning of an object; returns what it was and is.
fn clobber(object: NonNull<u8>, offset: isize) -> (u8, u8) {
    // SAFETY: the byte is memory of the allocator under test, as is the point of the test.
    let byte = unsafe { object.offset(offset) };
    // SAFETY: as above.
    let before = unsafe { byte.read() };
    // SAFETY: as above.
    unsafe { byte.write(before ^ 0x21) };
    (before, before ^ 0x21)
}

fn red_zones<const KIND: usize>() {
    let rig = Rig::<KIND>::new(4 << 20);
    for align in [1, 8, 16, 64, 256, 2048] {
        for size in [0_usize, 1, 8, 13, 50, 100, 1000, 2000, 2048] {
            let layout = layout(size, align);
            let neighbour = rig.alloc(layout);
            let object = rig.alloc(layout);
            // SAFETY: ours.
            unsafe { object.write_bytes(0xff, size) };
            assert_eq!(rig.free(object, layout), Ok(()), "all of it may be written");
            for offset in [-1, -8, size.cast_signed(), size.cast_signed() + 7] {
                let object = rig.alloc(layout);
                let (expected, found) = clobber(object, offset);
                assert_eq!(rig.free(object, layout), Ok(()), "the memory is not lost");
                let report = Misuse::RedZone {
                    object: object.addr().get(),
                    size,
                    offset,
                    expected,
                    found,
                };
                assert_eq!(REPORTS.take(), [report]);
            }
            assert_eq!(rig.free(neighbour, layout), Ok(()));
        }
    }
    rig.assert_recovered();
}

#[test]
fn a_byte_written_beside_an_object_is_reported_on_either_side() {
    red_zones::<RED_ZONES>();
    red_zones::<ALL>();
}

/// Frees an object, writes to it at `offset`, and allocates until it comes back.
fn write_after_free<const KIND: usize>(size: usize, offset: isize) {
    let rig = Rig::<KIND>::new(1 << 20);
    let layout = layout(size, 8);
    let keep = rig.alloc(layout);
    let object = rig.alloc(layout);
    assert_eq!(rig.free(object, layout), Ok(()));
    let (expected, found) = clobber(object, offset);
    rig.global.drain();
    let mut others = Vec::new();
    while REPORTS.with_borrow(Vec::is_empty) {
        others.push(rig.alloc(layout));
    }
    let reports = REPORTS.take();
    let [
        Misuse::UseAfterFree {
            object: slot,
            size: class,
            offset: at,
            expected: was,
            found: is,
        },
    ] = reports[..]
    else {
        panic!("{reports:?}");
    };
    assert_eq!(slot + at, object.addr().get().wrapping_add_signed(offset));
    assert!((slot..slot + class).contains(&object.addr().get()));
    assert_eq!((was, is), (expected, found));
    for other in others {
        assert_eq!(rig.free(other, layout), Ok(()));
    }
    assert_eq!(rig.free(keep, layout), Ok(()));
    rig.assert_recovered();
}

#[test]
fn a_write_after_free_is_reported_at_the_first_word_and_at_the_fiftieth_byte() {
    for size in [100, 1000, 2000] {
        for offset in [0, 3, 8, 50, 99] {
            write_after_free::<POISON>(size, offset);
            write_after_free::<ALL>(size, offset);
        }
    }
    write_after_free::<POISON>(8, 5);
    write_after_free::<ALL>(8, 5);
}

#[test]
fn a_clobbered_mark_is_reported() {
    for offset in 0..8 {
        write_after_free::<MARKS>(100, offset);
        write_after_free::<ALL>(100, offset - 16);
    }
}

#[test]
fn objects_of_fresh_slabs_are_no_false_alarms() {
    let rig = Rig::<ALL>::new(16 << 20);
    let mut objects = Vec::new();
    for size in (0..2048).step_by(7) {
        for _ in 0..20 {
            objects.push((rig.alloc(layout(size, 4)), size));
        }
    }
    for (object, size) in objects {
        assert_eq!(rig.free(object, layout(size, 4)), Ok(()));
    }
    rig.assert_recovered();
}

fn wrong_frees<const KIND: usize>() {
    let rig = Rig::<KIND>::new(1 << 20);
    for size in [16_usize, 100, 2000, 2048] {
        let right = layout(size, 8);
        let object = rig.alloc(right);
        // SAFETY: ours.
        unsafe { object.write_bytes(0x11, size) };
        for wrong in [layout(size / 2, 8), layout(size * 2, 8), layout(10_000, 8)] {
            assert!(rig.free(object, wrong).is_err(), "{right:?} as {wrong:?}");
        }
        assert_eq!(rig.global.check(object, right), Ok(()));
        assert_eq!(rig.free(object, right), Ok(()));
        // A double free, here and elsewhere.
        for cpu in [0, 1, 0] {
            CPU.set(cpu);
            assert_eq!(rig.free(object, right), Err(AllocError::NotAllocated));
            assert_eq!(
                rig.global.check(object, right),
                Err(AllocError::NotAllocated)
            );
        }
        // Freed remotely, a double free there and here.
        let (remote, mate) = (rig.alloc(right), rig.alloc(right));
        for (cpu, expected) in [
            (2, Ok(())),
            (2, Err(AllocError::NotAllocated)),
            (0, Err(AllocError::NotAllocated)),
        ] {
            CPU.set(cpu);
            assert_eq!(rig.free(remote, right), expected);
        }
        assert_eq!(rig.free(mate, right), Ok(()));
    }
    rig.assert_recovered();
}

/// A second free was taken, by the owner as well as from elsewhere.
#[test]
fn d05_d06_wrong_and_double_frees_are_refused_with_and_without_hardening() {
    wrong_frees::<POISON>();
    wrong_frees::<MARKS>();
    wrong_frees::<RED_ZONES>();
    wrong_frees::<INIT>();
    wrong_frees::<QUARANTINE>();
    wrong_frees::<FAULTS>();
    wrong_frees::<ALL>();
}

#[test]
fn with_red_zones_another_size_of_the_same_class_is_refused_too() {
    let rig = Rig::<RED_ZONES>::new(1 << 20);
    let object = rig.alloc(layout(100, 8));
    for wrong in [97, 99, 101, 103] {
        let wrong = layout(wrong, 8);
        let refused = Err(AllocError::InvalidParam);
        assert_eq!(rig.global.check(object, wrong), refused);
        assert_eq!(rig.free(object, wrong), refused);
    }
    assert_eq!(rig.global.check(object, layout(100, 8)), Ok(()));
    // A zone that was overwritten is reported by the free, not refused.
    clobber(object, -1);
    assert_eq!(rig.global.check(object, layout(100, 8)), Ok(()));
    clobber(object, -1);
    // SAFETY: the mistake under test.
    unsafe { GlobalAlloc::dealloc(&rig.global, object.as_ptr(), layout(99, 8)) };
    assert!(matches!(
        REPORTS.take()[..],
        [Misuse::Free { size: 99, .. }]
    ));
    assert_eq!(rig.free(object, layout(100, 8)), Ok(()));
    rig.assert_recovered();
}

#[test]
fn with_red_zones_a_cache_does_not_destroy_what_it_refuses_to_free() {
    struct Never([u8; 20]);
    impl Drop for Never {
        fn drop(&mut self) {
            panic!("destroyed at {:p}", &raw const self.0);
        }
    }
    let rig = Rig::<RED_ZONES>::new(1 << 20);
    let cache = ObjectCache::<Never, _>::new(&rig.global, "never");
    let other = layout(21, 1);
    let object = rig.alloc(other);
    // SAFETY: the mistake under test: refused before anything is touched.
    let freed = unsafe { cache.free(object.cast()) };
    assert_eq!(freed, Err(AllocError::InvalidParam));
    assert_eq!(rig.free(object, other), Ok(()));
    drop(cache);
    rig.assert_recovered();
}

#[test]
fn resizing_keeps_the_zones() {
    let rig = Rig::<ALL>::new(4 << 20);
    let mut now = layout(10, 8);
    let mut object = rig.alloc(now);
    // SAFETY: ours.
    unsafe { object.write_bytes(0x3c, 10) };
    for size in [11, 12, 9, 2000, 2049, 20_000, 9_000, 2048, 40] {
        let next = layout(size, 8);
        // SAFETY: allocated for `now`.
        object = unsafe { rig.global.realloc(object, now, next) }.expect("enough memory");
        assert_eq!(
            GlobalAllocator::<Checked<ALL>>::usable_size(next) == size,
            size <= 2048
        );
        // SAFETY: ours, and initialised.
        let kept = unsafe { core::slice::from_raw_parts(object.as_ptr(), 9) };
        assert!(kept.iter().all(|byte| *byte == 0x3c));
        // SAFETY: ours.
        unsafe { object.write_bytes(0x3c, size) };
        now = next;
    }
    assert_eq!(rig.free(object, now), Ok(()));
    rig.assert_recovered();
}
