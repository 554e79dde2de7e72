//! What is available, while other CPUs add memory and take it.

use core::cell::Cell;
use std::boxed::Box;

use crate::pages::tests::{MIB, Memory};
use crate::traits::{ByteAllocator, PageAllocator};
use crate::{FrameAllocator, GlobalAllocator, Platform};

static HEAP: GlobalAllocator<Busy> = GlobalAllocator::new();

std::thread_local! {
    static CPU: Cell<usize> = const { Cell::new(0) };
    /// Memory that another CPU adds, and takes, when this CPU lets go of its next lock.
    static ARRIVING: Cell<Option<&'static Memory>> = const { Cell::new(None) };
}

/// Two CPUs without interrupts.
struct Busy;

// SAFETY: the second CPU runs only while the first waits for it, outside of its own caches; the
// translation is the identity.
unsafe impl Platform for Busy {
    const MAX_CPUS: usize = 2;
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

    unsafe fn irq_restore((): ()) {
        let Some(memory) = ARRIVING.take() else {
            return;
        };
        CPU.set(1);
        // SAFETY: the memory is there for ever, and used through the allocator only.
        let region = unsafe { memory.whole().as_mut() };
        // SAFETY: as above.
        unsafe { HEAP.add_region(region) }.expect("good memory");
        while HEAP.alloc_pages(1, 0).is_ok() {}
        CPU.set(0);
    }

    fn heavy_barrier() {}
}

#[test]
fn memory_that_comes_and_goes_does_not_confuse_what_is_available() {
    let memory = |mib| -> &'static Memory { Box::leak(Box::new(Memory::new(mib * MIB))) };
    // SAFETY: the memory is there for ever, and used through the allocator only.
    let region = unsafe { memory(1).whole().as_mut() };
    // SAFETY: as above.
    unsafe { HEAP.init(region) }.expect("good memory");
    let total = HEAP.managed_bytes();
    ARRIVING.set(Some(memory(4)));
    assert!(HEAP.available_bytes() <= total);
    assert!(HEAP.managed_bytes() > total);
    let total = HEAP.managed_bytes();
    ARRIVING.set(Some(memory(4)));
    let frames: &FrameAllocator<Busy> = HEAP.frames();
    assert!(PageAllocator::available_pages(&frames) * 0x1000 <= total);
}
