//! Objects over pages, when there are no more pages.

use core::alloc::Layout;
use core::ptr::NonNull;
use std::vec::Vec;

use crate::pages::tests::Memory;
use crate::traits::{BaseAllocator, ByteAllocator, SlabByteAllocator};

type Objects = SlabByteAllocator<0x1000>;

fn all(objects: &mut Objects, layout: Layout) -> Vec<NonNull<u8>> {
    core::iter::from_fn(|| objects.alloc(layout).ok()).collect()
}

/// Descriptors run short at some of these sizes.
#[test]
fn what_was_freed_can_be_allocated_when_there_are_no_pages() {
    let layout = Layout::new::<[u64; 8]>();
    for kib in (256..2048).step_by(64) {
        let memory = Memory::new(kib << 10);
        let mut objects = Objects::new();
        let start = memory.whole().as_ptr().expose_provenance();
        // SAFETY: the memory outlives the allocator, and nobody else uses it.
        unsafe { objects.add_memory(start, kib << 10) }.expect("memory");
        let held = all(&mut objects, layout);
        let used = objects.used_bytes();
        for object in held.iter().step_by(2) {
            // SAFETY: allocated above and not used.
            unsafe { objects.dealloc(*object, layout) }.expect("a good free");
        }
        let again = all(&mut objects, layout);
        assert_eq!(again.len(), held.len().div_ceil(2), "{kib} KiB");
        assert_eq!(objects.used_bytes(), used);
    }
}

/// Room for descriptors took the pages that were free, was given up for a slab, and so on for ever.
#[test]
fn no_descriptor_and_pages_for_one_slab_only_is_an_error() {
    let layout = Layout::new::<[u64; 8]>();
    let memory = Memory::new(1 << 20);
    let mut objects = Objects::new();
    let start = memory.whole().as_ptr().expose_provenance();
    // SAFETY: the memory outlives the allocator, and nobody else uses it.
    unsafe { objects.add_memory(start, 1 << 20) }.expect("memory");
    let pages = Layout::new::<[[u8; 0x1000]; 4]>();
    let slabs = all(&mut objects, pages);
    for slab in slabs {
        // SAFETY: allocated above and not used.
        unsafe { objects.dealloc(slab, pages) }.expect("a good free");
        all(&mut objects, layout);
    }
}
