//! Twinframe beside other allocators, in the kernel: the same work, one after the other.
//!
//! Every [subject](subjects) gets the same region of memory, fresh for each [case](cases), and the
//! same CPUs. The peers are made for one owner, so they stand behind a spin lock with interrupts
//! masked, as a kernel has to use them; Twinframe needs neither. What is measured is operations in a
//! second; or, where QEMU counts instructions (`-icount`), the exact number of instructions that an
//! operation takes ([`measure`]). Beside it stands how much of the memory was written to
//! ([`footprint`]). What becomes of that as CPUs are added has a table of its own ([`mod@scaling`]).

mod btree;
mod cases;
mod footprint;
mod measure;
mod peers;
mod remote;
mod scaling;
mod subjects;
mod table;
mod vector;

use crate::harness::{Outcome, kernel_tests};
use crate::suites::counted::Counted;

kernel_tests! { "comparison", Test:
    /// Where QEMU counts instructions, the time stamp counter tells their number exactly.
    fn instructions_are_counted() on [icount] {
        let Some(counted) = Counted::find() else {
            return Outcome::Skip("instructions are not counted on this machine");
        };
        for loops in [1, 10, 1_000, 100_000] {
            // Two instructions each time around.
            assert_eq!(counted.count_loop(loops), 2 * loops);
        }
    }
}

kernel_tests! { "comparison", Last:
    /// All subjects in all cases, as a table.
    fn all() on [smp1, smp2, smp8, icount] {
        return table::show();
    }

    /// All subjects on more and more CPUs.
    fn scaling() on [smp2, smp4icount] {
        return scaling::show();
    }
}
