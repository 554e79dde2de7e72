//! The page allocator for one owner.

use core::ops::Range;
use core::ptr::NonNull;

use super::frame::{Order, Pfn};
use super::index::SectionIndex;
use super::info::{BuddyInfo, ManagedSection};
use super::layout::Layout;
use super::node::Node;
use super::region::RegionReport;
use super::request::{Demand, PageRequest, align_order};
use super::section::{HEADER, SectionRef};
use super::state::PageFlags;
use super::validate::{self, Violation};
use super::zones::Zones;
use crate::{AllocError, AllocResult};

/// A buddy allocator over any number of regions, for a single owner.
///
/// Blocks are aligned to their size, physically and virtually. A request takes the smallest
/// sufficient block at the lowest address of the highest zone that has one. All sizes that can be
/// asked for and given back cost at most a split or merge per order; nothing walks free memory.
///
/// Every free is checked. An address that is in no section is [`NotFound`](AllocError::NotFound),
/// one inside a page or a count that [does not fit](Self::dealloc_pages) the allocation is
/// [`InvalidParam`](AllocError::InvalidParam), a page that is free or not the first of its
/// allocation is [`NotAllocated`](AllocError::NotAllocated); the state is then unchanged.
///
/// Addresses are plain numbers here, and no safe call reads or writes allocated memory. Whoever
/// turns an address into a reference answers for nobody freeing it meanwhile.
///
/// ```
/// # use twinframe::{AllocError, BuddyAllocator};
/// # let mut memory = vec![0u8; 1 << 20];
/// let mut pages = BuddyAllocator::<0x1000>::new();
/// // SAFETY: the memory outlives the allocator and is used through it only.
/// unsafe { pages.init(&mut memory) }?;
///
/// let addr = pages.alloc_pages(4, 0)?;
/// assert_eq!(addr % 0x4000, 0);
/// pages.dealloc_pages(addr, 4)?;
/// assert_eq!(pages.dealloc_pages(addr, 4), Err(AllocError::NotAllocated));
/// # Ok::<(), AllocError>(())
/// ```
pub struct BuddyAllocator<const PAGE_SIZE: usize = 0x1000> {
    index: SectionIndex,
    zones: Zones<PAGE_SIZE>,
    /// Where the last free was; the next one is often there too.
    recent: Option<SectionRef>,
}

// SAFETY: the sections belong to the allocator alone, on whatever CPU it is; a shared reference
// only reads.
unsafe impl<const PAGE_SIZE: usize> Send for BuddyAllocator<PAGE_SIZE> {}

impl<const PAGE_SIZE: usize> Default for BuddyAllocator<PAGE_SIZE> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const PAGE_SIZE: usize> BuddyAllocator<PAGE_SIZE> {
    /// An allocator without memory.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            index: SectionIndex::new(),
            zones: Zones::new(),
            recent: None,
        }
    }

    /// Metadata that is enough for `heap_size` bytes in one section, in bytes.
    #[must_use]
    pub const fn required_meta_size(heap_size: usize) -> usize {
        Layout::bound(HEADER, heap_size / PAGE_SIZE, PAGE_SIZE)
    }

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
    pub unsafe fn init(&mut self, region: &mut [u8]) -> AllocResult {
        if self.index.len() != 0 {
            return Err(AllocError::AlreadyInitialized);
        }
        // SAFETY: passed on to the caller.
        unsafe { self.add_region(region) }
    }

    /// Adds memory whose physical addresses are its virtual ones. Both ends may be unaligned.
    ///
    /// # Errors
    ///
    /// As [`add_region_at`](Self::add_region_at).
    ///
    /// # Safety
    ///
    /// As for `add_region_at`.
    pub unsafe fn add_region(&mut self, region: &mut [u8]) -> AllocResult {
        let phys = region.as_mut_ptr().addr() as u64;
        // SAFETY: passed on to the caller.
        unsafe { self.add_region_at(NonNull::from(region), phys) }.map(|_| ())
    }

    /// Adds memory that lies at `phys` physically. It is cut at the borders of zones; each piece
    /// keeps its metadata in its own first pages. The cost does not depend on the length.
    ///
    /// Where the distance between virtual and physical addresses is no multiple of the largest
    /// block, blocks are limited to sizes that are aligned in both.
    ///
    /// # Errors
    ///
    /// - [`InvalidParam`](AllocError::InvalidParam): the region is too small to manage a page, or
    ///   reaches the end of the address space, or has virtual and physical addresses that differ
    ///   inside a page; where `usize` has 32 bits, also if it ends less than 4 GiB below 16 TiB of
    ///   physical memory, or above;
    /// - [`MemoryOverlap`](AllocError::MemoryOverlap): it overlaps managed memory, by virtual or by
    ///   physical address.
    ///
    /// # Safety
    ///
    /// The region is mapped, writable, contiguous from `phys` on, and used by nobody else until its
    /// sections are removed again or, if they never are, for as long as the allocator exists.
    pub unsafe fn add_region_at(
        &mut self,
        region: NonNull<[u8]>,
        phys: u64,
    ) -> AllocResult<RegionReport> {
        // SAFETY: passed on to the caller.
        unsafe {
            self.zones
                .add_region(&self.index, region, phys, Node::FIRST)
        }
    }

    /// Gives up the section that manages `addr` and returns its memory, metadata included, as the
    /// range of addresses that is the caller's again.
    ///
    /// # Errors
    ///
    /// [`NotFound`](AllocError::NotFound): no section has the address;
    /// [`Busy`](AllocError::Busy): the section has pages out.
    pub fn remove_section(&mut self, addr: usize) -> AllocResult<Range<usize>> {
        let section = self.index.find(addr).ok_or(AllocError::NotFound)?;
        self.zones.remove(&self.index, section)?;
        self.index.remove(section);
        self.recent = None;
        Ok(section.memory())
    }

    /// Allocates `count` pages, rounded up to a power of two and aligned to their size and to
    /// `align` bytes (a power of two; 0 means one page). Returns the virtual address.
    ///
    /// An alignment beyond the size needs a free block as large as the alignment; the rest of it
    /// stays free.
    ///
    /// # Errors
    ///
    /// - [`InvalidParam`](AllocError::InvalidParam): a count of 0 or beyond `1 << MAX_ORDER`, an
    ///   alignment that is no power of two, below a page, or beyond the largest block;
    /// - [`NotInitialized`](AllocError::NotInitialized): there is no section;
    /// - [`NoMemory`](AllocError::NoMemory): no free block is large enough.
    #[inline]
    pub fn alloc_pages(&mut self, count: usize, align: usize) -> AllocResult<usize> {
        let order = Order::covering(count).ok_or(AllocError::InvalidParam)?;
        let need = order.max(align_order::<PAGE_SIZE>(align)?);
        self.take(&Demand::block(order, need))
    }

    /// [`alloc_pages`](Self::alloc_pages) without the rounding: exactly `count` pages.
    ///
    /// # Errors
    ///
    /// As `alloc_pages`. There must be a block for the rounded count, if only to take a part of it.
    pub fn alloc_pages_exact(&mut self, count: usize, align: usize) -> AllocResult<usize> {
        self.allocate(&PageRequest::new(count).align(align).exact())
    }

    /// [`alloc_pages`](Self::alloc_pages) physically below 4 GiB, at the same cost.
    ///
    /// # Errors
    ///
    /// As `alloc_pages`.
    pub fn alloc_pages_lowmem(&mut self, count: usize, align: usize) -> AllocResult<usize> {
        self.allocate(&PageRequest::new(count).align(align).lowmem())
    }

    /// Allocates what the request describes.
    ///
    /// # Errors
    ///
    /// As [`alloc_pages`](Self::alloc_pages).
    pub fn allocate(&mut self, request: &PageRequest) -> AllocResult<usize> {
        let demand = request.check::<PAGE_SIZE>()?;
        let addr = self.take(&demand)?;
        if request.zeroed
            && let Some(section) = self.index.find(addr)
        {
            // SAFETY: the pages lie in the section and are nobody's but the caller's to be.
            unsafe { section.ptr(addr).write_bytes(0, demand.count * PAGE_SIZE) };
        }
        Ok(addr)
    }

    /// Allocates exactly the `count` pages at `addr`, which is aligned to `align`.
    ///
    /// # Errors
    ///
    /// - [`InvalidParam`](AllocError::InvalidParam): as [`alloc_pages`](Self::alloc_pages), and an
    ///   address that is not aligned to `align` or to a page;
    /// - [`NotFound`](AllocError::NotFound): no section has the address;
    /// - [`NoMemory`](AllocError::NoMemory): not all of these pages are free and in one section.
    pub fn alloc_pages_at(
        &mut self,
        addr: usize,
        count: usize,
        align: usize,
    ) -> AllocResult<usize> {
        Order::covering(count).ok_or(AllocError::InvalidParam)?;
        align_order::<PAGE_SIZE>(align)?;
        if !addr.is_multiple_of(align.max(PAGE_SIZE)) {
            return Err(AllocError::InvalidParam);
        }
        let (section, pfn) = self.locate(addr)?;
        while let Err(error) = self.zones.allocate_at(section, pfn, count) {
            if !self.zones.advance() {
                return Err(error);
            }
        }
        Ok(addr)
    }

    #[inline]
    fn take(&mut self, demand: &Demand) -> AllocResult<usize> {
        loop {
            match self.zones.allocate(demand, Node::FIRST) {
                Ok((section, pfn)) => return Ok(section.addr::<PAGE_SIZE>(pfn)),
                Err(_) if self.zones.advance() => {}
                Err(_) if self.index.len() == 0 => return Err(AllocError::NotInitialized),
                Err(error) => return Err(error),
            }
        }
    }

    /// Frees what was allocated at `addr`. `count` is the count of the allocation, or any other that
    /// is rounded up to the same power of two, if the allocation is one block: an ordinary one, or an
    /// exact count that is a power of two. Any other exact count has to be the same.
    ///
    /// # Errors
    ///
    /// See the [type](Self); the state is unchanged.
    #[inline]
    pub fn dealloc_pages(&mut self, addr: usize, count: usize) -> AllocResult {
        let section = match self.recent {
            Some(section) if section.contains(addr) => section,
            _ => self.index.find(addr).ok_or(AllocError::NotFound)?,
        };
        if !addr.is_multiple_of(PAGE_SIZE) || count == 0 {
            return Err(AllocError::InvalidParam);
        }
        self.recent = Some(section);
        self.zones
            .free_pages(section, section.pfn::<PAGE_SIZE>(addr), count)
    }

    /// The section and frame of a page address.
    fn locate(&self, addr: usize) -> AllocResult<(SectionRef, Pfn)> {
        let section = self.index.find(addr).ok_or(AllocError::NotFound)?;
        if !addr.is_multiple_of(PAGE_SIZE) {
            return Err(AllocError::InvalidParam);
        }
        Ok((section, section.pfn::<PAGE_SIZE>(addr)))
    }

    /// How many sections are managed.
    #[must_use]
    pub fn section_count(&self) -> usize {
        self.index.len()
    }

    /// The `i`-th section by address.
    #[must_use]
    pub fn section(&self, i: usize) -> Option<ManagedSection> {
        self.index
            .iter()
            .nth(i)
            .map(ManagedSection::new::<PAGE_SIZE>)
    }

    /// Pages under management.
    #[must_use]
    pub fn total_pages(&self) -> usize {
        self.zones.total_pages()
    }

    /// Pages that are free, untouched ones included.
    #[must_use]
    pub fn free_pages(&self) -> usize {
        self.zones.total_free()
    }

    /// Bytes that can be allocated when nothing is: metadata does not count.
    #[must_use]
    pub fn managed_bytes(&self) -> usize {
        self.total_pages() * PAGE_SIZE
    }

    /// Bytes in allocated pages.
    #[must_use]
    pub fn allocated_bytes(&self) -> usize {
        (self.total_pages() - self.free_pages()) * PAGE_SIZE
    }

    /// Free blocks per zone and order.
    #[must_use]
    pub fn buddyinfo(&self) -> BuddyInfo {
        BuddyInfo::new(Node::FIRST, self.index.iter(), &self.zones)
    }

    /// What the page at `addr` is used for.
    ///
    /// # Errors
    ///
    /// [`NotFound`](AllocError::NotFound) for an address in no section,
    /// [`InvalidParam`](AllocError::InvalidParam) for one that begins no page.
    pub fn page_flags(&self, addr: usize) -> AllocResult<PageFlags> {
        let (section, pfn) = self.locate(addr)?;
        Ok(section.flags(pfn))
    }

    /// Marks the allocated block at `addr` as a slab, with the descriptor it has, or as no slab: then
    /// it has none any more.
    ///
    /// # Errors
    ///
    /// As [`set_slab`](Self::set_slab); [`InvalidParam`](AllocError::InvalidParam) for
    /// [`PageFlags::Free`]: freeing is done by [`dealloc_pages`](Self::dealloc_pages).
    ///
    /// # Safety
    ///
    /// The caller owns the block.
    pub unsafe fn set_page_flags(&mut self, addr: usize, flags: PageFlags) -> AllocResult {
        let (section, pfn) = self.locate(addr)?;
        section.set_flags(pfn, flags)
    }

    /// Makes the allocated block at `addr`, of 8 KiB or more, the slab that `descriptor`
    /// describes, or an ordinary block again when `descriptor` is null.
    ///
    /// A slab is not freed by [`dealloc_pages`](Self::dealloc_pages): that is
    /// [`NotAllocated`](AllocError::NotAllocated) until it is an ordinary block again.
    ///
    /// # Errors
    ///
    /// [`NotFound`](AllocError::NotFound): no section has the address;
    /// [`NotAllocated`](AllocError::NotAllocated): no single block was allocated there;
    /// [`InvalidParam`](AllocError::InvalidParam): it is smaller than 8 KiB, or the address
    /// is misaligned.
    ///
    /// # Safety
    ///
    /// The caller owns the block.
    pub unsafe fn set_slab(&mut self, addr: usize, descriptor: *mut ()) -> AllocResult {
        let (section, pfn) = self.locate(addr)?;
        section.set_slab(pfn, descriptor)
    }

    /// The descriptor of the slab that `addr`, any address inside it, belongs to. Two loads behind
    /// the section lookup; does not read the memory at `addr`.
    #[must_use]
    #[inline]
    pub fn slab_of(&self, addr: usize) -> Option<NonNull<()>> {
        let section = self.index.find(addr)?;
        NonNull::new(section.slabs().slab(addr))
    }

    /// Walks everything and checks every invariant. Costs time in proportion to the pages ever
    /// used.
    ///
    /// # Errors
    ///
    /// The first violation found.
    pub fn validate(&self) -> Result<(), Violation> {
        validate::validate(&self.index, &self.zones)
    }
}
