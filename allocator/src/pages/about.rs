//! What is known of an address, for reports: without waiting, so also in a kernel that has failed.

use core::fmt;
use core::ops::Range;

use super::section::Section;
use super::shared::FrameAllocator;
use super::state::{Kind, PageState};
use super::zone::Zone;
use crate::Platform;
use crate::percpu::Refused;
use crate::sync::Pinned;

/// What a page is used for, to the best of what can be seen without a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PageUse {
    /// It is free.
    Free,
    /// It is free, in the cache of some CPU.
    Cached,
    /// It is allocated.
    Allocated,
    /// It is in a slab of the object allocator.
    Slab,
    /// It holds state of the allocator itself.
    Internal,
}

/// The page that an address lies in.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PageInfo {
    /// The zone of the page.
    pub zone: Zone,
    /// What it is used for.
    pub used_for: PageUse,
    /// The block or part of a run that it belongs to; the page itself if it is free.
    pub block: Range<usize>,
}

impl fmt::Display for PageInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.used_for {
            PageUse::Free => "a free page",
            PageUse::Cached => "a free block in a CPU's cache",
            PageUse::Allocated => "an allocated block",
            PageUse::Slab => "a slab",
            PageUse::Internal => "a block of the allocator's own",
        };
        let Range { start, end } = self.block;
        write!(
            f,
            "{what} {start:#x}..{end:#x} of zone {}",
            self.zone.name()
        )
    }
}

impl<P: Platform, const PAGE_SIZE: usize> FrameAllocator<P, PAGE_SIZE> {
    /// What is known of the page at an address: `None` if no section manages it (then it may be a
    /// section's own metadata, or no memory at all), and while the section is being added or removed.
    /// A CPU without caches of its own, because it never allocated or while another CPU empties them,
    /// also gets `None` if another context changes pages just now, on this CPU or another.
    ///
    /// Waits for nobody, so it may be called in a fault handler, whatever was interrupted. What other
    /// CPUs do at the same time may make the answer stale.
    #[must_use]
    pub fn about(&self, addr: usize) -> Option<PageInfo> {
        self.peek(addr, |section| {
            let pfn = section.pfn::<PAGE_SIZE>(addr);
            let (start, pages, used_for) = match section.head(pfn) {
                None => (pfn, 1, PageUse::Free),
                Some((start, state)) => (start, state.order().pages(), use_of(state)),
            };
            let start = section.addr::<PAGE_SIZE>(start);
            PageInfo {
                zone: section.zone(),
                used_for,
                block: start..start + pages * PAGE_SIZE,
            }
        })
    }

    /// Shows `look` the entry of the slab that covers an address, null if none does. Waits for nobody;
    /// the memory of the section stays as long as `look` runs.
    pub(crate) fn peek_slab<R>(&self, addr: usize, look: impl FnOnce(*mut ()) -> R) -> Option<R> {
        self.peek(addr, |section| look(section.slabs().slab(addr)))
    }

    /// Shows `look` the section that manages an address. Waits for nobody; the section stays as long as `look` runs.
    pub(crate) fn peek<R>(&self, addr: usize, look: impl FnOnce(&Section) -> R) -> Option<R> {
        let _pinned = Pinned::<P>::new();
        let find = || self.shared.index.find(addr);
        if let Some(cpu) = self.shared.cpus.get(P::cpu_id()) {
            // SAFETY: this is the CPU of that state, and it is pinned.
            match unsafe { cpu.lock.enter() } {
                // No section goes before this CPU is out, or, in a handler, before the code below it is
                // out.
                Ok(_) | Err(Refused::Nested) => return Some(look(&*find()?)),
                Err(Refused::Claimed) => {}
            }
        }
        // No section goes while this is held; in a handler, its holder may be the code below.
        let _tree = self.tree.0.try_lock()?;
        Some(look(&*find()?))
    }
}

fn use_of(state: PageState) -> PageUse {
    match state.kind() {
        Kind::Nothing => PageUse::Free,
        Kind::Cached => PageUse::Cached,
        Kind::Block | Kind::Run | Kind::RunTail => PageUse::Allocated,
        Kind::Slab => PageUse::Slab,
        Kind::Internal => PageUse::Internal,
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::pages::tests::{Cpu, Host, Memory, PAGE};

    /// A fault on a CPU that never allocated was reported without a word about the address.
    #[test]
    fn a_cpu_that_never_allocated_is_told_too() {
        let memory = Memory::new(1 << 20);
        let frames = FrameAllocator::<Host>::new();
        // SAFETY: the memory outlives the allocator.
        unsafe { frames.add_region_at(memory.whole(), 1 << 30) }.unwrap();
        Cpu::set(0);
        let addr = frames.alloc_pages(1, 0).unwrap();
        Cpu::set(1);
        let told = frames.about(addr).unwrap();
        assert_eq!(told.used_for, PageUse::Allocated);
        assert_eq!(told.block, addr..addr + PAGE);
        let tree = frames.tree.0.lock();
        assert_eq!(frames.about(addr), None);
        Cpu::set(0);
        assert_eq!(frames.about(addr).as_ref(), Some(&told));
        drop(tree);
    }
}
