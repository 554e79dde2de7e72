//! What a timer interrupt does in a stress: the same as everybody else.

use core::alloc::Layout;
use core::sync::atomic::Ordering;

use twinframe::PageRequest;

use super::block::Block;
use super::rig::Rig;
use super::worker::{Worker, add_own};
use crate::arch::{clock, percpu};

/// How many times as long as it took a handler to find that memory has run out the next ones do nothing, as a
/// driver that drops packets would. To find that takes a word with every CPU, and what is interrupted has to
/// get on, too.
const PAUSE: u64 = 4;

/// The handler.
pub(super) fn interrupt() {
    let Some(rig) = Rig::current() else { return };
    let cpu = percpu::id();
    let place = rig.place(cpu);
    let begin = clock::ticks();
    if begin < place.pause.load(Ordering::Relaxed) {
        return;
    }
    let turn = add_own(&place.interrupts);
    let mut worker = Worker::in_interrupt(rig, cpu, rig.seed ^ turn << 8 ^ cpu as u64);
    let block = allocate(&mut worker, turn);
    if block.is_none() {
        let end = clock::ticks();
        let pause = PAUSE * end.saturating_sub(begin);
        place.pause.store(end + pause, Ordering::Relaxed);
    }
    // The lock is this CPU's own, and only handlers take it, which do not interrupt each other.
    let Some(mut kept) = place.kept.try_lock() else {
        return;
    };
    let old = if turn.is_multiple_of(3) {
        core::mem::replace(&mut *kept, block)
    } else {
        block
    };
    drop(kept);
    if let Some(old) = old {
        worker.free(old);
    }
}

fn allocate(worker: &mut Worker<'_>, turn: u64) -> Option<Block> {
    let size = 1 << worker.random.u32(0..12);
    let layout = Layout::from_size_align(size, 8).ok()?;
    match turn % 8 {
        0 => worker.take_pages(1, &PageRequest::new(1)),
        1 => {
            let count = worker.random.usize(1..=8);
            worker.take_pages(count, &PageRequest::new(count).exact())
        }
        2 => worker.take_pages(2, &PageRequest::new(2).lowmem()),
        3 => worker.take_zeroed(layout),
        4 => {
            let block = worker.take(layout)?;
            let other = Layout::from_size_align(worker.random.usize(1..3000), 8).ok()?;
            worker.resize(block, other)
        }
        _ => worker.take(layout),
    }
}
