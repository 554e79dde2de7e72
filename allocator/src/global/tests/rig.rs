//! An allocator to try out, on a platform that is as simple as can be.

use core::alloc::Layout;
use core::cell::RefCell;
use core::ptr::NonNull;
use std::vec;
use std::vec::Vec;

use crate::{AllocError, GlobalAllocator, Hardening, Misuse, Platform};

std::thread_local! {
    pub(super) static REPORTS: RefCell<Vec<Misuse>> = const { RefCell::new(Vec::new()) };
}

/// One CPU without interrupts, whose physical addresses are its virtual ones.
pub(in crate::global) struct Host;

// SAFETY: every test runs on one thread with an allocator of its own, so CPU 0 is never two
// contexts at once; the translation is the identity; there are no interrupts.
unsafe impl Platform for Host {
    const MAX_CPUS: usize = 1;
    /// These tests say exactly what lies where.
    const HARDENING: Hardening = Hardening::NONE;
    type IrqState = ();

    fn cpu_id() -> usize {
        0
    }

    fn virt_to_phys(virt: usize) -> u64 {
        virt as u64
    }

    fn phys_to_virt(phys: u64) -> usize {
        usize::try_from(phys).expect("an address")
    }

    fn irq_save() {}

    unsafe fn irq_restore((): ()) {}

    fn misuse(what: &Misuse) {
        REPORTS.with_borrow_mut(|reports| reports.push(*what));
    }
}

/// An allocator with memory below it. The memory outlives it: fields are dropped in order.
pub(in crate::global) struct Rig {
    pub(in crate::global) global: GlobalAllocator<Host>,
    _memory: Vec<u8>,
}

impl Rig {
    pub(in crate::global) fn new(bytes: usize) -> Self {
        let mut memory = vec![0xa5; bytes];
        let global = GlobalAllocator::new();
        // SAFETY: the memory is used through the allocator only, and outlives it.
        unsafe { global.init(&mut memory) }.expect("enough memory");
        Self {
            global,
            _memory: memory,
        }
    }

    pub(in crate::global) fn free(
        &self,
        ptr: NonNull<u8>,
        layout: Layout,
    ) -> Result<(), AllocError> {
        // SAFETY: the tests free what they allocated, or something that is refused.
        unsafe { self.global.dealloc(ptr, layout) }
    }

    pub(in crate::global) fn is_recovered(&self) {
        assert_eq!(self.global.validate(), Ok(()));
        self.global.drain();
        assert_eq!(self.global.allocated_bytes(), 0);
        assert_eq!(self.global.slabinfo().live(), 0);
        assert_eq!(self.global.validate(), Ok(()));
    }
}

pub(super) fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).expect("a valid layout")
}
