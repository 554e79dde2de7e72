//! Objects for many CPUs.
//!
//! From the top down, with what each tier costs:
//!
//! - [`magazine`]: a CPU's own array of free objects per class. A pop or a push, no lock, no atomic
//!   read-modify-write ([`cpu`] says why that is safe from handlers and drains).
//! - [`reserve`]: whole batches that a CPU keeps for itself, used like a magazine.
//! - [`depot`]: batches that one CPU's magazine has too many of and another one's on the same NUMA
//!   node needs, lock-free.
//! - the slabs that a CPU has fetched, under a lock that only drains and the needy contend for;
//!   objects come and go in batches ([`refill`], [`overflow`]).
//! - [`remote`]: objects of another CPU's slabs go back to them lock-free.
//!
//! [`drain`] brings everything back; [`descriptor`] is what is known about a slab. [`freed`],
//! [`quarantine`] and [`shuffle`] are there for platforms that want to be told of mistakes.

mod about;
mod activity;
mod allocator;
mod arrive;
mod atomic;
mod cpu;
mod depot;
mod descriptor;
mod drain;
mod entry;
mod exclusive;
mod freed;
mod give_back;
mod info;
mod magazine;
mod overflow;
mod probe;
mod quarantine;
mod refill;
mod remote;
mod reserve;
mod shuffle;
mod slabs;
#[cfg(all(test, not(loom)))]
mod tests;
mod trim;
mod words;

pub(crate) use allocator::ObjectAllocator;
