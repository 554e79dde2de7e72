//! How long a call may take at most, in instructions.
//!
//! Where QEMU counts instructions (`-icount`), every call of an entry point is measured by itself, on
//! one CPU while no timer runs, in [`situations`] that take every way through the allocator: magazines and
//! caches that run empty and full, slabs that come and go, blocks that split and merge, metadata that is set up.
//! The longest call is held against a bound that is a constant: it does not depend on how much memory there is.

mod calls;
mod situations;
mod table;

use crate::harness::kernel_tests;

kernel_tests! { "latency", Test:
    /// No call takes more instructions than its bound allows, and none masks interrupts for longer than the bound
    /// for that.
    fn every_entry_point() on [icount] {
        return table::show();
    }

    /// However much other CPUs have freed of what a CPU allocated, it takes that in bit by bit.
    fn after_many_remote_frees() on [smp4icount] {
        return table::show_remote();
    }
}
