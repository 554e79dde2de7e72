//! From an address to what the allocator knows about it, while other CPUs change that.

use core::ptr::NonNull;

use super::frame::Pfn;
use super::section::SectionRef;
use super::shared::{FrameAllocator, Tree};
use super::slab_window::{SlabView, SlabWindow};
use crate::percpu::Refused;
use crate::sync::Pinned;
use crate::{AllocError, AllocResult, Platform};

impl<P: Platform, const PAGE_SIZE: usize> FrameAllocator<P, PAGE_SIZE> {
    /// The section that manages an address, also if it is being removed.
    fn section_of(&self, tree: &Tree<PAGE_SIZE>, addr: usize) -> Option<SectionRef> {
        tree.recent
            .filter(|section| section.contains(addr))
            .or_else(|| self.shared.index.find(addr))
            .or_else(|| tree.closing.filter(|section| section.contains(addr)))
    }

    /// The section and frame of a page address, also if the section is being removed.
    pub(super) fn locate(
        &self,
        tree: &Tree<PAGE_SIZE>,
        addr: usize,
    ) -> AllocResult<(SectionRef, Pfn)> {
        let section = self.section_of(tree, addr).ok_or(AllocError::NotFound)?;
        if !addr.is_multiple_of(PAGE_SIZE) {
            return Err(AllocError::InvalidParam);
        }
        Ok((section, section.pfn::<PAGE_SIZE>(addr)))
    }

    /// The descriptor of the slab that `addr`, any address inside it, belongs to, from page
    /// metadata. Takes no lock.
    #[must_use]
    #[inline]
    pub fn slab_of(&self, addr: usize) -> Option<NonNull<()>> {
        self.with_slab(addr, NonNull::new).flatten()
    }

    /// Passes the entry of the slab that covers `addr`, null if none does, to `look`; the section does not
    /// go meanwhile.
    #[inline]
    pub(crate) fn with_slab<R>(&self, addr: usize, look: impl FnOnce(*mut ()) -> R) -> Option<R> {
        self.look_up(addr, |section| look(section.slabs().slab(addr)))
    }

    /// Where the descriptors of the slabs around `addr` are. Takes no lock.
    pub(crate) fn slab_view(&self, addr: usize) -> Option<SlabView> {
        self.look_up(addr, |section| section.slabs().view())
    }

    /// Passes the section that manages `addr` to `look`; it does not go meanwhile.
    #[inline]
    fn look_up<R>(&self, addr: usize, look: impl FnOnce(SectionRef) -> R) -> Option<R> {
        let _pinned = Pinned::<P>::new();
        if let Some(cpu) = self.shared.cpus.get(P::cpu_id()) {
            // SAFETY: this is the CPU of that state, and it is pinned.
            match unsafe { cpu.lock.enter() } {
                // No section goes before this CPU is out, or, in a handler, before the code below
                // it is out.
                Ok(_) | Err(Refused::Nested) => {
                    if let Some(section) = self.shared.index.find(addr) {
                        return Some(look(section));
                    }
                }
                Err(Refused::Claimed) => {}
            }
        }
        let tree = self.tree.0.lock();
        self.section_of(&tree, addr).map(look)
    }

    /// The slab window of the section that manages `addr`, without a lock. While another CPU adds
    /// or removes a section, there may be a window and this not find it.
    ///
    /// # Safety
    ///
    /// The window is not used after its section's memory has gone back to whoever added it.
    #[inline]
    pub(crate) unsafe fn slab_window(&self, addr: usize) -> Option<&SlabWindow> {
        let section = self.shared.index.find(addr)?;
        // SAFETY: the header lives as long as the section, and the caller answers for that.
        Some(unsafe { &*core::ptr::from_ref(section.slabs()) })
    }
}
