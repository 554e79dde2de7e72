//! Any number of blocks, remembered inside of them.

use core::alloc::Layout;
use core::ptr::NonNull;

use super::ground::lies_in;
use crate::AllocError;
use crate::traits::ByteAllocator;

/// Blocks of one layout, each of which begins with the address of the one before.
pub(super) struct Chain {
    layout: Layout,
    last: Option<NonNull<u8>>,
    pub(super) len: usize,
}

impl Chain {
    /// Allocates until the allocator refuses, and says how it did.
    pub(super) fn fill(allocator: &mut impl ByteAllocator, layout: Layout) -> (Self, AllocError) {
        assert!(layout.size() >= size_of::<Option<NonNull<u8>>>());
        assert!(layout.align() >= align_of::<Option<NonNull<u8>>>());
        let mut chain = Self {
            layout,
            last: None,
            len: 0,
        };
        loop {
            match allocator.alloc(layout) {
                Ok(block) => {
                    // SAFETY: a fresh block, large and aligned enough.
                    unsafe { block.cast().write(chain.last) };
                    chain.last = Some(block);
                    chain.len += 1;
                }
                Err(error) => return (chain, error),
            }
        }
    }

    /// Whether some block lies in a range.
    pub(super) fn reaches(&self, range: (usize, usize)) -> bool {
        core::iter::successors(self.last, |block| {
            // SAFETY: a block of the chain, written when it was linked.
            unsafe { block.cast::<Option<NonNull<u8>>>().read() }
        })
        .any(|block| lies_in(range, block.addr().get(), self.layout.size()))
    }

    /// Frees all blocks; says whether every free was accepted.
    pub(super) fn free(self, allocator: &mut impl ByteAllocator) -> bool {
        let mut all = true;
        let mut next = self.last;
        while let Some(block) = next {
            // SAFETY: as above.
            next = unsafe { block.cast().read() };
            // SAFETY: allocated with this layout, and not used any more.
            all &= unsafe { allocator.dealloc(block, self.layout) }.is_ok();
        }
        all
    }
}
