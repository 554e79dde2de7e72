//! The conformance checks on host memory, in one zone and in all.

use super::platform::{Cpu, Host};
use super::{GIB, MIB, Memory};
use crate::{FrameAllocator, conformance};

/// Runs a check over a large section, and over sections of all zones with some small ones.
fn everywhere(check: impl Fn(&FrameAllocator<Host>)) {
    Cpu::set(0);
    let memory = Memory::new(128 * MIB);
    let layouts: [&[(usize, usize, u64)]; 2] = [
        &[(0, 128 * MIB, 8 * GIB)],
        &[
            (0, 12 * MIB, MIB as u64),
            (16 * MIB, 48 * MIB, GIB),
            (64 * MIB, 64 * MIB, 4 * GIB),
        ],
    ];
    for layout in layouts {
        let frames = FrameAllocator::<Host>::new();
        for &(offset, len, phys) in layout {
            // SAFETY: the memory outlives the allocator, which alone uses this part of it.
            let added = unsafe { frames.add_region_at(memory.part(offset, len), phys) };
            added.expect("the region is good");
        }
        check(&frames);
    }
}

#[test]
fn exact_counts() {
    everywhere(conformance::exact_counts);
}

#[test]
fn given_addresses() {
    everywhere(conformance::given_addresses);
}

#[test]
fn zeroed() {
    everywhere(conformance::zeroed);
}

#[test]
fn bulk() {
    everywhere(conformance::bulk);
}

#[test]
fn bad_requests_change_nothing() {
    everywhere(conformance::bad_requests_change_nothing);
}

#[test]
fn bad_frees_change_nothing() {
    everywhere(conformance::bad_frees_change_nothing);
}

#[test]
fn random_blocks() {
    for seed in 1..=5 {
        everywhere(|frames| conformance::random_blocks(frames, seed, 5_000));
    }
}

/// Where the platform translates addresses: identity, as the other checks' layouts are not.
#[test]
fn every_order_and_limits() {
    Cpu::set(0);
    // The smaller one has no block of the largest order.
    for mib in [7, 128] {
        let memory = Memory::new(mib * MIB);
        let frames = FrameAllocator::<Host>::new();
        // SAFETY: as above.
        let added = unsafe { frames.add_region_at(memory.whole(), memory.addr() as u64) };
        added.expect("the region is good");
        conformance::every_order(&frames);
        conformance::limits(&frames);
    }
}
