//! What the shared allocator says about itself.

use core::sync::atomic::Ordering;

use super::info::{BuddyInfo, CpuInfo, ManagedSection};
use super::node::{MAX_NODES, Node, NodeInfo};
use super::section::SectionRef;
use super::shared::{FrameAllocator, Tree};
use super::stack::Stack;
use super::validate::{self, Fault, Violation};
use crate::Platform;

impl<P: Platform, const PAGE_SIZE: usize> FrameAllocator<P, PAGE_SIZE> {
    /// How many sections are managed.
    #[must_use]
    pub fn section_count(&self) -> usize {
        let tree = self.tree.0.lock();
        self.shared.index.len() + usize::from(tree.closing.is_some())
    }

    /// The `i`-th section by address.
    ///
    /// Its `free_pages` do not count pages in caches.
    #[must_use]
    pub fn section(&self, i: usize) -> Option<ManagedSection> {
        let tree = self.tree.0.lock();
        self.sections(&tree)
            .nth(i)
            .map(ManagedSection::new::<PAGE_SIZE>)
    }

    /// Pages under management that can be allocated: those with CPUs' caches do not count.
    #[must_use]
    pub fn total_pages(&self) -> usize {
        self.tree.0.lock().zones.total_pages()
    }

    /// Pages that are free, in the trees or in caches. Exact when no CPU is allocating or freeing.
    #[must_use]
    pub fn free_pages(&self) -> usize {
        let tree = self.tree.0.lock();
        (tree.zones.total_free() + self.cached_pages()).min(tree.zones.total_pages())
    }

    /// Bytes that are free in the trees, for each CPU that has caches.
    pub(crate) fn free_bytes_per_cpu(&self) -> usize {
        let tree = self.tree.0.lock();
        tree.zones.total_free() * PAGE_SIZE / tree.sharers.cpus().max(1) as usize
    }

    /// Pages that are free and lie in CPUs' caches.
    #[must_use]
    pub fn cached_pages(&self) -> usize {
        self.shared
            .cpus
            .iter(P::MAX_CPUS)
            .map(|(_, cpu)| cpu.pages())
            .sum()
    }

    /// Bytes that can be allocated when nothing is.
    #[must_use]
    pub fn managed_bytes(&self) -> usize {
        self.total_pages() * PAGE_SIZE
    }

    /// Bytes in allocated pages.
    #[must_use]
    pub fn allocated_bytes(&self) -> usize {
        let tree = self.tree.0.lock();
        let free = tree.zones.total_free() + self.cached_pages();
        tree.zones.total_pages().saturating_sub(free) * PAGE_SIZE
    }

    /// Free blocks per zone and order, those in caches not counted.
    #[must_use]
    pub fn buddyinfo(&self) -> BuddyInfo {
        let tree = self.tree.0.lock();
        BuddyInfo::new(Node::FIRST, self.sections(&tree), &tree.zones)
    }

    /// [`buddyinfo`](Self::buddyinfo) of one node; `None` for nodes from [`MAX_NODES`] on.
    #[must_use]
    pub fn node_buddyinfo(&self, node: usize) -> Option<BuddyInfo> {
        let node = (node < MAX_NODES).then(|| Node::new(node))?;
        let tree = self.tree.0.lock();
        let sections = self.sections(&tree);
        let on_node = sections.filter(|section| section.node() == node);
        Some(BuddyInfo::new(node, on_node, &tree.zones))
    }

    /// The memory of a node, and where its CPUs took theirs; `None` for nodes from [`MAX_NODES`] on.
    #[must_use]
    pub fn node_info(&self, node: usize) -> Option<NodeInfo> {
        let node = (node < MAX_NODES).then(|| Node::new(node))?;
        let tree = self.tree.0.lock();
        let on_node = self
            .sections(&tree)
            .filter(|section| section.node() == node);
        Some(NodeInfo {
            free_pages: on_node.map(|section| section.free_pages()).sum(),
            ..tree.zones.node(node)
        })
    }

    /// One more than the number of the highest node that memory was added on.
    #[must_use]
    pub fn node_count(&self) -> usize {
        self.tree.0.lock().zones.node_count()
    }

    /// All sections, with one that is being removed at the end.
    fn sections(&self, tree: &Tree<PAGE_SIZE>) -> impl Iterator<Item = SectionRef> {
        self.shared.index.iter().chain(tree.closing)
    }

    /// What a CPU's caches hold and did; `None` for a CPU that never called, and where there is none of that number.
    #[must_use]
    pub fn cpu_info(&self, cpu: usize) -> Option<CpuInfo> {
        if cpu >= P::MAX_CPUS {
            return None;
        }
        let cpu = self.shared.cpus.get(cpu)?;
        Some(CpuInfo {
            cached_pages: cpu.pages(),
            refills: cpu.refills.load(Ordering::Relaxed),
            drains: cpu.drains.load(Ordering::Relaxed),
        })
    }

    /// Blocks that were found in a cache in a wrong state, and dropped: each is the trace of two
    /// frees of one block at the same time.
    #[must_use]
    pub fn corrupted_blocks(&self) -> usize {
        self.shared.corrupted.load(Ordering::Relaxed)
    }

    /// Walks everything and checks every invariant. Holds the lock meanwhile: for tests and for
    /// when something is wrong anyway. Not for interrupt handlers, nor under a lock that one takes: it waits for a
    /// removal to end.
    ///
    /// # Errors
    ///
    /// The first violation found.
    pub fn validate(&self) -> Result<(), Violation> {
        let tree = self.settled();
        validate::validate(&self.shared.index, &tree.zones)?;
        drop(tree);
        let own = self.with_own(|cpu, held| {
            Stack::all().find_map(|stack| {
                let mut entries = cpu.entries(held, stack).iter().copied();
                entries.find(|entry| !entry.is_cached(stack.order()))
            })
        });
        match own.flatten() {
            None => Ok(()),
            Some(entry) => Err(Violation {
                fault: Fault::Cache,
                at: entry.addr as u64,
            }),
        }
    }
}
