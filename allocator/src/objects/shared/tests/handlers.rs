//! Handlers that come wherever a CPU stops being kept or masked, in an order that repeats.

use core::alloc::Layout;
use core::cell::{Cell, RefCell};
use core::ptr::NonNull;
use std::boxed::Box;
use std::vec::Vec;

use fastrand::Rng;

use super::{Host, layout, on};
use crate::pages::tests::{Cpu, Hooked, Hooks, MIB, Memory};
use crate::{AllocError, GlobalAllocator, Platform, SizeClass};

const CPUS: usize = 3;
const SIZES: [usize; 6] = [8, 64, 320, 640, 1280, 2048];

/// The host's machine, with interrupts.
pub(super) type Interrupted = Hooked<Interrupts>;

pub(crate) struct Interrupts;

impl Hooks for Interrupts {
    fn behind_mask() {
        interrupt();
    }

    fn behind_pin() {
        interrupt();
    }
}

std::thread_local! {
    /// What handlers of this thread do.
    static HANDLER: Cell<Option<&'static dyn Fn()>> = const { Cell::new(None) };
}

fn interrupt() {
    if !Cpu::is_masked()
        && let Some(handler) = HANDLER.get()
    {
        handler();
    }
}

/// Runs something in which no handler comes.
fn undisturbed<R>(run: impl FnOnce() -> R) -> R {
    let handler = HANDLER.take();
    let result = run();
    HANDLER.set(handler);
    result
}

/// Sums of all classes over what a CPU did.
fn sum(global: &GlobalAllocator<Interrupted>, cpu: usize) -> (usize, usize) {
    let info = global.slabinfo_of_cpu(cpu);
    info.map_or((0, 0), |info| {
        SizeClass::ALL
            .into_iter()
            .fold((0_usize, 0_usize), |(allocations, frees), class| {
                let stats = info.class(class);
                (
                    allocations.wrapping_add(stats.allocations),
                    frees.wrapping_add(stats.frees),
                )
            })
    })
}

/// An allocator of memory that stays, because the handlers refer to it for ever.
fn allocator(len: usize) -> &'static GlobalAllocator<Interrupted> {
    let memory = Box::leak(Box::new(Memory::new(len)));
    let global = Box::leak(Box::new(GlobalAllocator::new()));
    // SAFETY: the memory stays, and is used through the allocator only.
    let region = unsafe { memory.whole().as_mut() };
    // SAFETY: as above.
    unsafe { global.init(region) }.expect("enough memory");
    global
}

struct Machine {
    global: &'static GlobalAllocator<Interrupted>,
    live: RefCell<Vec<(NonNull<u8>, Layout)>>,
    pages: RefCell<Vec<(usize, usize)>>,
    random: RefCell<Rng>,
    depth: Cell<usize>,
    handlers: Cell<usize>,
    /// Requests that failed with no handler in between.
    failures: Cell<usize>,
    allocated: [Cell<usize>; CPUS],
    freed: [Cell<usize>; CPUS],
}

fn add(counter: &Cell<usize>) {
    counter.set(counter.get() + 1);
}

fn stamp(object: NonNull<u8>) -> u8 {
    (object.addr().get() >> 3).to_le_bytes()[0]
}

impl Machine {
    fn random(&self, limit: usize) -> usize {
        self.random.borrow_mut().usize(..limit)
    }

    /// A handler, now and then, which may be interrupted itself.
    fn interrupt(&self) {
        if self.depth.get() == 2 || self.random(12) != 0 {
            return;
        }
        add(&self.depth);
        add(&self.handlers);
        for _ in 0..self.random(6) {
            self.step(3000);
        }
        self.depth.set(self.depth.get() - 1);
    }

    fn alloc(&self) {
        let wanted = layout(SIZES[self.random(SIZES.len())]);
        let handlers = self.handlers.get();
        let Ok(object) = self.global.alloc(wanted) else {
            if self.depth.get() == 0 && handlers == self.handlers.get() {
                add(&self.failures);
                undisturbed(|| {
                    self.global.drain();
                    assert!(self.global.alloc(wanted).is_err(), "there was memory");
                });
            }
            return;
        };
        // SAFETY: it was just allocated.
        unsafe { object.write_bytes(stamp(object), wanted.size()) };
        add(&self.allocated[Host::cpu_id()]);
        self.live.borrow_mut().push((object, wanted));
    }

    fn free(&self) {
        let len = self.live.borrow().len();
        if len == 0 {
            return;
        }
        let at = self.random(len);
        let (object, layout) = self.live.borrow_mut().swap_remove(at);
        // SAFETY: it is live, and filled.
        let bytes = unsafe { core::slice::from_raw_parts(object.as_ptr(), layout.size()) };
        assert!(bytes.iter().all(|byte| *byte == stamp(object)));
        // SAFETY: as above, and given up.
        assert_eq!(unsafe { self.global.dealloc(object, layout) }, Ok(()));
        add(&self.freed[Host::cpu_id()]);
    }

    fn free_pages(&self) {
        let last = self.pages.borrow_mut().pop();
        if let Some((addr, count)) = last {
            // SAFETY: they were allocated below.
            assert_eq!(unsafe { self.global.dealloc_pages(addr, count) }, Ok(()));
        }
    }

    /// Anything; objects are allocated in `allocations` of 6000 cases.
    fn step(&self, allocations: usize) {
        match self.random(6000) {
            0 => drop(self.global.drain()),
            1 => assert_eq!(self.global.validate(), Ok(())),
            2 => drop(self.global.slabinfo()),
            3..200 => {
                let count = 1 + self.random(8);
                if let Ok(addr) = self.global.alloc_pages(count, 0) {
                    self.pages.borrow_mut().push((addr, count));
                }
            }
            200..420 => self.free_pages(),
            other if other < allocations => self.alloc(),
            _ => self.free(),
        }
    }

    /// Everything that was done is counted, where it was done.
    fn assert_counted(&self) {
        for cpu in 0..CPUS {
            let made = (self.allocated[cpu].get(), self.freed[cpu].get());
            assert_eq!(sum(self.global, cpu), made);
        }
        assert_eq!(self.global.slabinfo().live(), self.live.borrow().len());
        assert_eq!(self.global.validate(), Ok(()));
    }
}

fn handlers_lose_nothing(seed: u64, len: usize) {
    let machine: &'static Machine = Box::leak(Box::new(Machine {
        global: allocator(len),
        live: RefCell::default(),
        pages: RefCell::default(),
        random: RefCell::new(Rng::with_seed(seed)),
        depth: Cell::new(0),
        handlers: Cell::new(0),
        failures: Cell::new(0),
        allocated: Default::default(),
        freed: Default::default(),
    }));
    let handler: &'static dyn Fn() = Box::leak(Box::new(|| machine.interrupt()));
    for round in 0..24 {
        // Without handlers, failures can be looked into.
        HANDLER.set((round % 8 < 4).then_some(handler));
        for _ in 0..machine.random(12_000) {
            on(machine.random(CPUS), || {
                machine.step([5900, 600, 5500, 1200][round % 4]);
            });
        }
        undisturbed(|| machine.assert_counted());
    }
    HANDLER.set(None);
    while !machine.live.borrow().is_empty() {
        machine.free();
    }
    while !machine.pages.borrow().is_empty() {
        machine.free_pages();
    }
    machine.assert_counted();
    machine.global.drain();
    assert_eq!(machine.global.allocated_bytes(), 0);
    assert!(machine.handlers.get() > 10_000 && machine.failures.get() > 100);
}

#[test]
fn handlers_between_any_two_sections_lose_nothing() {
    for (seed, len) in (1..).zip([MIB, 2 * MIB, 4 * MIB]) {
        handlers_lose_nothing(88_172_645_463_325_252 * seed, len);
    }
}

/// What is counted once the turn is over may be counted by somebody else at the same time, and be lost.
#[test]
fn batches_are_counted_before_others_can_count() {
    let global = allocator(4 * MIB);
    let wanted = layout(2048);
    let objects: Vec<_> = core::iter::from_fn(|| global.alloc(wanted).ok()).collect();
    let freed: &'static Cell<usize> = Box::leak(Box::default());
    let looks: &'static Cell<usize> = Box::leak(Box::default());
    HANDLER.set(Some(Box::leak(Box::new(|| {
        let (_, frees) = undisturbed(|| sum(global, 0));
        assert!(frees == freed.get() || frees == freed.get() + 1, "{frees}");
        add(looks);
    }))));
    for object in objects {
        // SAFETY: it was allocated above.
        assert_eq!(unsafe { global.dealloc(object, wanted) }, Ok(()));
        add(freed);
    }
    HANDLER.set(None);
    assert!(looks.get() > freed.get());
    assert_ne!(
        global
            .slabinfo_of_cpu(0)
            .map(|info| info.class(SizeClass::Bytes2048).drains),
        Some(0)
    );
}

/// Whether an object is free was read when its section could be somebody else's memory already.
#[test]
fn check_does_not_read_memory_that_has_gone_back() {
    const LEN: usize = 4 * MIB;
    let global = allocator(2 * MIB);
    let wanted = layout(2048);
    // What stays for ever, and the descriptors, are to lie in the first section.
    let alloc = || global.alloc(wanted).expect("enough memory");
    let all = [1, 0].map(|cpu| on(cpu, alloc));
    while global.frames().alloc_pages(1, 0).is_ok() {}
    let more: &'static Memory = Box::leak(Box::new(Memory::new(LEN)));
    // SAFETY: the memory stays, and is used through the allocator only.
    let region = unsafe { more.whole().as_mut() };
    // SAFETY: as above.
    unsafe { global.add_region(region) }.expect("enough memory");
    let inside = more.addr()..more.addr() + LEN;
    let fresh: Vec<_> = (0..16).map(|_| alloc()).collect();
    let is_inside = |object: &&NonNull<u8>| inside.contains(&object.addr().get());
    let object = *fresh.iter().find(is_inside).expect("the rest is full");
    for object in fresh.into_iter().chain(all) {
        // SAFETY: allocated above.
        assert_eq!(unsafe { global.dealloc(object, wanted) }, Ok(()));
    }
    let is_removed: &'static Cell<bool> = Box::leak(Box::default());
    HANDLER.set(Some(Box::leak(Box::new(|| {
        undisturbed(|| {
            let removed = on(0, || global.remove_section(more.addr() + LEN / 2));
            if removed.is_ok() {
                // SAFETY: the memory is not the allocator's any more.
                unsafe { more.whole().cast::<u8>().write_bytes(0, LEN) };
                is_removed.set(true);
            }
        });
    }))));
    let checked = on(1, || global.check(object, wanted));
    HANDLER.set(None);
    assert!(is_removed.get());
    assert_eq!(checked, Err(AllocError::NotAllocated));
}
