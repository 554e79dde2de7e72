//! What can go wrong, as a value.

use core::fmt;

/// Why a call was refused.
///
/// A call that returns one of these has allocated nothing and freed nothing; what was allocated is as it
/// was. The exceptions are the calls named `free_bulk`: they return a position with the error, and what
/// comes before it is free. (An allocator with caches may have emptied them before it says
/// `NoMemory`, and have asked the reclaim callback.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AllocError {
    /// An argument is outside its documented range: a count of 0 or beyond the largest block, an
    /// alignment that is no power of two, a misaligned address, a region too small to manage. Or a
    /// free does not fit what was allocated: the layout is of another size class, or the count is
    /// another one.
    InvalidParam,
    /// `init` was called although there is memory already.
    AlreadyInitialized,
    /// The region overlaps one that is managed already.
    MemoryOverlap,
    /// No free memory satisfies the request.
    NoMemory,
    /// The address lies in managed memory, but is not what an allocation returned: it is free, was
    /// freed before, or points inside a block. (Behind the [`traits`](crate::traits), foreign addresses
    /// are refused with this, too.)
    NotAllocated,
    /// The allocator has no memory yet.
    NotInitialized,
    /// The address lies in no managed section (of a [`BitTree`](crate::bittree::BitTree), in no chunk); or,
    /// where an object was to be freed, in no slab, although a section may have it.
    NotFound,
    /// The section still has pages out, so it cannot be removed: this many, or, while CPUs have free pages in their caches,
    /// perhaps more.
    Busy(usize),
}

impl fmt::Display for AllocError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidParam => f.write_str("invalid parameter"),
            Self::AlreadyInitialized => f.write_str("already initialised"),
            Self::MemoryOverlap => f.write_str("memory overlaps a managed section"),
            Self::NoMemory => f.write_str("out of memory"),
            Self::NotAllocated => f.write_str("not an allocated block"),
            Self::NotInitialized => f.write_str("not initialised"),
            Self::NotFound => f.write_str("address is in no managed section, or in no slab"),
            Self::Busy(pages) => write!(f, "section busy: {pages} pages are allocated"),
        }
    }
}

impl core::error::Error for AllocError {}

/// The result of an allocator call.
pub type AllocResult<T = ()> = Result<T, AllocError>;

/// Why an allocation was refused: what fits into a register beside its result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lack {
    NoMemory,
    NotInitialized,
    InvalidParam,
}

impl Lack {
    /// What the error of an allocation says.
    pub(crate) fn of(error: AllocError) -> Self {
        match error {
            AllocError::InvalidParam => Self::InvalidParam,
            AllocError::NotInitialized => Self::NotInitialized,
            _ => Self::NoMemory,
        }
    }
}

impl From<Lack> for AllocError {
    fn from(lack: Lack) -> Self {
        match lack {
            Lack::NoMemory => Self::NoMemory,
            Lack::NotInitialized => Self::NotInitialized,
            Lack::InvalidParam => Self::InvalidParam,
        }
    }
}
