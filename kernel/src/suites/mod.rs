//! The in-kernel tests, a suite a file.

mod acpi;
mod boot;
mod chain;
mod collections;
mod comparison;
mod conformance;
mod counted;
mod dma;
mod hardening;
mod hot_plug;
mod interrupts;
mod latency;
mod low_memory;
mod memory_map;
mod numa;
mod objects;
mod out_of_memory;
mod pages;
mod parity;
mod pci;
mod proof;
mod smp;
mod stress;
mod translate;
mod walkthrough;

use twinframe::{AllocResult, ZoneInfo};

use crate::memory::HEAP;

/// Frees pages that a test owns, or that it expects to be refused.
fn free_pages(address: usize, count: usize) -> AllocResult {
    // SAFETY: the suites use no memory after they have freed it; what they free without owning it is
    // free already, or not where a block begins, or not memory at all: the allocator refuses it.
    unsafe { HEAP.dealloc_pages(address, count) }
}

/// The order of the largest block that is free once caches are empty.
fn largest_order() -> usize {
    HEAP.drain();
    let info = HEAP.buddyinfo();
    let largest = info.zones().filter_map(ZoneInfo::largest_order).max();
    largest.expect("free memory")
}

/// The low byte of a number, to mark memory with.
fn tag(number: usize) -> u8 {
    number.to_le_bytes()[0]
}
