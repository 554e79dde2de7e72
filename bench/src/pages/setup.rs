//! What a region costs before anything is allocated from it.

use std::time::Instant;

use twinframe::BuddyAllocator;

use super::{MIB, PAGE};
use crate::harness::{Runner, median};
use crate::memory::Memory;
use crate::report::Unit;
use crate::target::Target;

/// Each with memory that the system has to find first. All memory goes back in between.
const ROUNDS: usize = 15;

pub(super) fn run(runner: &mut Runner) {
    for mib in [16, 128, 1024, 16 * 1024, 256 * 1024, 1024 * 1024] {
        let case = format!("pages set-up of {mib} MiB");
        if !runner.wants(&case) {
            continue;
        }
        let memory = Memory::new(mib * MIB, 4 << 30);
        // The peer touches all of its metadata: 24 bytes for every page.
        let has_peer = mib <= 16 * 1024;
        let (mut ours, mut peers) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            ours.push(twinframe(memory));
            if has_peer {
                peers.push(buddy_slab(memory));
            }
        }
        let (times, lost): (Vec<_>, Vec<_>) = [("twinframe", ours), ("buddy-slab", peers)]
            .into_iter()
            .filter_map(|(name, rounds)| {
                let lost = rounds.first()?.lost;
                let us = median(rounds.into_iter().map(|round| round.us).collect())?;
                Some((
                    (name, us),
                    (name, lost as f64 * 1000.0 / memory.len() as f64),
                ))
            })
            .unzip();
        let per_gib = 20.0 * (mib as f64 / 1024.0).max(1.0);
        runner.print(&case, Unit::Less("us"), &[Target::AtMost(per_gib)], &times);
        runner.print(
            &format!("{case}: not allocatable"),
            Unit::Less("1/1000"),
            &[Target::AtMost(2.0)],
            &lost,
        );
    }
}

/// What one round tells.
struct Round {
    us: f64,
    /// Bytes that cannot be allocated.
    lost: usize,
}

/// Has `add` take over memory that nobody has touched yet, and gives that back to the system; `add` returns the bytes
/// that are lost.
fn round(memory: Memory, add: impl FnOnce() -> usize) -> Round {
    let start = Instant::now();
    let lost = add();
    let us = start.elapsed().as_secs_f64() * 1e6;
    memory.discard();
    Round { us, lost }
}

fn twinframe(memory: Memory) -> Round {
    let mut pages = BuddyAllocator::<PAGE>::new();
    round(memory, || {
        // SAFETY: the memory is this allocator's for as long as there is one.
        let report = unsafe { pages.add_region_at(memory.region(), memory.addr() as u64) };
        let report = report.expect("a good region");
        report.metadata + report.lost
    })
}

fn buddy_slab(memory: Memory) -> Round {
    let mut pages = buddy_slab_allocator::BuddyAllocator::<PAGE>::new();
    round(memory, || {
        // SAFETY: as above.
        let region = unsafe { memory.region().as_mut() };
        // SAFETY: as above.
        unsafe { pages.add_region(region) }.expect("a good region");
        memory.len() - pages.managed_bytes()
    })
}
