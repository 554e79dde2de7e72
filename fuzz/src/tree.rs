//! The buddy tree with one bit for each pair, against a list of what is allocated.

use std::alloc::Layout;
use std::collections::BTreeMap;
use std::ptr::NonNull;

use arbitrary::Arbitrary;
use twinframe::AllocError;
use twinframe::bittree::{BitTree, FreeChunk};

use crate::memory::Memory;

/// How much memory a sequence has, in bytes: enough for chunks of many sizes.
const BYTES: usize = 5 << 20;

/// What happens to one tree.
#[derive(Debug, Arbitrary)]
pub struct TreeOps {
    /// Which part of the memory the tree begins with.
    offset: u16,
    len: u32,
    ops: Vec<Op>,
}

#[derive(Debug, Arbitrary)]
enum Op {
    Alloc { size: u32, align: u8 },
    Free(u16),
    FreeTwice(u16),
    FreeInside { live: u16, offset: u16 },
    FreeElsewhere { offset: u32, size: u32 },
    TakeChunk,
    GiveChunk,
}

struct Player {
    tree: BitTree,
    /// Layouts by address.
    live: BTreeMap<usize, Layout>,
    /// Chunks that are not in the tree.
    taken: Vec<NonNull<[u8]>>,
}

impl Player {
    fn free(&mut self, addr: usize, layout: Layout) -> Result<(), AllocError> {
        let ptr = NonNull::new(std::ptr::with_exposed_provenance_mut(addr));
        let ptr = ptr.expect("no sequence frees 0");
        // SAFETY: what is allocated is not used after this; everything else is refused.
        unsafe { self.tree.dealloc(ptr, layout) }
    }

    fn pick(&self, which: u16) -> Option<(usize, Layout)> {
        let index = usize::from(which) % self.live.len().max(1);
        self.live.iter().nth(index).map(|(addr, of)| (*addr, *of))
    }

    /// Is this byte part of what was handed out?
    fn is_in_use(&self, addr: usize) -> bool {
        let before = self.live.range(..=addr).next_back();
        before.is_some_and(|(at, of)| addr < at + of.size())
    }

    fn alloc(&mut self, layout: Layout) {
        let used = self.tree.used_bytes();
        match self.tree.alloc(layout) {
            Ok(ptr) => {
                let addr = ptr.as_ptr().expose_provenance();
                assert!(addr.is_multiple_of(layout.align()));
                assert!(self.tree.used_bytes() - used >= room(layout));
                let next = self.live.range(addr..).next();
                assert!(next.is_none_or(|(next, _)| addr + layout.size() <= *next));
                assert!(!self.is_in_use(addr));
                // SAFETY: allocated just now.
                unsafe { ptr.write_bytes(0xff, layout.size()) };
                self.live.insert(addr, layout);
            }
            Err(error) => assert_eq!(error, AllocError::NoMemory),
        }
    }

    fn step(&mut self, base: usize, op: Op) {
        match op {
            Op::Alloc { size, align } => {
                let size = size as usize % (1 << (size >> 27));
                self.alloc(layout(size, 1 << (align % 17)));
            }
            Op::Free(which) | Op::FreeTwice(which) => {
                let Some((addr, layout)) = self.pick(which) else {
                    return;
                };
                assert_eq!(self.free(addr, layout), Ok(()));
                self.live.remove(&addr);
                if matches!(op, Op::FreeTwice(_)) {
                    let again = self.free(addr, layout);
                    assert_eq!(again, Err(AllocError::NotAllocated));
                }
            }
            Op::FreeInside { live, offset } => {
                if let Some((addr, layout)) = self.pick(live)
                    && usize::from(offset) < layout.size()
                    && offset != 0
                {
                    let inside = self.free(addr + usize::from(offset), layout);
                    assert_eq!(inside, Err(AllocError::InvalidParam));
                }
            }
            Op::FreeElsewhere { offset, size } => {
                let addr = base + offset as usize % BYTES;
                // A block may begin before the address that was handed out, and reach beyond its
                // layout; where nothing is near, nothing is allocated.
                let before = self.live.range(..=addr).next_back();
                let behind = self.live.range(addr..).next();
                if before.is_none_or(|(at, of)| at + 4 * (room(*of) + of.align()) <= addr)
                    && behind.is_none_or(|(at, of)| addr + 8192 + of.align() <= *at)
                {
                    let layout = layout(size as usize % 5000, 1);
                    assert!(self.free(addr, layout).is_err());
                }
            }
            Op::TakeChunk => {
                if let Some(FreeChunk::Memory(memory)) = self.tree.take_free_chunk() {
                    self.taken.push(memory);
                }
            }
            Op::GiveChunk => {
                if let Some(memory) = self.taken.pop() {
                    // SAFETY: it was the tree's before, and nobody has used it since.
                    unsafe { self.tree.add_chunks(memory) }.expect("it was a chunk");
                }
            }
        }
    }
}

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).expect("small numbers")
}

/// The smallest block that a layout can have.
fn room(layout: Layout) -> usize {
    layout.size().max(16).next_power_of_two()
}

/// Plays a sequence.
pub fn play_tree(sequence: TreeOps) {
    let memory = Memory::get();
    let offset = usize::from(sequence.offset);
    let len = sequence.len as usize % (BYTES - offset);
    let mut player = Player {
        tree: BitTree::new(),
        live: BTreeMap::new(),
        taken: Vec::new(),
    };
    // SAFETY: one sequence plays at a time, and the memory stays.
    let added = unsafe { player.tree.add_chunks(memory.part(offset, len)) };
    assert!(added.is_ok() || len < 2000);
    for (step, op) in sequence.ops.into_iter().enumerate() {
        player.step(memory.addr(), op);
        // It walks a tree with hundreds of thousands of leaves.
        if step % 16 == 0 {
            player.tree.validate().expect("consistent");
        }
    }
    for (addr, layout) in std::mem::take(&mut player.live) {
        assert_eq!(player.free(addr, layout), Ok(()));
    }
    player.tree.validate().expect("consistent");
    assert_eq!(player.tree.used_bytes(), 0);
}
