//! Memory far behind all that was ever used: its metadata is set up in steps, between which others come in.

use core::cell::Cell;
use core::ops::Range;

use super::shared::on;
use super::{GIB, MIB, Memory, PAGE, Stopping, at_every_stop};
use crate::{AllocError, AllocResult, FrameAllocator, PageRequest};

/// Of one section; 16 chunks of metadata.
const LEN: usize = 256 * MIB;

/// One that may be larger than what is left at once.
const BLOCK: usize = LEN / 2 / PAGE;

struct Machine {
    frames: FrameAllocator<Stopping>,
    memory: Memory,
    /// Has what the allocator keeps for itself.
    _small: Memory,
    /// The only allocation, of three pages.
    start: usize,
}

impl Machine {
    fn new() -> Self {
        let (small, memory) = (Memory::new(2 * MIB), Memory::new(LEN));
        let frames = FrameAllocator::new();
        for (memory, phys) in [(&small, 8 * GIB), (&memory, 4 * GIB)] {
            // SAFETY: the memory outlives the allocator.
            unsafe { frames.add_region_at(memory.whole(), phys) }.expect("the region is good");
        }
        // Both CPUs have their caches.
        for cpu in [1, 0] {
            let page = on(cpu, || frames.alloc_pages(1, 0)).expect("enough memory");
            // SAFETY: it was just allocated.
            unsafe { frames.dealloc_pages(page, 1) }.expect("just allocated");
        }
        frames.drain_all();
        let start = frames.alloc_pages_at(memory.addr() + MIB, 3, 0);
        let start = start.expect("behind the metadata, and free");
        Self {
            frames,
            memory,
            _small: small,
            start,
        }
    }

    fn last_page(&self) -> AllocResult<usize> {
        let last = self.memory.addr() + LEN - PAGE;
        self.frames.alloc_pages_at(last, 1, 0)
    }

    fn large_block(&self) -> AllocResult<usize> {
        self.frames.alloc_pages(BLOCK, 0)
    }

    fn aligned_page(&self) -> AllocResult<usize> {
        self.frames.alloc_pages(1, BLOCK * PAGE)
    }

    fn block_below(&self) -> AllocResult<usize> {
        let request = PageRequest::new(BLOCK).max_phys(4 * GIB + LEN as u64 - 1);
        self.frames.allocate(&request)
    }

    fn grown(&self) -> AllocResult<usize> {
        // SAFETY: the pages are the test's.
        let grown = unsafe { self.frames.grow_pages(self.start, 3, LEN / PAGE - 2048) };
        grown.map(|()| self.start)
    }
}

/// New pages far away.
const REQUESTS: [fn(&Machine) -> AllocResult<usize>; 4] = [
    Machine::last_page,
    Machine::large_block,
    Machine::aligned_page,
    Machine::block_below,
];

#[test]
fn the_lock_is_free_between_steps() {
    for request in REQUESTS.iter().chain([&(Machine::grown as _)]) {
        let stops = Cell::new(0);
        at_every_stop(
            Machine::new,
            |machine| assert!(request(machine).is_ok()),
            |machine| assert_eq!(machine.frames.validate(), Ok(())),
            |machine, ()| {
                assert_eq!(machine.frames.validate(), Ok(()));
                stops.set(stops.get() + 1);
            },
        );
        assert!(stops.get() > 13, "{} stops", stops.get());
    }
}

#[test]
fn others_do_not_cut_what_is_on_its_way() {
    for request in REQUESTS {
        at_every_stop(
            Machine::new,
            |machine| assert!(request(machine).is_ok()),
            |machine| {
                // What is used first lies before all of them.
                for count in [512, 1024, 4096] {
                    machine.frames.alloc_pages(count, 0).expect("enough memory");
                }
            },
            |machine, ()| assert_eq!(machine.frames.validate(), Ok(())),
        );
    }
}

#[test]
fn what_is_not_free_is_found_out_at_once() {
    let machine = Machine::new();
    let frames = &machine.frames;
    let count = LEN / PAGE - 2048;
    // The three pages are in use.
    let taken = frames.alloc_pages_at(machine.start, count, 0);
    assert_eq!(taken, Err(AllocError::NoMemory));
    // Nothing was set up for that: these pages come back as they were.
    let all = frames.alloc_pages_at(machine.start + 3 * PAGE, count - 3, 0);
    assert_eq!(all, Ok(machine.start + 3 * PAGE));
    assert_eq!(frames.validate(), Ok(()));
}

/// Removes the section, unless something of it was allocated, and uses its memory for something else.
fn remove(machine: &Machine) -> Option<Range<usize>> {
    // SAFETY: nobody uses these pages.
    let freed = unsafe { machine.frames.dealloc_pages(machine.start, 3) };
    if freed.is_err() {
        return None;
    }
    let removed = machine.frames.remove_section(machine.start).ok()?;
    let memory = machine.memory.part(0, MIB).cast::<u8>();
    // SAFETY: it is the test's again.
    unsafe { memory.write_bytes(0xa5, MIB) };
    Some(removed)
}

#[test]
fn a_section_goes_between_steps() {
    for request in REQUESTS {
        let removals = Cell::new(0);
        at_every_stop(
            Machine::new,
            |machine| match request(machine) {
                Ok(_) | Err(AllocError::NoMemory | AllocError::NotFound) => {}
                Err(error) => panic!("{error}"),
            },
            remove,
            |machine, removed| {
                let Some(removed) = removed else { return };
                assert_eq!(removed, machine.memory.addr()..machine.memory.addr() + LEN);
                removals.set(removals.get() + 1);
                let memory = machine.memory.part(0, MIB).cast::<u8>();
                // SAFETY: it is initialised, and only the test's.
                let bytes = unsafe { core::slice::from_raw_parts(memory.as_ptr(), MIB) };
                assert!(bytes.iter().all(|byte| *byte == 0xa5), "written to");
            },
        );
        assert!(removals.get() > 13, "{} removals", removals.get());
    }
}
