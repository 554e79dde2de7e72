//! Around the shared allocator's hot paths: regions, bulk calls, what pages are used for, settings.

use core::ptr::NonNull;
use core::sync::atomic::Ordering;

use super::cache::BATCH;
use super::entry::Entry;
use super::frame::Order;
use super::node::Node;
use super::reclaim::{Reclaim, Watermarks};
use super::region::RegionReport;
use super::request::Demand;
use super::shared::{FrameAllocator, Tree};
use super::stack::Stack;
use super::state::PageFlags;
use super::zone::Zone;
use crate::{AllocError, AllocResult, Platform};

impl<P: Platform, const PAGE_SIZE: usize> FrameAllocator<P, PAGE_SIZE> {
    /// [`add_region`](Self::add_region) for the first region.
    ///
    /// # Errors
    ///
    /// [`AlreadyInitialized`](AllocError::AlreadyInitialized) if there is one; else as
    /// `add_region`.
    ///
    /// # Safety
    ///
    /// As for `add_region`.
    pub unsafe fn init(&self, region: &mut [u8]) -> AllocResult {
        if self.section_count() != 0 {
            return Err(AllocError::AlreadyInitialized);
        }
        // SAFETY: passed on to the caller.
        unsafe { self.add_region(region) }
    }

    /// Adds memory at the physical address that the platform tells, while other CPUs go on.
    /// Not for interrupt handlers, nor under a lock that one takes: it waits for a removal to end.
    ///
    /// # Errors
    ///
    /// As [`BuddyAllocator::add_region_at`](super::BuddyAllocator::add_region_at).
    ///
    /// # Safety
    ///
    /// As for `BuddyAllocator::add_region_at`.
    pub unsafe fn add_region(&self, region: &mut [u8]) -> AllocResult {
        let phys = P::virt_to_phys(region.as_mut_ptr().addr());
        // SAFETY: passed on to the caller.
        unsafe { self.add_region_at(NonNull::from(region), phys) }.map(|_| ())
    }

    /// Adds memory that lies at `phys` physically, while other CPUs go on. See
    /// [`BuddyAllocator::add_region_at`](super::BuddyAllocator::add_region_at). Not for interrupt
    /// handlers, nor under a lock that one takes: it waits for a removal to end.
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Safety
    ///
    /// As there.
    pub unsafe fn add_region_at(
        &self,
        region: NonNull<[u8]>,
        phys: u64,
    ) -> AllocResult<RegionReport> {
        let mut tree = self.settled();
        let zones = &mut tree.zones;
        let node = Node::new(P::node_of_phys(phys));
        // SAFETY: passed on to the caller; the index has the sections of these zones, since none
        // is half removed.
        let report = unsafe { zones.add_region(&self.shared.index, region, phys, node) }?;
        tree.arrivals += 1;
        self.note_memory(&tree);
        Ok(report)
    }

    /// Notes whether there is memory from 4 GiB up, and which nodes have some, after memory was added
    /// or removed.
    pub(super) fn note_memory(&self, tree: &Tree<PAGE_SIZE>) {
        let has_normal = tree.zones.managed(Zone::Normal) != 0;
        self.shared.has_normal.store(has_normal, Ordering::Relaxed);
        let nodes = Node::all().filter(|node| tree.zones.node(*node).managed_pages != 0);
        let nodes = nodes.fold(0, |nodes, node| nodes | node.bit());
        self.shared.nodes.store(nodes, Ordering::Relaxed);
    }

    /// Allocates up to `out.len()` blocks of `count` pages each, writes their addresses to the
    /// beginning of `out` and returns how many they are.
    ///
    /// # Errors
    ///
    /// As [`alloc_pages`](Self::alloc_pages), if not even one block could be had.
    pub fn alloc_bulk(&self, count: usize, out: &mut [usize]) -> AllocResult<usize> {
        let order = Order::covering(count).ok_or(AllocError::InvalidParam)?;
        let stack = Stack::of(order, false);
        let mut done = 0;
        while done < out.len() {
            if let Some(stack) = stack {
                let mut batch = [Entry::NONE; BATCH];
                let wanted = (out.len() - done).min(BATCH);
                let popped = self
                    .with_own(|cpu, held| cpu.pop_many(held, stack, &mut batch[..wanted]))
                    .unwrap_or(0);
                for entry in &batch[..popped] {
                    if let Some(addr) = self.take_out(*entry, order) {
                        out[done] = addr;
                        done += 1;
                    }
                }
                if popped != 0 {
                    continue;
                }
            }
            match self.allocate_or_reclaim(&Demand::block(order, order)) {
                Ok(addr) => {
                    out[done] = addr;
                    done += 1;
                }
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(done)
    }

    /// Frees blocks of `count` pages each.
    ///
    /// # Errors
    ///
    /// The index of the first block that was refused, and why. Those before it are freed, those
    /// from it on are not.
    ///
    /// # Safety
    ///
    /// As for [`dealloc_pages`](Self::dealloc_pages), for each of them.
    pub unsafe fn free_bulk(
        &self,
        addrs: &[usize],
        count: usize,
    ) -> Result<(), (usize, AllocError)> {
        let stack = Stack::covering(count);
        let mut done = 0;
        while done < addrs.len() {
            let pushed = stack.and_then(|stack| {
                self.with_own(|cpu, held| {
                    addrs[done..]
                        .iter()
                        .take_while(|addr| self.push_to(cpu, held, **addr, stack))
                        .count()
                })
            });
            done += pushed.unwrap_or(0);
            if let Some(addr) = addrs.get(done) {
                // SAFETY: passed on to the caller.
                unsafe { self.dealloc_pages(*addr, count) }.map_err(|error| (done, error))?;
                done += 1;
            }
        }
        Ok(())
    }

    /// What the page at `addr` is used for; see
    /// [`BuddyAllocator::page_flags`](super::BuddyAllocator::page_flags).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn page_flags(&self, addr: usize) -> AllocResult<PageFlags> {
        let tree = self.tree.0.lock();
        let (section, pfn) = self.locate(&tree, addr)?;
        Ok(section.flags(pfn))
    }

    /// Marks an allocated block as a slab, or as no slab; see
    /// [`BuddyAllocator::set_page_flags`](super::BuddyAllocator::set_page_flags).
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Safety
    ///
    /// The caller owns the block.
    pub unsafe fn set_page_flags(&self, addr: usize, flags: PageFlags) -> AllocResult {
        let tree = self.tree.0.lock();
        let (section, pfn) = self.locate(&tree, addr)?;
        section.set_flags(pfn, flags)
    }

    /// Makes an allocated block a slab; see
    /// [`BuddyAllocator::set_slab`](super::BuddyAllocator::set_slab).
    ///
    /// # Errors
    ///
    /// As there; [`InvalidParam`](AllocError::InvalidParam) also if these are the pages of a
    /// [`GlobalAllocator`](crate::GlobalAllocator), which follows the descriptors of all slabs.
    ///
    /// # Safety
    ///
    /// The caller owns the block.
    pub unsafe fn set_slab(&self, addr: usize, descriptor: *mut ()) -> AllocResult {
        if self.shared.has_objects {
            return Err(AllocError::InvalidParam);
        }
        // SAFETY: the caller's duties are the same, and nobody follows the descriptor.
        unsafe { self.describe_slab(addr, descriptor) }
    }

    /// The same for the layer of objects above.
    ///
    /// # Errors
    ///
    /// As [`BuddyAllocator::set_slab`](super::BuddyAllocator::set_slab).
    ///
    /// # Safety
    ///
    /// The caller owns the block. Where there is such a layer, the descriptor is null or one of its own.
    pub(crate) unsafe fn describe_slab(&self, addr: usize, descriptor: *mut ()) -> AllocResult {
        let tree = self.tree.0.lock();
        let (section, pfn) = self.locate(&tree, addr)?;
        section.set_slab(pfn, descriptor)
    }

    /// Makes the slab that begins at `addr` several, each a block of its own: of 8 KiB, or a page where
    /// that is more.
    ///
    /// # Errors
    ///
    /// `NotFound`, `InvalidParam` or `NotAllocated` if no slab's block begins there.
    ///
    /// # Safety
    ///
    /// The caller owns the slab.
    pub(crate) unsafe fn split_slab(&self, addr: usize) -> AllocResult {
        let tree = self.tree.0.lock();
        let (section, pfn) = self.locate(&tree, addr)?;
        section.split_slab::<PAGE_SIZE>(pfn)
    }

    /// Registers the function that gives memory back, or none, as it is at first. It hears anew of zones that are
    /// below their watermarks. A call of the former one may still be under way on another CPU.
    pub fn set_reclaim(&self, reclaim: Option<Reclaim>) {
        let mut tree = self.tree.0.lock();
        tree.reclaim = reclaim;
        tree.zones.forget_told();
    }

    /// The watermarks of a zone.
    #[must_use]
    pub fn watermarks(&self, zone: Zone) -> Watermarks {
        self.tree.0.lock().zones.watermarks(zone)
    }

    /// Sets the watermarks of a zone. Adding or removing memory of the zone sets them anew.
    ///
    /// # Errors
    ///
    /// [`InvalidParam`](AllocError::InvalidParam) unless `min <= low <= high`.
    pub fn set_watermarks(&self, zone: Zone, watermarks: Watermarks) -> AllocResult {
        if watermarks.min > watermarks.low || watermarks.low > watermarks.high {
            return Err(AllocError::InvalidParam);
        }
        self.tree.0.lock().zones.set_watermarks(zone, watermarks);
        Ok(())
    }
}
