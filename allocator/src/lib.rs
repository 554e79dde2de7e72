#![doc = include_str!("lib.md")]
#![no_std]

#[cfg(test)]
extern crate std;

pub mod bittree;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod error;
mod global;
mod harden;
#[cfg(all(test, loom))]
mod modelled;
mod objects;
mod pages;
mod patience;
mod percpu;
mod platform;
mod report;
mod sync;
pub mod traits;

pub use error::{AllocError, AllocResult};
pub use global::{
    AddressInfo, CacheBox, CacheStats, CpuSlabInfo, GlobalAllocator, LiveObjects, ObjectCache,
    ObjectInfo, SlabInfo,
};
pub use harden::Hardening;
pub use objects::{
    ClassStats, CpuClassStats, PerCpuSlab, SizeClass, SlabAllocResult, SlabAllocator,
    SlabDeallocResult, SlabPoolDeallocResult, SlabPoolExt, SlabPoolTrait, SlabTrait,
    StaticSlabPool,
};
pub use pages::{
    BuddyAllocator, BuddyInfo, CpuInfo, Fault, FrameAllocator, Frames, MAX_NODES, MAX_ORDER,
    ManagedSection, NodeInfo, PageFlags, PageInfo, PageRequest, PageUse, Reclaim, ReclaimRequest,
    RegionReport, Step, Urgency, Violation, Watermarks, Zone, ZoneInfo,
};
pub use platform::Platform;
pub use report::{Inconsistency, Misuse};
