//! Every way into the allocator, while interrupts allocate.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::alloc::Layout;
use core::ptr::NonNull;

use twinframe::{GlobalAllocator, ObjectCache, PageRequest, SizeClass};

use super::live_set::LiveSet;
use super::mixed::any_layout;
use super::page_churn;
use super::worker::Worker;
use crate::memory::HEAP;
use crate::platform::Machine;

/// Objects in a bulk call.
const BULK: usize = 12;
/// Blocks that each CPU holds.
const LIVE: usize = 40;

/// What a named cache holds.
struct Inode {
    number: u64,
    _name: [u8; 200],
}

pub(super) fn work(worker: &mut Worker<'_>) {
    let inodes = ObjectCache::new(&HEAP, "inode");
    let mut live = LiveSet::new(LIVE);
    while worker.goes_on() {
        match worker.random.u32(..24) {
            0 => bulk(worker),
            1 => bulk_pages(worker),
            2 => named(worker, &inodes),
            3 => collections(worker),
            4 => questions(worker),
            5 => at_an_address(worker),
            6 if worker.one_in(16) => {
                HEAP.drain();
            }
            7 if worker.one_in(8) => {
                HEAP.frames().drain_all();
            }
            8 if worker.one_in(8) => {
                HEAP.frames().drain_cpu(worker.cpu());
            }
            9 => {
                if let Some(block) = live.take(worker) {
                    let layout = any_layout(worker);
                    if let Some(block) = worker.resize(block, layout) {
                        live.insert(worker, block);
                    }
                }
            }
            10 => {
                let layout = any_layout(worker);
                if let Some(block) = worker.take_zeroed(layout) {
                    live.insert(worker, block);
                }
            }
            11..16 => {
                if let Some(block) = page_churn::any(worker) {
                    live.insert(worker, block);
                }
                // The standard collections cannot bear to find nothing.
                if HEAP.allocated_bytes() > HEAP.managed_bytes() / 2 {
                    live.clear(worker);
                }
            }
            _ => {
                let layout = any_layout(worker);
                if let Some(block) = worker.take(layout) {
                    live.insert(worker, block);
                }
            }
        }
    }
    live.clear(worker);
    assert_eq!(inodes.stats().live(), 0);
}

/// `alloc_bulk` and `free_bulk`, for objects.
fn bulk(worker: &mut Worker<'_>) {
    let layout = any_layout(worker);
    let mut memory = [NonNull::dangling(); BULK];
    if HEAP.alloc_bulk(layout, &mut memory).is_err() {
        return;
    }
    let blocks = memory.map(|memory| worker.adopt(memory, layout));
    let memory = blocks.map(|block| worker.give_up(block));
    // SAFETY: allocated above for this layout, and not used any more.
    if let Err((index, error)) = unsafe { HEAP.free_bulk(&memory, layout) } {
        let address = memory[index].addr().get();
        let what = format_args!("refused, number {index} of many: {error}");
        worker.fail_at(address, layout.size(), worker.cpu(), what);
    }
}

/// The same for pages: the caches' own calls.
fn bulk_pages(worker: &mut Worker<'_>) {
    let count = 1 << worker.random.u32(..4);
    let mut addresses = [0; BULK];
    let Ok(done) = HEAP.frames().alloc_bulk(count, &mut addresses) else {
        return;
    };
    let blocks = addresses.map(|address| match address {
        0 => None,
        address => worker.adopt_pages(address, count),
    });
    for block in blocks.into_iter().flatten() {
        worker.give_up(block);
    }
    // SAFETY: allocated above with this count, and not used any more.
    if let Err((index, error)) = unsafe { HEAP.frames().free_bulk(&addresses[..done], count) } {
        let what = format_args!("refused, number {index} of many: {error}");
        worker.fail_at(addresses[index], count * 4096, worker.cpu(), what);
    }
}

/// Named caches of objects.
fn named(worker: &mut Worker<'_>, cache: &ObjectCache<'_, Inode, Machine>) {
    let number = worker.random.u64(..);
    let inode = cache.insert_with(|| Inode {
        number,
        _name: [0xab; 200],
    });
    if let Ok(inode) = inode
        && inode.number != number
    {
        let address = core::ptr::from_ref(&*inode).addr();
        let what = format_args!("an inode numbered {:#x}, not {number:#x}", inode.number);
        worker.fail_at(address, size_of::<Inode>(), worker.cpu(), what);
    }
}

/// `GlobalAlloc`, through what the standard collections do.
fn collections(worker: &mut Worker<'_>) {
    let number = worker.random.u64(..1000);
    let mut list = Vec::new();
    let mut map = BTreeMap::new();
    for key in 0..number % 40 {
        list.push(Box::new(key));
        map.insert(number.wrapping_mul(key) % 97, key);
    }
    for (boxed, key) in list.iter().zip(0..) {
        if **boxed != key {
            let address = core::ptr::from_ref(&**boxed).addr();
            let what = format_args!("holds {boxed}, not {key}");
            worker.fail_at(address, size_of::<u64>(), worker.cpu(), what);
        }
    }
    assert!(map.values().all(|key| *key < 40));
}

/// Calls that change nothing.
fn questions(worker: &mut Worker<'_>) {
    let layout = any_layout(worker);
    if let Some(block) = worker.take(layout) {
        if let Err(error) = HEAP.check(block.memory, layout) {
            worker.refused(&block, error);
        }
        assert!(GlobalAllocator::<Machine>::usable_size(layout) >= layout.size());
        // Not known while somebody empties the caches of this CPU.
        if let Some(known) = HEAP.about(block.address()) {
            let is_free = known.object.is_some_and(|object| object.freed);
            if is_free {
                worker.fail(
                    &block,
                    format_args!("live, but it is said to be free: {known:?}"),
                );
            }
        }
        worker.free(block);
    }
    let zones = HEAP.buddyinfo();
    assert!(zones.zones().count() > 0);
    assert!(HEAP.slabinfo().class(SizeClass::Bytes64).objects <= HEAP.managed_bytes() / 64);
    assert!(HEAP.allocated_bytes() <= HEAP.managed_bytes());
}

/// A page that was free a moment ago, by its address.
fn at_an_address(worker: &mut Worker<'_>) {
    let Some(block) = worker.take_pages(1, &PageRequest::new(1)) else {
        return;
    };
    let address = block.address();
    worker.free(block);
    // Somebody else may have it by now.
    if let Ok(address) = HEAP.frames().alloc_pages_at(address, 1, 0)
        && let Some(block) = worker.adopt_pages(address, 1)
    {
        worker.free(block);
    }
}

const _: () = assert!(Layout::new::<Inode>().size() == 208);
