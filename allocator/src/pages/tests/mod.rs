//! The page layer on host memory, at whatever physical addresses a test wants.

mod allocation;
mod bad_input;
mod call_back;
mod conformance;
mod deadline;
mod defects;
mod exhaustion;
mod far;
mod hooked;
mod interrupts;
mod low_memory;
mod memory;
mod model;
mod nodes;
mod passes;
mod platform;
mod reclaim;
mod refill;
mod sections;
mod sequences;
mod shared;
mod small_stack;
mod stopped;
mod stopping;
mod storm;
mod subject;

pub(crate) use deadline::{Deadline, duration};
pub(crate) use hooked::{Hooked, Hooks};
pub(crate) use interrupts::interrupt_cpus;
pub(crate) use memory::Memory;
pub(crate) use platform::{Cpu, Host, SECOND_NODE};
pub(crate) use stopping::{Stopping, at_every_stop};

use super::BuddyAllocator;

pub(crate) const PAGE: usize = 0x1000;
pub(crate) const KIB: usize = 1 << 10;
pub(crate) const MIB: usize = 1 << 20;
pub(crate) const GIB: u64 = 1 << 30;

/// An allocator over `len` bytes at `phys`.
fn allocator(memory: &Memory, phys: u64) -> BuddyAllocator {
    let mut pages = BuddyAllocator::new();
    // SAFETY: the caller keeps the memory alive as long as the allocator.
    let report = unsafe { pages.add_region_at(memory.whole(), phys) };
    report.expect("the region is good");
    pages
}

/// Everything free, and in the largest blocks that the sections allow.
fn assert_recovered(pages: &BuddyAllocator) {
    pages.validate().unwrap();
    assert_eq!(pages.allocated_bytes(), 0);
    assert_eq!(pages.free_pages(), pages.total_pages());
    let fresh = fresh_blocks(pages);
    for info in pages.buddyinfo().zones() {
        assert_eq!(info.free_blocks, fresh[info.zone as usize], "{}", info.zone);
    }
}

/// The free blocks per zone when nothing is allocated: every section in its natural blocks.
fn fresh_blocks(pages: &BuddyAllocator) -> [[usize; super::MAX_ORDER + 1]; 3] {
    let mut blocks = [[0; super::MAX_ORDER + 1]; 3];
    for i in 0..pages.section_count() {
        let section = pages.section(i).unwrap();
        let mut at = usize::try_from(section.phys).unwrap() / PAGE;
        let end = at + section.total_pages;
        while at < end {
            let mut order = section.max_order;
            while !at.is_multiple_of(1 << order) || end - at < 1 << order {
                order -= 1;
            }
            blocks[section.zone as usize][order] += 1;
            at += 1 << order;
        }
    }
    blocks
}
