//! What the allocator has, and whether it is sound.

use super::GlobalAllocator;
use super::info::{CpuSlabInfo, SlabInfo};
use crate::objects::SizeClass;
use crate::pages::{BuddyInfo, FrameAllocator, ManagedSection, NodeInfo};
use crate::{Inconsistency, Platform};

impl<P: Platform, const PAGE_SIZE: usize> GlobalAllocator<P, PAGE_SIZE> {
    /// The pages alone: everything that the page layer offers, for memory of this allocator.
    pub const fn frames(&self) -> &FrameAllocator<P, PAGE_SIZE> {
        &self.frames
    }

    /// How many sections are managed.
    pub fn managed_section_count(&self) -> usize {
        self.frames.section_count()
    }

    /// The section number `index`, in address order.
    pub fn managed_section(&self, index: usize) -> Option<ManagedSection> {
        self.frames.section(index)
    }

    /// Bytes that can be allocated, in use or not.
    pub fn managed_bytes(&self) -> usize {
        self.frames.managed_bytes()
    }

    /// Bytes in pages that are out: allocated, or used for slabs.
    pub fn allocated_bytes(&self) -> usize {
        self.frames.allocated_bytes()
    }

    /// Free blocks by zone and order.
    pub fn buddyinfo(&self) -> BuddyInfo {
        self.frames.buddyinfo()
    }

    /// Free blocks by zone and order on one NUMA node; `None` for nodes from
    /// [`MAX_NODES`](crate::MAX_NODES) on.
    pub fn node_buddyinfo(&self, node: usize) -> Option<BuddyInfo> {
        self.frames.node_buddyinfo(node)
    }

    /// The memory of a NUMA node, and where its CPUs took theirs; `None` for nodes from
    /// [`MAX_NODES`](crate::MAX_NODES) on.
    pub fn node_info(&self, node: usize) -> Option<NodeInfo> {
        self.frames.node_info(node)
    }

    /// One more than the number of the highest NUMA node that memory was added on.
    pub fn node_count(&self) -> usize {
        self.frames.node_count()
    }

    /// Objects and slabs by class.
    pub fn slabinfo(&self) -> SlabInfo {
        SlabInfo {
            classes: SizeClass::ALL.map(|class| self.objects.stats(&self.frames, class)),
        }
    }

    /// Objects, slabs and counts of one CPU by class; `None` for a CPU that has no objects yet.
    pub fn slabinfo_of_cpu(&self, cpu: usize) -> Option<CpuSlabInfo> {
        if cpu >= P::MAX_CPUS {
            return None;
        }
        let mut info = CpuSlabInfo::new(cpu);
        for class in SizeClass::ALL {
            *info.class_mut(class) = self.objects.cpu_stats(&self.frames, cpu, class)?;
        }
        Some(info)
    }

    /// Checks every invariant by walking everything, with interrupts masked: for tests. Not for interrupt handlers,
    /// nor under a lock that one takes: it waits for a removal of memory to end.
    ///
    /// # Errors
    ///
    /// What is wrong first.
    pub fn validate(&self) -> Result<(), Inconsistency> {
        self.objects
            .validate(&self.frames)
            .map_err(Inconsistency::Objects)?;
        self.frames.validate().map_err(Inconsistency::Pages)
    }
}
