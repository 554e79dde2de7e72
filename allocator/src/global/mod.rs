//! Pages and objects behind one shared value.
//!
//! [`GlobalAllocator`] sends a small layout to the slabs and everything else to the pages.

mod about;
mod allocator;
#[cfg(any(test, feature = "allocator_api2"))]
mod allocator_api;
mod by_layout;
mod cache;
mod cache_stats;
mod fenced;
mod info;
mod inspect;
mod realloc;
mod rust_alloc;
#[cfg(all(test, not(loom)))]
mod tests;

pub use about::{AddressInfo, ObjectInfo};
pub use allocator::GlobalAllocator;
pub use cache::{CacheBox, LiveObjects, ObjectCache};
pub use cache_stats::CacheStats;
pub use info::{CpuSlabInfo, SlabInfo};
