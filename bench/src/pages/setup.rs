//! What a region costs before anything is allocated from it.

use std::time::Instant;

use twinframe::BuddyAllocator;

use super::{MIB, PAGE};
use crate::harness::Runner;
use crate::memory::Memory;
use crate::report::Unit;
use crate::target::Target;

pub(super) fn run(runner: &mut Runner) {
    for mib in [16, 128, 1024, 16 * 1024, 256 * 1024, 1024 * 1024] {
        let case = format!("pages set-up of {mib} MiB");
        if !runner.wants(&case) {
            continue;
        }
        let memory = Memory::new(mib * MIB, 4 << 30);
        let mut pages = BuddyAllocator::<PAGE>::new();
        let start = Instant::now();
        // SAFETY: the memory is this allocator's for good.
        let report = unsafe { pages.add_region_at(memory.region(), memory.addr() as u64) };
        let ours = start.elapsed().as_secs_f64() * 1e6;
        let report = report.expect("a good region");
        let mut figures = vec![("twinframe", ours)];
        let mut lost = vec![("twinframe", share(report.metadata + report.lost, mib))];
        // The peer touches all of its metadata: 24 bytes for every page.
        if mib <= 16 * 1024 {
            let memory = Memory::new(mib * MIB, 4 << 30);
            let mut pages = buddy_slab_allocator::BuddyAllocator::<PAGE>::new();
            // SAFETY: as above.
            let region = unsafe { memory.region().as_mut() };
            let start = Instant::now();
            // SAFETY: as above.
            unsafe { pages.add_region(region) }.expect("a good region");
            figures.push(("buddy-slab", start.elapsed().as_secs_f64() * 1e6));
            lost.push(("buddy-slab", share(mib * MIB - pages.managed_bytes(), mib)));
        }
        let per_gib = 20.0 * (mib as f64 / 1024.0).max(1.0);
        runner.print(
            &case,
            Unit::Less("us"),
            &[Target::AtMost(per_gib)],
            &figures,
        );
        runner.print(
            &format!("{case}: not allocatable"),
            Unit::Less("1/1000"),
            &[Target::AtMost(2.0)],
            &lost,
        );
    }
}

fn share(bytes: usize, mib: usize) -> f64 {
    bytes as f64 * 1000.0 / (mib * MIB) as f64
}
