//! State that belongs to one CPU and that others reach only when they must.

mod lock;
mod presence;
mod table;

pub(crate) use lock::{BiasedLock, Claim, OwnerGuard, Refused, Visit};
pub(crate) use presence::{Inside, Presence};
pub(crate) use table::{CpuTable, PerCpu};

/// How far behind the beginning of its pages what is a CPU's own lies: as far as there is room. Most of what is used together
/// lies at the beginning of pages, and a load waits for an earlier store to an address that differs only in the
/// number of the page (Intel, "Optimization Reference Manual", on 4-KByte aliasing).
pub(crate) const fn offset_in_pages<T, const PAGE_SIZE: usize>() -> usize {
    let left = size_of::<T>().next_multiple_of(PAGE_SIZE) - size_of::<T>();
    left / align_of::<T>() * align_of::<T>()
}
