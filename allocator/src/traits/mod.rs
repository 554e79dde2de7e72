//! One interface for every allocator: bytes, pages, or numbers.
//!
//! The traits and their items have the names that ArceOS's crate [`allocator`] gave them, so code
//! written against that crate moves here with its `use` lines. What is asked of a caller beyond what
//! the compiler can check is `unsafe` here, and frees answer with a result.
//!
//! | trait | implemented by |
//! |---|---|
//! | [`ByteAllocator`] | [`GlobalAllocator`](crate::GlobalAllocator), [`BitTree`](crate::bittree::BitTree), `SlabByteAllocator` (feature `slab`), `BuddyByteAllocator` (feature `buddy`), `TlsfByteAllocator` (feature `tlsf`) |
//! | [`PageAllocator`] | [`BuddyAllocator`](crate::BuddyAllocator), [`FrameAllocator`](crate::FrameAllocator), [`GlobalAllocator`](crate::GlobalAllocator), `BitmapPageAllocator` (feature `bitmap`) |
//! | [`IdAllocator`] | [`BitmapIdAllocator`] |
//!
//! [`GlobalAllocator`](crate::GlobalAllocator) and [`FrameAllocator`](crate::FrameAllocator) are shared by
//! many CPUs, so a reference implements the traits too.
//!
//! With feature `allocator_api2`, `AllocatorRc` lets collections use any [`ByteAllocator`].
//!
//! Of the errors, implementations in this crate return four: `InvalidParam`, `MemoryOverlap`,
//! `NoMemory` and `NotAllocated`.
//!
//! [`allocator`]: https://github.com/arceos-org/allocator

#[cfg(any(test, feature = "bitmap"))]
mod bitmap;
mod bittree;
#[cfg(any(test, feature = "buddy"))]
mod buddy;
mod global;
mod id;
mod interface;
mod pages;
#[cfg(any(test, feature = "allocator_api2"))]
mod rc;
mod runs;
#[cfg(any(test, feature = "slab"))]
mod slab;
#[cfg(all(test, not(loom)))]
mod tests;
#[cfg(any(test, feature = "tlsf"))]
mod tlsf;

#[cfg(any(test, feature = "bitmap"))]
pub use bitmap::BitmapPageAllocator;
#[cfg(any(test, feature = "buddy"))]
pub use buddy::BuddyByteAllocator;
pub use id::BitmapIdAllocator;
pub use interface::{BaseAllocator, ByteAllocator, IdAllocator, PageAllocator};
#[cfg(any(test, feature = "allocator_api2"))]
pub use rc::AllocatorRc;
#[cfg(any(test, feature = "slab"))]
pub use slab::SlabByteAllocator;
#[cfg(any(test, feature = "tlsf"))]
pub use tlsf::TlsfByteAllocator;

pub use crate::{AllocError, AllocResult};

/// An error of the crate as one of the four that these traits know.
fn plain(error: AllocError) -> AllocError {
    match error {
        AllocError::NotFound => AllocError::NotAllocated,
        AllocError::NotInitialized => AllocError::NoMemory,
        other => other,
    }
}

/// The same, for an address at which pages are asked for.
fn plain_at(error: AllocError) -> AllocError {
    match error {
        AllocError::NotFound => AllocError::InvalidParam,
        other => plain(other),
    }
}

/// The memory from `start` on, for allocators that take a slice.
fn range(start: usize, size: usize) -> AllocResult<core::ptr::NonNull<[u8]>> {
    start.checked_add(size).ok_or(AllocError::InvalidParam)?;
    let first = core::ptr::NonNull::new(core::ptr::with_exposed_provenance_mut(start))
        .ok_or(AllocError::InvalidParam)?;
    Ok(core::ptr::NonNull::slice_from_raw_parts(first, size))
}
