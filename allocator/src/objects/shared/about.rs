//! What is known of an object, for reports.

use super::super::size_class::SizeClass;
use super::allocator::ObjectAllocator;
use super::entry::Entry;
use crate::Platform;
use crate::pages::FrameAllocator;

impl<P: Platform, const PAGE_SIZE: usize> ObjectAllocator<P, PAGE_SIZE> {
    /// The class of the slab that covers `addr`, the first byte of the object there, and whether it
    /// is marked as free. `None` if no object lies there, or the slab goes meanwhile.
    pub(crate) fn about(
        &self,
        frames: &FrameAllocator<P, PAGE_SIZE>,
        addr: usize,
    ) -> Option<(SizeClass, usize, bool)> {
        frames.peek_slab(addr, |entry| {
            let entry = Entry(entry);
            let class = entry.class()?;
            let start = addr - (addr & (class.grid::<PAGE_SIZE>().bytes() - 1));
            let object = start + Entry::index::<PAGE_SIZE>(addr, class) * class.size();
            // Refused is the tail of a slab, which is too short for an object.
            entry.check::<PAGE_SIZE>(object, class).ok()?;
            Some((class, object, self.is_marked(object)))
        })?
    }
}
