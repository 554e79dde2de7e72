//! Stress: every CPU at work, interrupts that allocate, for as long as asked for.
//!
//! A stress is one idea of how to be hard on an allocator, in a file of its own. It runs as a
//! [`worker::Worker`] on every CPU, inside a [`rig::Rig`]: the rig has the time that the stress is given, the timer
//! interrupts in which a [`handler`] allocates too, and everything that finds mistakes and tells
//! how they came about:
//!
//! - every [`block::Block`] carries a [`pattern`] that says whose it is, checked when it is freed;
//! - the [`history`] remembers what happened to each address lately, and is told with whatever is wrong there;
//! - the [`ledger`] counts what is live, by the call that allocated it;
//! - afterwards nothing is live, every page is free, the free blocks are those of before, and every
//!   invariant of the heap holds.

mod block;
mod budget;
mod dma32;
mod drains;
mod entry_points;
mod exhaustion;
mod fragmentation;
mod handler;
mod history;
mod hot_plug;
mod ledger;
mod live_set;
mod mailbox;
mod mixed;
mod page_churn;
mod pattern;
mod producer_consumer;
mod remote_free;
mod rig;
mod spoil;
mod worker;

use crate::harness::kernel_tests;
use rig::Rig;

kernel_tests! { "stress", Test:
    /// Objects of all sizes and blocks of pages, many of them live.
    fn mixed_sizes() on [smp1, smp2, smp8, smp32, mem64m, microvm, smp4single, smp4icount] {
        Rig::run("mixed_sizes", mixed::work);
    }

    /// Pages of all orders and zones.
    fn page_churn() on [smp1, smp2, smp8, mem6g, smp4single, smp4icount] {
        Rig::run("page_churn", page_churn::work);
    }

    /// Every CPU frees what its neighbour allocated.
    fn remote_free_ring() on [smp1, smp2, smp8, smp32, smp4icount] {
        Rig::run("remote_free_ring", remote_free::ring);
    }

    /// Every CPU frees what any other allocated.
    fn remote_free_all_to_all() on [smp2, smp8, smp4single, smp4icount] {
        Rig::run("remote_free_all_to_all", remote_free::all_to_all);
    }

    /// Half of the CPUs allocate, the other half free.
    fn producer_consumer() on [smp1, smp2, smp8] {
        Rig::run("producer_consumer", producer_consumer::work);
    }

    /// To the last page and the last object, and back, again and again.
    fn exhaustion() on [smp1, smp2, smp8, smp32, mem64m, mem6g, smp4icount] {
        Rig::run("exhaustion", exhaustion::work);
    }

    /// Memory in small pieces, and whole again.
    fn fragmentation() on [smp1, smp2, smp8] {
        Rig::run("fragmentation", fragmentation::work);
    }

    /// A section leaves and comes back while everybody allocates.
    fn hot_plug() on [smp1, smp2, smp8, mem6g] {
        Rig::run("hot_plug", hot_plug::work);
    }

    /// Memory below 4 GiB and below 16 MiB runs out, while everybody else allocates.
    fn dma32_pressure() on [smp1, smp2, smp32, mem6g] {
        Rig::run("dma32_pressure", dma32::work);
    }

    /// Every entry point there is, interrupted by handlers that allocate.
    fn entry_points() on [smp1, smp2, smp8, microvm, smp4single, smp4icount] {
        Rig::run("entry_points", entry_points::work);
    }

    /// The caches of one CPU or of all are emptied at random times.
    fn drains() on [smp1, smp2, smp8, smp32, smp4single, smp4icount] {
        Rig::run("drains", drains::work);
    }

    /// A drain empties the caches of every CPU, whoever asks for it.
    fn a_drain_reaches_every_cpu() on [smp1, smp2, smp8, smp32] {
        drains::reach_every_cpu();
    }
}

kernel_tests! { "proof", Proof:
    /// A stress in which somebody writes into a live block.
    fn stress_finds_a_write() on [smp1] {
        Rig::run("a_write", spoil::write);
    }

    /// A stress that forgets a block.
    fn stress_finds_a_leak() on [smp1] {
        Rig::run("a_leak", spoil::leak);
    }

    /// A stress that frees a block twice.
    fn stress_finds_a_double_free() on [smp1] {
        Rig::run("a_double_free", spoil::free_twice);
    }

    /// A stress that takes a page and does not say so.
    fn stress_finds_a_lost_page() on [smp1] {
        Rig::run("a_lost_page", spoil::lose);
    }
}
