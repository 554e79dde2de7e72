//! Slabs that become pages again piece by piece.

use super::super::pieces::{self, PIECE, Pieces};
use super::super::size_class::SizeClass;
use super::allocator::ObjectAllocator;
use super::cpu::CpuState;
use super::descriptor::Owned;
use crate::Platform;
use crate::pages::FrameAllocator;

impl<P: Platform, const PAGE_SIZE: usize> ObjectAllocator<P, PAGE_SIZE> {
    /// Gives those parts of slabs back in which there are free objects only. Returns how many pages that
    /// were.
    ///
    /// Behind a [drain](Self::drain): before, the free objects lie in caches. What is left of a slab serves on,
    /// but that costs free objects, so this is for when pages are wanted.
    pub(crate) fn trim(&self, frames: &FrameAllocator<P, PAGE_SIZE>) -> usize {
        let mut given = 0;
        for (_, cpu) in self.cpus.iter(P::MAX_CPUS) {
            for class in SizeClass::ALL {
                if pieces::has_some::<PAGE_SIZE>(class) {
                    given += self.trim_class(frames, cpu, class);
                }
            }
        }
        given
    }

    fn trim_class(
        &self,
        frames: &FrameAllocator<P, PAGE_SIZE>,
        cpu: &CpuState<P>,
        class: SizeClass,
    ) -> usize {
        /// Slabs at a time: interrupts are masked meanwhile.
        const MOST: usize = 4;
        let mut given = 0;
        // As many as there are at first: others may bring new ones for ever.
        let mut left = cpu.heap.lock().partial(class);
        while left != 0 {
            let mut heap = cpu.heap.lock();
            // SAFETY: this is the heap's lock.
            let mut owned = unsafe { Owned::<PAGE_SIZE>::new() };
            heap.trim(&mut owned, class, MOST, |base, gone, pieces| {
                if gone == pieces {
                    // SAFETY: the block is this slab's until it is retired.
                    let split = unsafe { frames.split_slab(base) };
                    debug_assert_eq!(split, Ok(()));
                }
                let bytes = class.grid::<PAGE_SIZE>().bytes();
                given += Self::give_pieces(frames, base, bytes, pieces);
            });
            left = left.saturating_sub(MOST);
        }
        given
    }

    /// Gives pieces of a slab of `bytes` bytes back that was split. Returns how many pages they are.
    pub(super) fn give_pieces(
        frames: &FrameAllocator<P, PAGE_SIZE>,
        base: usize,
        bytes: usize,
        pieces: Pieces,
    ) -> usize {
        pieces::offsets(pieces, bytes)
            .map(|offset| Self::give_block(frames, base + offset, PIECE))
            .sum()
    }
}
