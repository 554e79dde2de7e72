//! What only the holder of a CPU's lock touches.

use super::recent::Recents;
use super::stack::{STACKS, Stack};
use super::trim::Ebb;

/// What a CPU knows for itself. To have it is to have the CPU's stacks, too.
pub(super) struct Held {
    pub(super) recents: Recents,
    pub(super) ebb: Ebb,
    /// The stacks that gave blocks back since they were filled, a bit for each.
    drained: u32,
}
const _: () = assert!(STACKS <= u32::BITS as usize);

/// The bit of a stack among all.
const fn bit(stack: Stack) -> u32 {
    1 << stack.index()
}

// SAFETY: the pointers refer to section metadata, which any CPU may use.
unsafe impl Send for Held {}

impl Held {
    pub(super) const fn new() -> Self {
        Self {
            recents: Recents::NONE,
            ebb: Ebb::new(),
            drained: 0,
        }
    }

    /// Makes the CPU forget the sections it knows.
    pub(super) const fn forget(&mut self) {
        self.recents = Recents::NONE;
    }

    /// Has a stack given blocks back since it was filled?
    #[inline]
    pub(super) const fn is_drained(&self, stack: Stack) -> bool {
        self.drained & bit(stack) != 0
    }

    #[inline]
    pub(super) const fn note_drained(&mut self, stack: Stack) {
        self.drained |= bit(stack);
    }

    #[inline]
    pub(super) const fn note_filled(&mut self, stack: Stack) {
        self.drained &= !bit(stack);
    }
}
