//! What the allocator says about its callers, and about itself.

use core::fmt;

use crate::{AllocError, Violation};

/// A caller's mistake that the allocator noticed and could not return as an error: the call has no
/// result (`GlobalAlloc::dealloc`), or has another one, or the mistake was made by somebody else and
/// before. Each variant says what the allocator did about it; it goes on working.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Misuse {
    /// A free that was refused, with nothing changed. A second free that was not seen at once, since
    /// both were made at the same time or the object was written to meanwhile, may be seen when the object
    /// comes back to its slab: then it is dropped there, and `size` is that of the class, `align` 1.
    Free {
        /// The address that was to be freed.
        addr: usize,
        /// The size that was given with it, in bytes.
        size: usize,
        /// The alignment that was given with it, in bytes.
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
    /// A byte beside an object was overwritten. It was found when the object was freed; that goes on, and
    /// the object is free or in quarantine then. The byte's address is `object + offset`.
    RedZone {
        /// The address of the object.
        object: usize,
        /// Its size in bytes.
        size: usize,
        /// Where the byte lies, from the object's beginning: below 0, or `size` and above.
        offset: isize,
        /// What was there.
        expected: u8,
        /// What is there.
        found: u8,
    },
    /// A byte of a free object was overwritten. It was found when the object was about to be handed out
    /// again; that goes on, with the object put right. The byte's address is `object + offset`; with an
    /// offset below the size of a word, it belongs to the mark that tells free objects apart.
    UseAfterFree {
        /// The address of the object, its red zone included.
        object: usize,
        /// The size of its class, in bytes.
        size: usize,
        /// Where the byte lies, from that address.
        offset: usize,
        /// What was there.
        expected: u8,
        /// What is there.
        found: u8,
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
            Self::RedZone {
                object,
                size,
                offset,
                expected,
                found,
            } => write!(
                f,
                "byte {:#x} beside the object at {object:#x} (size {size}, offset {offset}) was \
                 overwritten: {found:#04x} instead of {expected:#04x}",
                object.wrapping_add_signed(*offset)
            ),
            Self::UseAfterFree {
                object,
                size,
                offset,
                expected,
                found,
            } => write!(
                f,
                "byte {:#x} of the free object at {object:#x} (size {size}, offset {offset}) was \
                 overwritten: {found:#04x} instead of {expected:#04x}",
                object.wrapping_add(*offset)
            ),
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
