//! How long it takes to find that there is nothing.

use core::sync::atomic::Ordering;
use std::boxed::Box;
use std::cell::Cell;

use super::super::cache::Own;
use super::shared::on;
use super::{Deadline, GIB, Hooked, Hooks, MIB, Memory};
use crate::patience::Patience;
use crate::{AllocError, FrameAllocator};

/// The host, on which two other CPUs look for memory all the time: one begins before the other ends.
type Relay = Hooked<Relays>;

struct Relays;

std::thread_local! {
    /// Whose CPUs do that.
    static FRAMES: Cell<Option<&'static FrameAllocator<Relay>>> = const { Cell::new(None) };
    static WAITED: Cell<usize> = const { Cell::new(0) };
    /// A CPU that is in its caches, and leaves them when so many looks were in vain.
    static LEAVING: Cell<Option<(usize, Own<'static>)>> = const { Cell::new(None) };
}

/// Has the CPU that is not moving pages begin, and then the other one end.
fn relay(frames: &FrameAllocator<Relay>) {
    let moves = [1, 2].map(|cpu| &frames.shared.cpus.get(cpu).unwrap().moves);
    let idle = moves.map(|moves| moves.load(Ordering::Relaxed) % 2 == 0);
    for (moves, _) in moves.iter().zip(idle).filter(|(_, idle)| *idle) {
        moves.fetch_add(1, Ordering::Relaxed);
    }
    for (moves, _) in moves.iter().zip(idle).filter(|(_, idle)| !idle) {
        moves.fetch_add(1, Ordering::Relaxed);
    }
}

impl Hooks for Relays {
    fn relax() {
        WAITED.set(WAITED.get() + 1);
        LEAVING.set(LEAVING.take().filter(|(looks, _)| WAITED.get() < *looks));
        if let Some(frames) = FRAMES.get() {
            relay(frames);
        }
    }
}

#[test]
fn nobody_waits_until_the_others_have_stopped_looking() {
    let memory = Memory::new(4 * MIB);
    let frames: &'static FrameAllocator<Relay> = Box::leak(Box::new(FrameAllocator::new()));
    // SAFETY: the memory outlives what the test does with the allocator.
    unsafe { frames.add_region_at(memory.whole(), GIB) }.unwrap();
    for cpu in [1, 2, 0] {
        on(cpu, || frames.alloc_pages(1, 0)).unwrap();
    }
    while frames.alloc_pages(1, 0).is_ok() {}

    let first = frames.shared.cpus.get(1).unwrap();
    first.moves.fetch_add(1, Ordering::Relaxed);
    WAITED.set(0);
    FRAMES.set(Some(frames));
    assert_eq!(frames.alloc_pages(1, 0), Err(AllocError::NoMemory));
    FRAMES.set(None);
    assert!((1..10).contains(&WAITED.get()), "{} times", WAITED.get());
}

/// Allocates all pages there are, with another CPU that stays where it is until that is done: how many come.
fn take_all_beside(frames: &FrameAllocator<Relay>) -> usize {
    on(0, || {
        core::iter::from_fn(|| frames.alloc_pages(1, 0).ok()).count()
    })
}

/// It may be in a handler that waits for a lock which whoever allocates holds.
#[test]
fn nobody_waits_for_ever_for_a_cpu_that_is_in_its_caches() {
    let _deadline = Deadline::start();
    let memory = Memory::new(4 * MIB);
    let frames = FrameAllocator::<Relay>::new();
    // SAFETY: the memory outlives what the test does with the allocator.
    unsafe { frames.add_region_at(memory.whole(), GIB) }.unwrap();
    on(0, || frames.alloc_pages(1, 0)).unwrap();
    let cached = on(1, || {
        let addr = frames.alloc_pages(1, 0).unwrap();
        // SAFETY: just allocated.
        unsafe { frames.dealloc_pages(addr, 1) }.unwrap();
        frames.with_own(|cpu, _| (cpu.pages(), take_all_beside(&frames)))
    });
    let (cached, taken) = cached.expect("nobody claims them");
    assert!(cached != 0 && taken != 0);
    assert_eq!(frames.free_pages(), cached);
    // Out of them it is waited for, and has nothing left.
    assert_eq!(take_all_beside(&frames), cached);
    assert_eq!(frames.free_pages(), 0);
}

/// One CPU that does not come out is no reason to miss what another has.
#[test]
fn a_cpu_that_is_in_its_caches_for_a_moment_is_waited_for_beside_one_that_stays() {
    let _deadline = Deadline::start();
    let memory = Memory::new(4 * MIB);
    let frames: &'static FrameAllocator<Relay> = Box::leak(Box::new(FrameAllocator::new()));
    // SAFETY: the memory outlives what the test does with the allocator.
    unsafe { frames.add_region_at(memory.whole(), GIB) }.unwrap();
    for cpu in 0..3 {
        let addr = on(cpu, || frames.alloc_pages(1, 0)).unwrap();
        // SAFETY: just allocated.
        on(cpu, || unsafe { frames.dealloc_pages(addr, 1) }).unwrap();
    }
    let free = frames.free_pages();
    let cpu = frames.shared.cpus.get(2).unwrap();
    // SAFETY: this thread is all CPUs.
    let inside = unsafe { cpu.lock.enter() }.ok().unwrap();
    WAITED.set(0);
    // The first has used up what there is of patience for both.
    LEAVING.set(Some(((1 << 22) + 500, inside)));
    let (stays, taken) = on(1, || {
        frames.with_own(|cpu, _| (cpu.pages(), take_all_beside(frames)))
    })
    .unwrap();
    assert!(stays != 0 && LEAVING.take().is_none());
    assert_eq!(taken, free - stays);
}

/// Nor for one that is draining all others for everybody.
#[test]
fn nobody_waits_for_ever_for_a_cpu_that_is_draining() {
    let _deadline = Deadline::start();
    let memory = Memory::new(4 * MIB);
    let frames = FrameAllocator::<Relay>::new();
    // SAFETY: the memory outlives what the test does with the allocator.
    unsafe { frames.add_region_at(memory.whole(), GIB) }.unwrap();
    for cpu in 0..3 {
        let addr = on(cpu, || frames.alloc_pages(1, 0)).unwrap();
        // SAFETY: just allocated.
        on(cpu, || unsafe { frames.dealloc_pages(addr, 1) }).unwrap();
    }
    let free = frames.free_pages();
    let passes = &frames.shared.passes;
    let taken = on(1, || {
        let mut taken = 0;
        passes.join::<Relay>(&mut Patience::none(), |_| taken = take_all_beside(&frames));
        taken
    });
    // What is in caches that nobody is in is there for the taking.
    assert_eq!(taken, free);
}
