mod frees;
mod model;
mod structure;

use core::alloc::Layout;
use core::ptr::NonNull;

use super::*;
use crate::AllocResult;

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).expect("a layout")
}

/// Memory that is aligned to 2 MiB and stays.
fn memory(len: usize) -> NonNull<[u8]> {
    let layout = layout(len, LARGEST_CHUNK);
    // SAFETY: the length is not 0.
    let start = unsafe { std::alloc::alloc_zeroed(layout) };
    let start = NonNull::new(start).expect("memory");
    NonNull::slice_from_raw_parts(start, len)
}

fn part(memory: NonNull<[u8]>, offset: usize, len: usize) -> NonNull<[u8]> {
    assert!(offset + len <= memory.len());
    // SAFETY: inside of it.
    let start = unsafe { memory.cast::<u8>().add(offset) };
    NonNull::slice_from_raw_parts(start, len)
}

fn tree(memory: NonNull<[u8]>) -> BitTree {
    let mut tree = BitTree::new();
    // SAFETY: tests hand each memory to one tree.
    unsafe { tree.add_chunks(memory) }.expect("room for a chunk");
    tree
}

/// Frees what the test owns, or expects to be refused.
fn free(tree: &mut BitTree, ptr: NonNull<u8>, layout: Layout) -> AllocResult {
    // SAFETY: the tests use no block after they have freed it.
    unsafe { tree.dealloc(ptr, layout) }
}
