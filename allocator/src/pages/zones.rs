//! Which zone serves a request, and what it keeps back.

use core::ptr::NonNull;

use super::frame::{Blocks, Order, Pfn};
use super::index::SectionIndex;
use super::node::{MAX_NODES, Node, NodeInfo};
use super::page_size::PageSize;
use super::reclaim::{ReclaimRequest, Watermarks};
use super::region::{Region, RegionReport};
use super::request::Demand;
use super::section::{Section, SectionRef};
use super::state::{Kind, PageState};
use super::zone::{ZONES, Zone};
use super::zone_sections::ZoneSections;
use crate::{AllocError, AllocResult};

/// All zones.
pub(crate) struct Zones<const PAGE_SIZE: usize> {
    pub(super) zones: [ZoneSections; ZONES],
    /// Of the sections that are left the one that was there first: the least likely one to be removed.
    oldest: Option<SectionRef>,
    /// How many sections have come.
    added: u32,
    /// The section that refused the last request because it is far; for its caller to [`advance`](Self::advance).
    pub(super) far: Option<SectionRef>,
    /// What is freed may go to a CPU's cache above these zones.
    has_caches: bool,
    /// Pages that hold the allocator's own state.
    internal: usize,
    /// One more than the number of the highest node with memory; at least 1.
    pub(super) node_count: usize,
    pub(super) nodes: [NodeInfo; MAX_NODES],
}

impl<const PAGE_SIZE: usize> Zones<PAGE_SIZE> {
    pub(crate) const fn new() -> Self {
        Self::make(false)
    }

    /// Those of an allocator that has caches.
    pub(crate) const fn below_caches() -> Self {
        Self::make(true)
    }

    const fn make(has_caches: bool) -> Self {
        () = PageSize::<PAGE_SIZE>::IS_USABLE;
        Self {
            has_caches,
            zones: [ZoneSections::EMPTY; ZONES],
            oldest: None,
            added: 0,
            far: None,
            internal: 0,
            node_count: 1,
            nodes: [NodeInfo::NONE; MAX_NODES],
        }
    }

    /// One more than the number of the highest node with memory; at least 1.
    pub(crate) fn node_count(&self) -> usize {
        self.node_count
    }

    /// The memory of a node, and what its CPUs took; its free pages are for the caller to count.
    pub(crate) fn node(&self, node: Node) -> NodeInfo {
        self.nodes[node.index()]
    }

    pub(crate) fn managed(&self, zone: Zone) -> usize {
        self.zones[zone.index()].managed
    }

    pub(crate) fn free(&self, zone: Zone) -> usize {
        self.zones[zone.index()].free
    }

    /// Pages under management that users can have.
    pub(crate) fn total_pages(&self) -> usize {
        Zone::ALL
            .iter()
            .map(|zone| self.managed(*zone))
            .sum::<usize>()
            - self.internal
    }

    /// Pages that are free in the trees of all sections.
    pub(crate) fn total_free(&self) -> usize {
        Zone::ALL.iter().map(|zone| self.free(*zone)).sum()
    }

    /// The `high` watermarks of all zones together.
    #[inline]
    pub(super) fn high(&self) -> usize {
        let marks = self.zones.iter().map(|sections| sections.watermarks.high);
        marks.fold(0, usize::saturating_add)
    }

    pub(crate) fn reserve(&self, zone: Zone, highest: Zone) -> usize {
        self.zones[zone.index()].reserve[highest.index()]
    }

    /// Takes exactly `count` pages at `first`. After an error, [`advance`](Self::advance) knows whether to try again.
    pub(crate) fn allocate_at(
        &mut self,
        section: SectionRef,
        first: Pfn,
        count: usize,
    ) -> AllocResult {
        if section.limit().since(first) < count {
            return Err(AllocError::NoMemory);
        }
        section
            .take_at(first, first.add(count))
            .map_err(|refusal| self.refused(section, refusal))?;
        self.zones[section.zone().index()].debit(section, count);
        Ok(())
    }

    /// Gives back what was allocated at `pfn`, if that was `count` pages.
    #[inline]
    pub(crate) fn free_pages(
        &mut self,
        section: SectionRef,
        pfn: Pfn,
        count: usize,
    ) -> AllocResult {
        let freed = section.free(pfn, count)?;
        self.credit(section, freed);
        Ok(())
    }

    /// Takes note of pages that a section got back.
    #[inline]
    fn credit(&mut self, section: SectionRef, pages: usize) {
        self.zones[section.zone().index()].credit(section, pages);
    }

    /// Gives back all but `new_count` pages of what was allocated at `pfn`, if that was `count` pages.
    pub(crate) fn shrink(
        &mut self,
        section: SectionRef,
        pfn: Pfn,
        count: usize,
        new_count: usize,
    ) -> AllocResult {
        let freed = section.shrink(pfn, count, new_count)?;
        self.credit(section, freed);
        Ok(())
    }

    /// Makes the `pages` pages that are allocated at `pfn` so many `more`, if those behind them are free. After an error,
    /// [`advance`](Self::advance) knows whether to try again.
    pub(crate) fn grow(
        &mut self,
        section: SectionRef,
        pfn: Pfn,
        pages: usize,
        more: usize,
    ) -> AllocResult {
        let sections = &self.zones[section.zone().index()];
        let reserve = sections.reserve[Zone::Normal.index()];
        if more > sections.free.saturating_sub(reserve) {
            return Err(AllocError::NoMemory);
        }
        section
            .grow(pfn, pages, more)
            .map_err(|refusal| self.refused(section, refusal))?;
        self.zones[section.zone().index()].debit(section, more);
        Ok(())
    }

    pub(crate) fn watermarks(&self, zone: Zone) -> Watermarks {
        self.zones[zone.index()].watermarks
    }

    pub(crate) fn set_watermarks(&mut self, zone: Zone, watermarks: Watermarks) {
        let sections = &mut self.zones[zone.index()];
        sections.watermarks = watermarks;
        sections.recover();
    }

    /// What the callback is to be told after an allocation from `zone`.
    #[inline]
    pub(crate) fn pressure(&mut self, zone: Zone, order: Order) -> Option<ReclaimRequest> {
        let sections = &mut self.zones[zone.index()];
        if sections.free >= sections.watermarks.low {
            return None;
        }
        sections.tell(zone, order)
    }

    /// There is a callback that was told nothing yet.
    pub(crate) fn forget_told(&mut self) {
        for sections in &mut self.zones {
            sections.told = false;
        }
    }

    /// Takes `count` pages for the allocator itself, from where they will not be in the way.
    pub(crate) fn allocate_internal(&mut self, count: usize) -> AllocResult<(SectionRef, Pfn)> {
        let order = Order::covering(count).ok_or(AllocError::InvalidParam)?;
        let demand = Demand {
            count,
            ..Demand::block(order, order)
        };
        let oldest = self.oldest.filter(|section| !section.closing.get());
        let taken = oldest.and_then(|section| {
            let (pfn, _) = section.take(&demand, order).ok()?;
            self.zones[section.zone().index()].debit(section, demand.count);
            Some((section, pfn))
        });
        let (section, pfn) = loop {
            match taken.map_or_else(|| self.allocate(&demand, Node::FIRST), Ok) {
                // Far only if it is for more CPUs than there are machines with. It happens once.
                Err(_) if self.advance() => {}
                taken => break taken?,
            }
        };
        for (pfn, order) in Blocks::new(pfn, pfn.add(count), section.max_order()) {
            section.set_state(pfn, PageState::new(Kind::Internal, order));
        }
        self.internal += demand.count;
        Ok((section, pfn))
    }

    /// Gives back pages that were blocks of `order` in a CPU's cache, and have no state any more.
    #[inline]
    pub(crate) fn free_cached(
        &mut self,
        section: SectionRef,
        first: Pfn,
        limit: Pfn,
        order: Order,
    ) {
        section.put_pages(first, limit, order);
        self.credit(section, limit.since(first));
    }

    /// Makes sections of the whole pages of `region`, which is at `phys` physically.
    ///
    /// # Safety
    ///
    /// As for [`BuddyAllocator::add_region_at`](super::BuddyAllocator::add_region_at); `index` has
    /// the sections of these zones.
    pub(crate) unsafe fn add_region(
        &mut self,
        index: &SectionIndex,
        region: NonNull<[u8]>,
        phys: u64,
        node: Node,
    ) -> AllocResult<RegionReport> {
        let base = region.cast::<u8>();
        let pages = Region::<PAGE_SIZE>::new(base.addr().get(), region.len(), phys)?;
        if index.iter().any(|section| pages.overlaps(section)) {
            return Err(AllocError::MemoryOverlap);
        }
        let mut report = RegionReport::default();
        for piece in pages.pieces(node) {
            let offset = piece.hold - base.addr().get();
            // SAFETY: a piece lies in the region.
            let hold = unsafe { base.add(offset) };
            // SAFETY: the caller hands the memory over, and no other section overlaps it.
            let section = unsafe { Section::create(hold, &piece, self.has_caches) };
            // Addresses given out as numbers may become pointers again.
            hold.as_ptr().expose_provenance();
            index.insert(section);
            self.add(section);
            report.sections += 1;
            report.managed += piece.end - piece.start;
            report.metadata += piece.start - piece.hold;
        }
        if report.sections == 0 {
            return Err(AllocError::InvalidParam);
        }
        report.lost = region.len() - report.managed - report.metadata;
        Ok(report)
    }

    fn add(&mut self, section: SectionRef) {
        let sections = &mut self.zones[section.zone().index()];
        sections.managed += section.pages();
        sections.free += section.pages();
        sections.settle(section);
        section.number.set(self.added);
        self.added = self.added.saturating_add(1);
        self.oldest.get_or_insert(section);
        self.nodes[section.node().index()].managed_pages += section.pages();
        self.update_limits(section.zone());
    }

    /// Allocates nothing more from a section.
    pub(crate) fn close(&mut self, section: SectionRef) {
        self.zones[section.zone().index()].unlink(section);
        section.closing.set(true);
    }

    /// Takes back what [`close`](Self::close) did.
    pub(crate) fn reopen(&mut self, section: SectionRef) {
        section.closing.set(false);
        self.zones[section.zone().index()].settle(section);
    }

    /// Forgets a section, if it is free; `index` has all others of these zones.
    pub(crate) fn remove(&mut self, index: &SectionIndex, section: SectionRef) -> AllocResult {
        let out = section.pages() - section.free_pages();
        if out != 0 {
            return Err(AllocError::Busy(out));
        }
        self.close(section);
        let sections = &mut self.zones[section.zone().index()];
        sections.managed -= section.pages();
        sections.free -= section.pages();
        self.nodes[section.node().index()].managed_pages -= section.pages();
        if self.oldest == Some(section) {
            let others = index.iter().filter(|other| *other != section);
            self.oldest = others.min_by_key(|other| other.number.get());
        }
        self.update_limits(section.zone());
        Ok(())
    }

    /// Computes what depends on how much memory there is, after that of a zone has changed.
    fn update_limits(&mut self, changed: Zone) {
        let highest = self.nodes.iter().rposition(|node| node.managed_pages != 0);
        self.node_count = highest.map_or(1, |highest| highest + 1);
        let watermarks = Watermarks::of_zone(self.managed(changed), PAGE_SIZE);
        self.set_watermarks(changed, watermarks);
        let managed = Zone::ALL.map(|zone| self.managed(zone));
        for zone in Zone::ALL {
            let reserve = Zone::ALL.map(|highest| zone.reserve(highest, &managed));
            self.zones[zone.index()].reserve = reserve;
        }
    }

    /// Is the section in the list it belongs to? For validation.
    pub(super) fn is_settled(&self, section: SectionRef) -> bool {
        let bucket = section.available();
        let lists = &self.zones[section.zone().index()].nodes[section.node().index()];
        let head = lists.buckets[bucket as usize];
        section.bucket.get() == bucket
            && (bucket == 0
                || core::iter::successors(head, |member| member.bucket_next.get())
                    .any(|member| member == section))
    }

    /// Do the list marks agree with the lists? For validation.
    pub(super) fn marks_agree(&self, zone: Zone) -> bool {
        self.zones[zone.index()].nodes.iter().all(|lists| {
            let marked = |bucket: usize| lists.filled >> bucket & 1 != 0;
            let mut heads = lists.buckets.iter().enumerate();
            heads.all(|(bucket, head)| marked(bucket) == head.is_some())
        })
    }
}

/// The highest zone with a frame below the demand's limit.
#[inline]
pub(super) fn highest<const PAGE_SIZE: usize>(demand: &Demand) -> Zone {
    if demand.limit > Zone::Normal.first::<PAGE_SIZE>() {
        Zone::Normal
    } else if demand.limit > Zone::Dma32.first::<PAGE_SIZE>() {
        Zone::Dma32
    } else {
        Zone::Dma
    }
}
