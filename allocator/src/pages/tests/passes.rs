//! Drains that CPUs leave to each other, while their interrupt handlers free.

use core::cell::RefCell;
use std::boxed::Box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::vec::Vec;

use super::shared::on;
use super::{Cpu, Hooked, Hooks, MIB, Memory, PAGE};
use crate::FrameAllocator;
use crate::patience::Patience;
use crate::sync::Pinned;

/// The host's machine, whose CPUs do something else once when they wait.
type Waiting = Hooked<Waits>;

struct Waits;

std::thread_local! {
    static THEN: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
}

impl Hooks for Waits {
    fn relax() {
        if let Some(then) = THEN.take() {
            then();
        }
        thread::yield_now();
    }
}

fn await_flag(flag: &AtomicBool) {
    while !flag.load(Ordering::Acquire) {
        thread::yield_now();
    }
}

/// Half of it is free, in blocks of 8 pages whose buddies are not. Returns one that is not.
fn scattered(frames: &FrameAllocator<Waiting>) -> usize {
    for cpu in 0..3 {
        on(cpu, || {
            let page = frames.alloc_pages(1, 0).expect("enough memory");
            // SAFETY: just allocated.
            unsafe { frames.dealloc_pages(page, 1) }.expect("it is allocated");
        });
    }
    let mut blocks: Vec<_> = core::iter::from_fn(|| frames.alloc_pages(8, 0).ok()).collect();
    blocks.sort_unstable();
    let (lower, upper): (Vec<_>, Vec<_>) = blocks
        .into_iter()
        .partition(|block| block & (8 * PAGE) == 0);
    for block in upper {
        // SAFETY: allocated above.
        unsafe { frames.dealloc_pages(block, 8) }.expect("it is allocated");
    }
    frames.drain_all();
    assert_eq!(frames.alloc_pages(16, 0).ok(), None);
    lower[lower.len() / 2]
}

/// While a CPU waited for another one's pass, a handler freed a block into its cache. Then it had the next pass, which
/// left out its own caches; and those who had waited with it found nothing.
#[test]
fn a_pass_has_what_handlers_freed_while_it_was_waited_for() {
    static FRAMES: FrameAllocator<Waiting> = FrameAllocator::new();
    static IS_PASSING: AtomicBool = AtomicBool::new(false);
    static IS_FREED: AtomicBool = AtomicBool::new(false);
    static IS_OVER: AtomicBool = AtomicBool::new(false);
    static IS_SECOND_OVER: AtomicBool = AtomicBool::new(false);
    let memory = Memory::new(4 * MIB);
    // SAFETY: the memory outlives its use.
    let added = unsafe { FRAMES.add_region_at(memory.whole(), memory.addr() as u64) };
    added.expect("the region is good");
    Cpu::set(0);
    let block = scattered(&FRAMES);
    thread::scope(|scope| {
        // A pass that finds nothing.
        scope.spawn(|| {
            Cpu::set(2);
            let _pinned = Pinned::<Waiting>::new();
            FRAMES
                .shared
                .passes
                .join::<Waiting>(&mut Patience::much(), |_| {
                    IS_PASSING.store(true, Ordering::Release);
                    await_flag(&IS_OVER);
                });
        });
        await_flag(&IS_PASSING);
        // One that waits for it, and then wants more than there will be.
        scope.spawn(|| {
            Cpu::set(1);
            THEN.set(Some(Box::new(move || {
                // SAFETY: it is allocated, and nobody uses it.
                unsafe { FRAMES.dealloc_pages(block, 8) }.expect("it is allocated");
                assert_ne!(FRAMES.cached_pages(), 0);
                IS_FREED.store(true, Ordering::Release);
                await_flag(&IS_OVER);
            })));
            assert_eq!(FRAMES.alloc_pages(32, 0).ok(), None);
            IS_SECOND_OVER.store(true, Ordering::Release);
        });
        await_flag(&IS_FREED);
        THEN.set(Some(Box::new(|| {
            IS_OVER.store(true, Ordering::Release);
            await_flag(&IS_SECOND_OVER);
        })));
        assert!(FRAMES.alloc_pages(16, 0).is_ok());
    });
}
