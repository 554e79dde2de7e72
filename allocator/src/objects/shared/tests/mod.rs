//! Many CPUs, played by one thread and by many.

mod asks;
mod counts;
mod defects;
mod handlers;
mod kept;
mod single;
mod stopped;
mod storm;
mod timers;
mod trim;
mod waits;

use core::alloc::Layout;
use core::ptr::NonNull;

use crate::pages::tests::{Cpu, Host, MIB, Memory};
use crate::{AllocResult, GlobalAllocator, Platform};

/// An allocator with memory below it.
struct Rig {
    global: GlobalAllocator<Host>,
    _memory: Memory,
}

impl Rig {
    fn new(mib: usize) -> Self {
        let memory = Memory::new(mib * MIB);
        let global = GlobalAllocator::new();
        // SAFETY: the memory outlives the allocator and is used through it only.
        let region = unsafe { memory.whole().as_mut() };
        // SAFETY: as above.
        unsafe { global.init(region) }.expect("enough memory");
        Self {
            global,
            _memory: memory,
        }
    }

    fn alloc(&self, layout: Layout) -> NonNull<u8> {
        self.global.alloc(layout).expect("enough memory")
    }

    fn free(&self, object: NonNull<u8>, layout: Layout) -> AllocResult {
        // SAFETY: the tests free what they allocated, or something that is refused.
        unsafe { self.global.dealloc(object, layout) }
    }

    /// Everything was freed: nothing is missing, and every page comes back.
    fn assert_recovered(&self) {
        assert_eq!(self.global.slabinfo().live(), 0);
        let (allocations, frees) = counts::all(&self.global);
        assert_eq!(allocations, frees);
        assert_eq!(self.global.validate(), Ok(()));
        self.global.drain();
        assert_eq!(self.global.allocated_bytes(), 0);
        assert_eq!(self.global.validate(), Ok(()));
    }
}

/// Runs something as another CPU.
fn on<R>(cpu: usize, run: impl FnOnce() -> R) -> R {
    let before = Host::cpu_id();
    Cpu::set(cpu);
    let result = run();
    Cpu::set(before);
    result
}

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 8).expect("a valid layout")
}
