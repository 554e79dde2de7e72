//! State that belongs to one CPU and that others reach only when they must.

mod lock;
mod table;

pub(crate) use lock::{BiasedLock, Claim, Refused, light_barrier};
pub(crate) use table::{CpuTable, PerCpu};
