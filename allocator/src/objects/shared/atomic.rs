//! The atomics of what is lock-free here; under the model checker, its own.

#[cfg(not(loom))]
pub(super) use core::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU32, AtomicUsize, AtomicUsize as StaticUsize, Ordering, fence,
};

#[cfg(loom)]
pub(super) use super::modelled::{
    AtomicBool, AtomicPtr, AtomicU32, AtomicUsize, Ordering, StaticUsize, fence,
};

/// Reads a flag that others only read: no access that the compiler has to keep apart from what is done with the value.
///
/// # Safety
///
/// Only the caller's CPU writes the flag, and its handlers leave it as they found it.
#[cfg(not(loom))]
#[inline]
pub(super) unsafe fn read_own(flag: &AtomicBool) -> bool {
    // SAFETY: nobody else writes it, and others read it atomically only.
    unsafe { flag.as_ptr().read() }
}

#[cfg(loom)]
pub(super) unsafe fn read_own(flag: &AtomicBool) -> bool {
    flag.load(Ordering::Relaxed)
}
