//! What a CPU finds while another one has stopped somewhere in a drain.

use std::vec::Vec;

use super::shared::on;
use super::{GIB, MIB, Memory, Stopping, at_every_stop};
use crate::{AllocError, AllocResult, FrameAllocator, PageUse};

/// Two sections, the second of which has pages in the cache of CPU 2, and one that is allocated.
struct Machine {
    frames: FrameAllocator<Stopping>,
    memory: [Memory; 2],
    allocated: usize,
    cached: usize,
}

impl Machine {
    fn new() -> Self {
        let memory = [(); 2].map(|()| Memory::new(2 * MIB));
        let frames = FrameAllocator::new();
        for (memory, phys) in memory.iter().zip([4 * GIB, 8 * GIB]) {
            // SAFETY: the memory outlives the allocator.
            unsafe { frames.add_region_at(memory.whole(), phys) }.expect("the region is good");
        }
        let free = |addr| {
            // SAFETY: just allocated.
            let freed = unsafe { frames.dealloc_pages(addr, 1) };
            assert_eq!(freed, Ok(()));
        };
        for cpu in [1, 2, 0] {
            on(cpu, || frames.alloc_pages(1, 0).map(free)).expect("enough memory");
        }
        let mut all: Vec<_> = core::iter::from_fn(|| frames.alloc_pages(1, 0).ok()).collect();
        // What is freed last is in the cache.
        let second = memory[1].addr()..memory[1].addr() + 2 * MIB;
        all.sort_by_key(|page| second.contains(page));
        let cached = all.pop().expect("enough memory");
        let allocated = all.pop().expect("enough memory");
        on(2, || all.into_iter().chain([cached]).for_each(free));
        assert_eq!(
            frames.about(cached).map(|page| page.used_for),
            Some(PageUse::Cached)
        );
        Self {
            frames,
            memory,
            allocated,
            cached,
        }
    }

    fn remove_second(&self) -> AllocResult {
        self.frames
            .remove_section(self.memory[1].addr() + MIB)
            .map(drop)
    }
}

/// Has CPU 1 stop everywhere in a drain, and runs `own` meanwhile.
fn beside_a_drain<R>(own: impl Fn(&Machine) -> R, then: impl Fn(&Machine, R)) {
    at_every_stop(
        Machine::new,
        |machine| assert_ne!(machine.frames.drain_all(), 0),
        own,
        then,
    );
}

#[test]
fn pages_at_an_address_are_found() {
    beside_a_drain(
        |machine| machine.frames.alloc_pages_at(machine.cached, 1, 0),
        |machine, taken| assert_eq!(taken, Ok(machine.cached)),
    );
}

#[test]
fn a_section_goes() {
    beside_a_drain(
        |machine| {
            // SAFETY: nobody has it any more.
            let freed = unsafe { machine.frames.dealloc_pages(machine.allocated, 1) };
            assert_eq!(freed, Ok(()));
            machine.remove_second()
        },
        |_, removed| assert_eq!(removed, Ok(())),
    );
}

#[test]
fn a_section_is_as_busy_as_pages_are_allocated() {
    beside_a_drain(Machine::remove_second, |_, removed| {
        assert_eq!(removed, Err(AllocError::Busy(1)));
    });
}
