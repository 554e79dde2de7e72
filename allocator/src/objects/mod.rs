//! Objects of fixed sizes inside slabs.
//!
//! A slab is a run of pages cut into objects of one [`SizeClass`]. Its descriptor lies elsewhere
//! and has one bit per object. A heap keeps the slabs of one owner in three lists per class:
//! partial, full and empty.

mod allocator;
mod alone;
mod bits;
mod chunk;
mod grid;
mod heap;
mod list;
mod pieces;
mod pool;
mod shared;
mod size_class;
mod slab;
mod stats;
#[cfg(all(test, not(loom)))]
mod tests;
mod tree;

pub use allocator::{SlabAllocResult, SlabAllocator, SlabDeallocResult};
pub use pool::{
    PerCpuSlab, SlabPoolDeallocResult, SlabPoolExt, SlabPoolTrait, SlabTrait, StaticSlabPool,
};
pub(crate) use shared::ObjectAllocator;
pub use size_class::SizeClass;
pub use stats::{ClassStats, CpuClassStats};
