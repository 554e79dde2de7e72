//! Having pages in hand, on one CPU.

use core::sync::atomic::{AtomicUsize, Ordering};

use super::cache::CpuPages;
use super::shared::FrameAllocator;
use crate::Platform;
use crate::sync::Pinned;

/// While this exists, free memory may be in the caller's hands only, so nobody gives up for want
/// of it; and an interrupt handler on this CPU knows that it must not wait for it.
pub(super) struct Moving<'a, P: Platform> {
    /// Where it counts; nowhere inside of another one on the same CPU.
    count: Option<Count<'a>>,
    _pinned: Pinned<P>,
}

enum Count<'a> {
    /// In [`CpuPages::moves`].
    Own(&'a CpuPages),
    /// In [`Shared::strangers`](super::shared::Shared::strangers).
    Stranger(&'a AtomicUsize),
}

/// What a number of [`CpuPages::moves`] says.
pub(super) const fn is_moving(moves: u32) -> bool {
    moves % 2 == 1
}

impl<'a, P: Platform> Moving<'a, P> {
    pub(super) fn new<const PAGE_SIZE: usize>(frames: &'a FrameAllocator<P, PAGE_SIZE>) -> Self {
        let pinned = Pinned::new();
        let count = match frames.shared.cpus.get(P::cpu_id()) {
            Some(cpu) => {
                // Written on this CPU only; a handler that comes between leaves it even.
                let moves = cpu.moves.load(Ordering::Relaxed);
                let is_outer = !is_moving(moves);
                if is_outer {
                    cpu.moves.store(moves.wrapping_add(1), Ordering::SeqCst);
                }
                is_outer.then_some(Count::Own(cpu))
            }
            None => {
                let strangers = &frames.shared.strangers;
                strangers.fetch_add(1, Ordering::SeqCst);
                Some(Count::Stranger(strangers))
            }
        };
        Self {
            count,
            _pinned: pinned,
        }
    }
}

impl<P: Platform> Drop for Moving<'_, P> {
    fn drop(&mut self) {
        match self.count {
            Some(Count::Own(cpu)) => {
                let moves = cpu.moves.load(Ordering::Relaxed);
                cpu.moves.store(moves.wrapping_add(1), Ordering::Release);
            }
            Some(Count::Stranger(strangers)) => {
                strangers.fetch_sub(1, Ordering::Release);
            }
            None => {}
        }
    }
}
