//! The atomics of what is lock-free here; under the model checker, its own.

#[cfg(not(loom))]
pub(super) use core::sync::atomic::{
    AtomicPtr, AtomicU32, AtomicUsize, AtomicUsize as StaticUsize, Ordering, fence,
};

#[cfg(loom)]
pub(super) use crate::modelled::atomics::{
    AtomicPtr, AtomicU32, AtomicUsize, Ordering, StaticUsize, fence,
};
