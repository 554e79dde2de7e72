//! What the allocator says about its callers, and about itself.

use core::fmt;

use crate::{AllocError, Violation};

/// A caller's mistake that the allocator noticed and could not return as an error, because the
/// call has no result (`GlobalAlloc::dealloc`). The allocator's state is unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Misuse {
    /// A free that was refused.
    Free {
        /// The address that was to be freed.
        addr: usize,
        /// The size that was given with it.
        size: usize,
        /// The alignment that was given with it.
        align: usize,
        /// Why it was refused.
        error: AllocError,
    },
    /// A free block of pages was found in the wrong state and is not used any more: it had been
    /// freed twice at the same time.
    Block {
        /// The address of the block.
        addr: usize,
    },
    /// An object cache ended before its objects did. They stay what they are: memory of the heap.
    Leak {
        /// The name of the cache.
        cache: &'static str,
        /// How many of its objects are live.
        objects: usize,
    },
}

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Free {
                addr,
                size,
                align,
                error,
            } => write!(
                f,
                "free of {addr:#x} (size {size}, alignment {align}) refused: {error}"
            ),
            Self::Block { addr } => write!(f, "pages at {addr:#x} were freed twice at once"),
            Self::Leak { cache, objects } => {
                write!(f, "cache {cache} ended with {objects} live objects")
            }
        }
    }
}

/// What [`GlobalAllocator::validate`](crate::GlobalAllocator::validate) found wrong first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Inconsistency {
    /// In the page allocator.
    Pages(Violation),
    /// In the object allocator, in words.
    Objects(&'static str),
}

impl fmt::Display for Inconsistency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pages(violation) => violation.fmt(f),
            Self::Objects(words) => f.write_str(words),
        }
    }
}

impl core::error::Error for Inconsistency {}
