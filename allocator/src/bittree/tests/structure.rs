//! The tree of bits, the places of chunks, and chunks that come and go.

use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::AllocError;
use crate::bittree::bits::{Bits, words};
use crate::bittree::block::{Block, LARGEST_ORDER, order_for};
use crate::bittree::chunk::Chunk;
use crate::bittree::place::Place;

/// Every pair of buddies has a bit that no other pair has; with bit 0, which is none, they fill the
/// words.
#[test]
fn there_is_exactly_one_bit_for_each_pair() {
    for top in 6..=LARGEST_ORDER {
        let bits = words(SMALLEST_BLOCK << top) * 64;
        let mut owner = std::vec![None; bits];
        for order in 0..top {
            for unit in (0..1_u32 << top).step_by(2 << order) {
                let block = Block { order, unit };
                let bit = block.pair(top).expect("a pair");
                assert_eq!(block.buddy().pair(top), Some(bit));
                assert_eq!(owner[bit].replace(block), None, "shared by two pairs");
            }
        }
        assert_eq!(Block::whole(top).pair(top), None);
        assert_eq!(owner[0], None);
        assert!(owner[1..].iter().all(Option::is_some), "unused bits");
    }
}

#[test]
fn the_bits_are_an_array_shaped_tree() {
    let top = 10;
    for order in 1..top {
        for unit in (0..1_u32 << top).step_by(1 << order) {
            let block = Block { order, unit };
            let pair = block.pair_below(top);
            assert_eq!(block.first_half().pair(top), Some(pair));
            assert_eq!(block.pair(top), Some(pair / 2));
        }
    }
    assert_eq!(Block::whole(top).pair_below(top), 1);
}

/// Nothing but the memory, the bits, and a head for each list.
#[test]
fn a_static_chunk_is_memory_bits_and_heads() {
    assert_eq!(words(LARGEST_CHUNK) * size_of::<u64>(), 16 << 10);
    let rest = size_of::<StaticChunk>() - LARGEST_CHUNK - (16 << 10);
    assert!(rest <= 4096, "{rest} bytes, of which most is the alignment");
    assert!(size_of::<Chunk>() <= 256, "{}", size_of::<Chunk>());
}

#[test]
fn blocks_are_plain_as_long_as_no_bit_inside_is_set() {
    let top = 12;
    let mut words = std::vec![0; words(SMALLEST_BLOCK << top)];
    let mut bits = Bits {
        words: &mut words,
        top,
    };
    for order in 0..top {
        for unit in (0..1_u32 << top).step_by(1 << order) {
            let flipped = Block { order, unit };
            assert_eq!(bits.flip(flipped), Some(false));
            assert!(bits.get(flipped.buddy()));
            assert_eq!(bits.count(order), 1);
            for above in 0..=top {
                // The blocks above have the pair inside, no other block has.
                let around = Block::around(above, unit);
                assert_eq!(
                    bits.is_plain(around),
                    above <= order,
                    "{flipped:?} in {around:?}"
                );
                if above < top {
                    assert!(bits.is_plain(around.buddy()) || above < order);
                }
            }
            assert_eq!(bits.flip(flipped), Some(true));
        }
    }
}

#[test]
fn a_layout_takes_the_larger_of_size_and_alignment() {
    let order = |size, align, base| order_for(layout(size, align), base);
    assert_eq!(order(0, 1, 4096), Some(0));
    assert_eq!(order(16, 16, 4096), Some(0));
    assert_eq!(order(17, 1, 4096), Some(1));
    assert_eq!(order(1, 64, 4096), Some(2));
    assert_eq!(order(LARGEST_CHUNK, 1, 4096), Some(LARGEST_ORDER));
    assert_eq!(order(LARGEST_CHUNK + 1, 1, 4096), None);
    // Beyond the alignment of the chunk, any place in the block may be the aligned one.
    assert_eq!(order(1, 64, 16), Some(3));
    assert_eq!(order(4096, 8192, 4096), Some(10));
    assert_eq!(order(isize::MAX as usize - 4095, 4096, 1), None);
}

proptest! {
    /// Chunks lie inside the memory, one behind the other, aligned as they must be, and are as large
    /// as can be.
    #[test]
    fn chunks_fit(start in 1..1_usize << 40, len in 0..5_usize << 20) {
        let end = start + len;
        let mut at = start;
        while let Some(place) = Place::find(at, end) {
            let bytes = SMALLEST_BLOCK << place.order;
            prop_assert!(at <= place.memory && place.memory - at <= bytes / 64);
            prop_assert!(place.memory.is_multiple_of(SMALLEST_BLOCK));
            prop_assert_eq!(place.bits, place.memory + bytes);
            prop_assert_eq!(place.chunk, place.bits + bytes / 128);
            prop_assert!(place.chunk.is_multiple_of(align_of::<Chunk>()));
            prop_assert!(place.end <= end);
            if place.order < LARGEST_ORDER {
                prop_assert!(end - at < bytes * 2 + bytes / 32 + 4096 + 256);
            }
            at = place.end;
        }
        prop_assert!(end - at < 1024 + 8 + 15 + size_of::<Chunk>());
    }
}

#[test]
fn memory_of_any_size_becomes_chunks_and_comes_back_whole() {
    for (offset, len) in [(0, 5 << 20), (8, 1 << 20), (123, 70_000), (1, 1500)] {
        let memory = memory(6 << 20);
        let given = part(memory, offset, len);
        let mut tree = tree(given);
        assert!(tree.total_bytes() <= len);
        assert!(
            tree.total_bytes() * 10 > len * 6,
            "{} of {len}",
            tree.total_bytes()
        );
        tree.validate().expect("consistent");
        let mut returned = Vec::new();
        while let Some(chunk) = tree.take_free_chunk() {
            let FreeChunk::Memory(memory) = chunk else {
                panic!("no static chunk was added");
            };
            returned.push((memory.cast::<u8>().addr().get(), memory.len()));
        }
        let mut at = given.cast::<u8>().addr().get();
        for (start, len) in returned {
            assert_eq!(start, at);
            at += len;
        }
        assert_eq!(at, given.cast::<u8>().addr().get() + len);
        assert_eq!((tree.total_bytes(), tree.chunk_count()), (0, 0));
        assert_eq!(tree.alloc(layout(1, 1)), Err(AllocError::NoMemory));
    }
}

#[test]
fn too_little_memory_and_overlaps_are_refused() {
    let memory = memory(1 << 20);
    let mut tree = BitTree::new();
    // SAFETY: nobody else has the memory; what is refused is not touched.
    let mut add = |offset, len| unsafe { tree.add_chunks(part(memory, offset, len)) };
    assert_eq!(add(0, 1200), Err(AllocError::InvalidParam));
    assert_eq!(add(4096, 8192), Ok(()));
    assert_eq!(add(0, 8192), Err(AllocError::MemoryOverlap));
    assert_eq!(add(8192, 16384), Err(AllocError::MemoryOverlap));
    assert_eq!(add(0, 1 << 20), Err(AllocError::MemoryOverlap));
    assert_eq!(add(12288, 8192), Ok(()));
    let rest = memory.len();
    assert_eq!(add(rest - 10, 10), Err(AllocError::InvalidParam));
}

#[test]
fn all_chunks_are_searched() {
    let memory = memory(4 << 20);
    let mut tree = tree(part(memory, 0, 300 << 10));
    // SAFETY: other parts of the memory.
    unsafe { tree.add_chunks(part(memory, 1 << 20, 3 << 20)) }.expect("room");
    let large = layout(1 << 20, 1);
    let block = tree.alloc(large).expect("the second range has it");
    assert!(block.addr().get() >= memory.cast::<u8>().addr().get() + (1 << 20));
    // Small ones fill the first range, then the second.
    let small = layout(1024, 1);
    let blocks: Vec<_> = core::iter::from_fn(|| tree.alloc(small).ok()).collect();
    assert_eq!(tree.available_bytes(), 0);
    tree.validate().expect("consistent when full");
    for block in blocks {
        assert_eq!(free(&mut tree, block, small), Ok(()));
    }
    // The chunk with the large block stays; all others go.
    let before = tree.chunk_count();
    let mut gone = 0;
    while tree.take_free_chunk().is_some() {
        gone += 1;
    }
    assert_eq!((gone, tree.chunk_count()), (before - 1, 1));
    assert_eq!(free(&mut tree, block, large), Ok(()));
    assert!(tree.take_free_chunk().is_some());
    assert_eq!(tree.chunk_count(), 0);
}

#[test]
fn a_static_chunk_is_in_one_tree_at_a_time() {
    static CHUNK: StaticChunk<16> = StaticChunk::new();
    let mut one = BitTree::new();
    let mut other = BitTree::new();
    assert_eq!(one.add_static(&CHUNK), Ok(()));
    assert_eq!(other.add_static(&CHUNK), Err(AllocError::MemoryOverlap));
    let all = layout(16 << 10, 4096);
    let block = one.alloc(all).expect("all of it");
    assert_eq!(one.take_free_chunk(), None);
    assert_eq!(free(&mut one, block, all), Ok(()));
    assert_eq!(one.take_free_chunk(), Some(FreeChunk::Static));
    assert_eq!(other.add_static(&CHUNK), Ok(()));
    assert_eq!(other.total_bytes(), 16 << 10);
    other.validate().expect("as new");
}

/// The chunk of 2 MiB can be had as one block, and as smallest ones.
#[test]
fn the_default_chunk_is_all_usable() {
    let mut tree = BitTree::with_default_chunk().expect("nobody else has it");
    assert!(BitTree::with_default_chunk().is_err());
    let all = layout(LARGEST_CHUNK, 4096);
    let block = tree.alloc(all).expect("all of it");
    assert_eq!(tree.available_bytes(), 0);
    assert_eq!(free(&mut tree, block, all), Ok(()));
    let least = layout(1, 1);
    let blocks: Vec<_> = core::iter::from_fn(|| tree.alloc(least).ok()).collect();
    assert_eq!(blocks.len(), LARGEST_CHUNK / SMALLEST_BLOCK);
    for block in blocks {
        assert_eq!(free(&mut tree, block, least), Ok(()));
    }
    assert!(tree.alloc(all).is_ok(), "merged again");
}
