//! How long a call may take at most, in instructions.
//!
//! Where QEMU counts instructions (`-icount`), every call of an entry point is measured by itself, on
//! one CPU whose timer is off, in [situations](situations) that take every way through the allocator: magazines and
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
}
