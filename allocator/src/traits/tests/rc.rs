//! Collections on one allocator.

use allocator_api2::alloc::Allocator;
use allocator_api2::boxed::Box;
use allocator_api2::vec::Vec;
use core::alloc::Layout;

use crate::bittree::BitTree;
use crate::pages::tests::{Cpu, Host};
use crate::traits::{
    AllocatorRc, BuddyByteAllocator, ByteAllocator, SlabByteAllocator, TlsfByteAllocator,
};
use crate::{AllocError, GlobalAllocator};

fn pool(size: usize) -> std::vec::Vec<u8> {
    std::vec![0; size]
}

/// Several collections at once on the pool, which the caller drops after the allocator.
fn share<A: ByteAllocator>(inner: A, pool: &mut [u8]) {
    // SAFETY: the pool outlives all handles.
    let handle = unsafe { AllocatorRc::new(inner, pool) }.expect("enough memory");
    let used = handle.with(A::used_bytes);
    let mut numbers = Vec::new_in(handle.clone());
    numbers.extend(0..10_000_u32);
    let boxed = Box::new_in([7_u8; 3000], handle.clone());
    let mut rows: Vec<Vec<u8, _>, _> = Vec::new_in(handle.clone());
    for row in 0..20 {
        let mut bytes = Vec::new_in(handle.clone());
        bytes.resize(row * 10, 1);
        rows.push(bytes);
    }
    assert!(numbers.iter().copied().eq(0..10_000));
    let sum: usize = boxed.iter().map(|byte| usize::from(*byte)).sum();
    assert_eq!(sum, 21_000);
    assert_eq!(rows.iter().map(Vec::len).sum::<usize>(), 1900);
    assert!(handle.with(A::used_bytes) >= used + 43_000);
    drop((numbers, boxed, rows));
    // All but the allocator itself is free again, and in large blocks.
    let mut all: Vec<u8, _> = Vec::new_in(handle);
    assert!(all.try_reserve_exact(200_000).is_ok());
}

#[test]
fn collections_share_the_memory_and_give_it_all_back() {
    Cpu::set(0);
    let mut pool = pool(1 << 20);
    let heap = GlobalAllocator::<Host>::new();
    share(&heap, &mut pool);
    heap.drain();
    assert_eq!(heap.slabinfo().live(), 0);
    // From here on nobody asks it for anything.
    share(GlobalAllocator::<Host>::new(), &mut pool);
    share(BitTree::new(), &mut pool);
    share(SlabByteAllocator::<0x1000>::new(), &mut pool);
    share(BuddyByteAllocator::new(), &mut pool);
    share(TlsfByteAllocator::new(), &mut pool);
}

#[test]
fn the_last_handle_may_be_inside_a_collection() {
    Cpu::set(0);
    let mut pool = pool(1 << 20);
    let heap = GlobalAllocator::<Host>::new();
    // SAFETY: the pool outlives all handles.
    let handle = unsafe { AllocatorRc::new(&heap, &mut pool) }.expect("enough memory");
    let clone = handle.clone();
    // The box frees its memory through the handle inside it, which is the last one.
    let boxed = Box::new_in(5_u64, handle);
    drop(clone);
    drop(boxed);
    heap.drain();
    assert_eq!(heap.slabinfo().live(), 0);
}

#[test]
fn too_little_memory_is_an_error() {
    Cpu::set(0);
    let heap = GlobalAllocator::<Host>::new();
    let mut pool = pool(64);
    // SAFETY: the pool outlives all handles.
    let handle = unsafe { AllocatorRc::new(&heap, &mut pool) };
    assert!(matches!(handle, Err(AllocError::InvalidParam)));
    // An allocator without any memory has no place for itself either.
    assert!(matches!(
        AllocatorRc::from_allocator(&heap),
        Err(AllocError::NoMemory)
    ));
}

#[test]
fn running_out_is_an_error_to_the_collection() {
    Cpu::set(0);
    let heap = GlobalAllocator::<Host>::new();
    let mut pool = pool(1 << 18);
    // SAFETY: the pool outlives all handles.
    let handle = unsafe { AllocatorRc::new(&heap, &mut pool) }.expect("enough memory");
    assert!(handle.allocate(Layout::new::<[u8; 1 << 18]>()).is_err());
    let mut bytes: Vec<u8, _> = Vec::new_in(handle);
    assert!(bytes.try_reserve(1 << 18).is_err());
    assert!(bytes.try_reserve(1 << 14).is_ok());
}
