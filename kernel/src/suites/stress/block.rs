//! A block that a stress holds.

use core::alloc::Layout;
use core::ptr::NonNull;

use super::ledger::Site;
use super::pattern::Pattern;

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// By layout: an object, or pages if it is large.
    Layout(Layout),
    /// So many pages.
    Pages(usize),
}

impl Shape {
    /// Bytes that its owner may use.
    pub(super) const fn bytes(self) -> usize {
        match self {
            Self::Layout(layout) => layout.size(),
            Self::Pages(count) => count * 4096,
        }
    }
}

/// Memory that has an owner and a pattern. There is no `Drop`: one that is lost shows in the ledger.
#[derive(Debug)]
#[must_use = "a block that is dropped is a leak"]
pub(super) struct Block {
    pub(super) memory: NonNull<u8>,
    pub(super) shape: Shape,
    pub(super) pattern: Pattern,
    pub(super) owner: usize,
    pub(super) site: Site,
}

// SAFETY: plain memory that this value alone refers to.
unsafe impl Send for Block {}

impl Block {
    pub(super) fn address(&self) -> usize {
        self.memory.addr().get()
    }

    pub(super) const fn bytes(&self) -> usize {
        self.shape.bytes()
    }
}
