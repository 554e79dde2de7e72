//! The atomics of what is lock-free here; under the model checker, its own.

#[cfg(not(loom))]
pub(super) use crate::percpu::read_own;
#[cfg(not(loom))]
pub(super) use core::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU32, AtomicUsize, AtomicUsize as StaticUsize, Ordering, fence,
};

#[cfg(loom)]
pub(super) use super::modelled::{
    AtomicBool, AtomicPtr, AtomicU32, AtomicUsize, Ordering, StaticUsize, fence,
};

#[cfg(loom)]
pub(super) unsafe fn read_own(flag: &AtomicBool) -> bool {
    flag.load(Ordering::Relaxed)
}
