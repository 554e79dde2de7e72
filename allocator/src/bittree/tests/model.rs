//! Random sequences against a model that knows every byte.

use std::collections::BTreeMap;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::AllocError;
use crate::pages::tests::Memory;

#[derive(Debug, Clone)]
enum Op {
    Alloc { size: usize, align: u32 },
    Free(usize),
    FreeTwice(usize),
    FreeInside { live: usize, offset: usize },
    FreeElsewhere { offset: usize, size: usize },
    GiveBack,
}

fn op() -> impl Strategy<Value = Op> {
    let size = prop_oneof![4 => 0..200usize, 2 => 0..5000usize, 1 => 0..300_000usize];
    prop_oneof![
        8 => (size, prop_oneof![4 => 0..6u32, 1 => 0..16u32])
            .prop_map(|(size, align)| Op::Alloc { size, align }),
        6 => any::<usize>().prop_map(Op::Free),
        1 => any::<usize>().prop_map(Op::FreeTwice),
        1 => (any::<usize>(), 1..5000usize)
            .prop_map(|(live, offset)| Op::FreeInside { live, offset }),
        2 => (0..800_000usize, 0..5000usize)
            .prop_map(|(offset, size)| Op::FreeElsewhere { offset, size }),
        1 => Just(Op::GiveBack),
    ]
}

/// A simple buddy system over numbers: the sizes of free blocks by address, one for each chunk.
struct Chunks(Vec<(usize, usize, BTreeMap<usize, usize>)>);

impl Chunks {
    /// The free blocks of the orders that the addresses out imply: all that is not covered, in the
    /// largest aligned pieces.
    fn largest_free(&self) -> usize {
        let largest = |(base, bytes, out): &(usize, usize, BTreeMap<usize, usize>)| {
            let mut size = *bytes;
            loop {
                let free = (0..bytes / size).any(|block| {
                    let start = base + block * size;
                    out.range(..start + size)
                        .next_back()
                        .is_none_or(|(at, len)| at + len <= start)
                });
                if free || size == SMALLEST_BLOCK {
                    return if free { size } else { 0 };
                }
                size /= 2;
            }
        };
        self.0.iter().map(largest).max().unwrap_or(0)
    }

    fn chunk(&mut self, addr: usize) -> &mut (usize, usize, BTreeMap<usize, usize>) {
        let mut chunks = self.0.iter_mut();
        chunks
            .find(|(base, bytes, _)| (*base..base + bytes).contains(&addr))
            .expect("an address in a chunk")
    }

    fn used(&self) -> usize {
        let out = self.0.iter().flat_map(|(_, _, out)| out.values());
        out.sum()
    }
}

/// Two ranges, so that there are chunks of several sizes with and without natural alignment.
fn subject(memory: &Memory) -> (BitTree, Chunks) {
    let mut tree = tree(memory.part(0, 600 << 10));
    // SAFETY: another part.
    unsafe { tree.add_chunks(memory.part((700 << 10) + 24, 90_000)) }.expect("room");
    let chunks = tree
        .layout_of_chunks()
        .map(|(base, bytes)| (base, bytes, BTreeMap::new()))
        .collect();
    (tree, Chunks(chunks))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn the_tree_agrees_with_the_model(ops in prop::collection::vec(op(), 1..300)) {
        let memory = Memory::new(1 << 20);
        let (mut tree, mut model) = subject(&memory);
        let mut live: Vec<(NonNull<u8>, Layout, u8)> = Vec::new();
        for (step, op) in ops.into_iter().enumerate() {
            match op {
                Op::Alloc { size, align } => {
                    let layout = layout(size, 1 << align);
                    let need = size.max(1 << align).max(SMALLEST_BLOCK).next_power_of_two();
                    let before = tree.used_bytes();
                    match tree.alloc(layout) {
                        Ok(ptr) => {
                            let addr = ptr.addr().get();
                            prop_assert!(addr.is_multiple_of(1 << align));
                            let bytes = tree.used_bytes() - before;
                            prop_assert!(bytes >= need);
                            let (base, chunk_bytes, out) = model.chunk(addr);
                            let start = addr - (addr - *base) % bytes;
                            prop_assert!(addr + size <= start + bytes);
                            prop_assert!(start + bytes <= *base + *chunk_bytes);
                            // Only where the chunk's own alignment is too little, the block is larger.
                            let natural = base.is_multiple_of(1 << align);
                            prop_assert!(!natural || (bytes == need && start == addr));
                            let apart = out.range(..start + bytes).next_back()
                                .is_none_or(|(at, len)| at + len <= start);
                            prop_assert!(apart, "overlaps what is allocated");
                            out.insert(start, bytes);
                            let mark = u8::try_from(step % 256).unwrap();
                            // SAFETY: allocated just now.
                            unsafe { ptr.write_bytes(mark, size) };
                            live.push((ptr, layout, mark));
                        }
                        Err(error) => {
                            prop_assert_eq!(error, AllocError::NoMemory);
                            // With room for size and alignment, any chunk would do.
                            let enough = (size.max(16) + (1 << align)).next_power_of_two();
                            prop_assert!(model.largest_free() < enough);
                        }
                    }
                }
                Op::Free(which) if !live.is_empty() => {
                    let (ptr, layout, mark) = live.swap_remove(which % live.len());
                    // SAFETY: allocated, and filled when it was.
                    let bytes = unsafe { core::slice::from_raw_parts(ptr.as_ptr(), layout.size()) };
                    prop_assert!(bytes.iter().all(|byte| *byte == mark), "contents changed");
                    let before = tree.used_bytes();
                    prop_assert_eq!(free(&mut tree, ptr, layout), Ok(()));
                    let freed = before - tree.used_bytes();
                    let (base, _, out) = model.chunk(ptr.addr().get());
                    let start = ptr.addr().get() - (ptr.addr().get() - *base) % freed;
                    prop_assert_eq!(out.remove(&start), Some(freed));
                }
                Op::FreeTwice(which) if !live.is_empty() => {
                    let (ptr, layout, _) = live.swap_remove(which % live.len());
                    let before = tree.used_bytes();
                    prop_assert_eq!(free(&mut tree, ptr, layout), Ok(()));
                    let freed = before - tree.used_bytes();
                    let (base, _, out) = model.chunk(ptr.addr().get());
                    let start = ptr.addr().get() - (ptr.addr().get() - *base) % freed;
                    out.remove(&start);
                    prop_assert_eq!(free(&mut tree, ptr, layout), Err(AllocError::NotAllocated));
                }
                Op::FreeInside { live: which, offset } if !live.is_empty() => {
                    let (ptr, layout, _) = live[which % live.len()];
                    if offset < layout.size() {
                        // SAFETY: inside the block.
                        let inside = unsafe { ptr.add(offset) };
                        prop_assert_eq!(
                            free(&mut tree, inside, layout),
                            Err(AllocError::InvalidParam)
                        );
                    }
                }
                Op::FreeElsewhere { offset, size } => {
                    let at = memory.part(offset / 16 * 16, 1).cast::<u8>();
                    let addr = at.addr().get();
                    let owned = model.0.iter().any(|(_, _, out)| {
                        out.range(..=addr).next_back().is_some_and(|(at, len)| addr < at + len)
                    });
                    if !owned {
                        prop_assert!(free(&mut tree, at, layout(size, 1)).is_err());
                    }
                }
                Op::GiveBack => {
                    if let Some(FreeChunk::Memory(memory)) = tree.take_free_chunk() {
                        let at = memory.cast::<u8>().addr().get();
                        let index = model.0.iter()
                            .position(|(base, _, _)| (at..at + memory.len()).contains(base))
                            .expect("a chunk of the tree");
                        let (_, _, out) = model.0.remove(index);
                        prop_assert!(out.is_empty());
                        // SAFETY: it just came back.
                        prop_assert_eq!(unsafe { tree.add_chunks(memory) }, Ok(()));
                        model = Chunks(
                            tree.layout_of_chunks()
                                .map(|(base, bytes)| {
                                    let known = model.0.iter().find(|known| known.0 == base);
                                    let out = known.map(|known| known.2.clone());
                                    (base, bytes, out.unwrap_or_default())
                                })
                                .collect(),
                        );
                    }
                }
                _ => {}
            }
            prop_assert_eq!(tree.used_bytes(), model.used());
            tree.validate().expect("consistent");
        }
        for (ptr, layout, _) in live {
            prop_assert_eq!(free(&mut tree, ptr, layout), Ok(()));
        }
        prop_assert_eq!(tree.used_bytes(), 0);
        tree.validate().expect("consistent");
    }
}
