//! A section: contiguous pages of one zone that describe themselves.
//!
//! The header and all metadata lie in front of the managed pages (see [`layout`](super::layout)).
//! What a free from another CPU reads without a lock is immutable or atomic; the rest is in
//! `Cell`s and belongs to whoever owns the allocator, by `&mut` or by lock.
//!
//! Pages from the **frontier** up have never been needed, and nobody reads their metadata. They
//! count as free. The frontier moves up by chunks of 16 MiB, over metadata that was initialised for it.

use core::cell::Cell;
use core::mem::offset_of;
use core::ops::{Deref, Range};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicPtr, AtomicU8, AtomicUsize, Ordering};

use super::call_back::scarce_below;
use super::frame::{Order, Pfn, largest_block};
use super::layout::{LINE, SLAB_GRAIN, slab_order};
use super::level::Level;
use super::node::Node;
use super::region::Piece;
use super::slab_window::SlabWindow;
use super::state::{Kind, PageFlags, PageState};
use super::tree::FreeTree;
use super::zone::Zone;
use crate::{AllocError, AllocResult};

/// The order of a chunk, the unit in which metadata is initialised: exactly one node of the tree's
/// second level, 22 KiB of metadata for 16 MiB of memory.
pub(super) const CHUNK: Order = match Order::new(12) {
    Some(order) => order,
    None => panic!("an order"),
};

/// The header of a section.
#[repr(C, align(64))]
pub(crate) struct Section {
    /// First managed address.
    start: usize,
    /// One past the last managed address.
    end: usize,
    /// Links of the section index.
    pub(super) lower: AtomicPtr<Section>,
    pub(super) higher: AtomicPtr<Section>,
    states: NonNull<AtomicU8>,
    first: Pfn,
    frontier: AtomicUsize,

    slabs: SlabWindow,

    /// The next section by address.
    pub(super) next_by_address: AtomicPtr<Section>,
    /// First byte of the metadata; the pointer may be used for all bytes up to `end`.
    hold: NonNull<u8>,
    limit: Pfn,
    zone: Zone,
    node: Node,
    max_order: Order,
    pub(super) page_size: usize,

    pub(super) free: Cell<usize>,
    /// The end of the chunks whose metadata is initialised: the frontier, or above.
    prepared: Cell<Pfn>,
    /// While fewer pages are free, blocks are [called back](super::call_back). None are where there are no caches.
    pub(super) scarce_below: usize,
    /// The section is about to be removed: nothing is allocated here any more.
    pub(super) closing: Cell<bool>,
    /// The largest block in the pages above the frontier, as a bit; or no bit.
    pub(super) untouched: Cell<u32>,
    /// How many sections came before this one.
    pub(super) number: Cell<u32>,
    /// The links of the zone's list for sections with the same largest block.
    pub(super) bucket: Cell<u32>,
    pub(super) bucket_next: Cell<Option<SectionRef>>,
    pub(super) bucket_previous: Cell<Option<SectionRef>>,
    tree: FreeTree,
}

// A lookup and a checked free read the header's first line only.
const _: () = assert!(usize::BITS != 64 || offset_of!(Section, frontier) + 8 <= LINE);

/// The bytes of a header.
pub(super) const HEADER: usize = size_of::<Section>();

/// A section that is managed. Removal of the section ends the life of every copy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SectionRef(NonNull<Section>);

impl SectionRef {
    #[inline]
    pub(super) fn from_ptr(ptr: *mut Section) -> Option<Self> {
        NonNull::new(ptr).map(Self)
    }

    #[inline]
    pub(super) const fn as_ptr(self) -> *mut Section {
        self.0.as_ptr()
    }
}

impl Deref for SectionRef {
    type Target = Section;

    #[inline]
    fn deref(&self) -> &Section {
        // SAFETY: `Section::create` initialised the header, nothing makes a `&mut Section`, and
        // the memory stays the allocator's until the section is removed.
        unsafe { self.0.as_ref() }
    }
}

impl Section {
    /// Writes the header of a new section. The cost does not depend on the number of pages.
    ///
    /// # Safety
    ///
    /// `hold` points to the piece's first byte, may be used for all of it, and nobody else uses
    /// that memory until the section is removed.
    pub(super) unsafe fn create(hold: NonNull<u8>, piece: &Piece, has_caches: bool) -> SectionRef {
        let layout = piece.layout();
        // SAFETY: every offset of the layout lies in the piece's metadata.
        let at = |offset: usize| unsafe { hold.add(offset) };
        let levels = core::array::from_fn(|level| {
            let (offset, first) = layout.levels[level];
            Level::new(level, at(offset).cast(), first)
        });
        // SAFETY: the layout gives each level its own room and at most 64 nodes to the highest.
        let tree = unsafe { FreeTree::new(levels, layout.depth) };
        let grain = piece.first.block(slab_order(piece.page_size));
        let before = piece.first.since(grain);
        let section = Self {
            start: piece.start,
            end: piece.end,
            lower: AtomicPtr::default(),
            higher: AtomicPtr::default(),
            states: at(layout.states).cast(),
            slabs: SlabWindow {
                start: piece.start - before * piece.page_size,
                len: AtomicUsize::new(0),
                entries: at(layout.slabs).cast(),
            },
            first: piece.first,
            frontier: AtomicUsize::new(piece.first.number()),
            next_by_address: AtomicPtr::default(),
            hold,
            limit: piece.limit,
            zone: piece.zone,
            node: piece.node,
            max_order: layout.max_order,
            page_size: piece.page_size,
            free: Cell::new(piece.limit.since(piece.first)),
            prepared: Cell::new(piece.first),
            scarce_below: scarce_below(piece, has_caches),
            closing: Cell::new(false),
            untouched: Cell::new(1 << layout.max_order.log2()),
            number: Cell::new(0),
            bucket: Cell::new(0),
            bucket_next: Cell::new(None),
            bucket_previous: Cell::new(None),
            tree,
        };
        let header = hold.cast::<Self>();
        debug_assert!(header.is_aligned());
        // SAFETY: the header's room is the first part of the metadata, a piece begins on a page.
        unsafe { header.write(section) };
        SectionRef(header)
    }

    /// First managed address.
    #[inline]
    pub(crate) const fn start(&self) -> usize {
        self.start
    }

    /// One past the last managed address.
    #[inline]
    pub(crate) const fn end(&self) -> usize {
        self.end
    }

    /// First address of the metadata.
    #[inline]
    pub(super) fn hold(&self) -> usize {
        self.hold.addr().get()
    }

    /// All of the section's memory.
    pub(super) fn memory(&self) -> Range<usize> {
        self.hold()..self.end
    }

    #[inline]
    pub(crate) const fn first(&self) -> Pfn {
        self.first
    }

    #[inline]
    pub(crate) const fn limit(&self) -> Pfn {
        self.limit
    }

    #[inline]
    pub(super) fn frontier(&self) -> Pfn {
        Pfn::new(self.frontier.load(Ordering::Acquire))
    }

    #[inline]
    pub(super) const fn prepared(&self) -> Pfn {
        self.prepared.get()
    }

    #[inline]
    pub(crate) const fn zone(&self) -> Zone {
        self.zone
    }

    /// The node that all of the section lies on.
    #[inline]
    pub(super) const fn node(&self) -> Node {
        self.node
    }

    #[inline]
    pub(super) const fn max_order(&self) -> Order {
        self.max_order
    }

    #[inline]
    pub(super) const fn tree(&self) -> &FreeTree {
        &self.tree
    }

    #[inline]
    pub(crate) const fn pages(&self) -> usize {
        self.limit.since(self.first)
    }

    #[inline]
    pub(crate) fn free_pages(&self) -> usize {
        self.free.get()
    }

    #[inline]
    pub(crate) const fn contains(&self, addr: usize) -> bool {
        self.start <= addr && addr < self.end
    }

    /// The frame of a managed address.
    #[inline]
    pub(crate) const fn pfn<const PAGE_SIZE: usize>(&self, addr: usize) -> Pfn {
        self.first.add((addr - self.start) / PAGE_SIZE)
    }

    /// The address of a managed frame.
    #[inline]
    pub(crate) const fn addr<const PAGE_SIZE: usize>(&self, pfn: Pfn) -> usize {
        self.start + pfn.since(self.first) * PAGE_SIZE
    }

    /// A pointer to a managed address, good for everything up to the section's end.
    #[inline]
    pub(crate) fn ptr(&self, addr: usize) -> NonNull<u8> {
        debug_assert!(self.contains(addr));
        // SAFETY: managed addresses lie behind `hold` in the same piece of memory.
        unsafe { self.hold.add(addr - self.hold()) }
    }

    /// What begins at a frame of the section.
    #[inline]
    pub(crate) fn state(&self, pfn: Pfn) -> PageState {
        if pfn >= self.frontier() {
            return PageState::NOTHING;
        }
        PageState::from_byte(self.state_byte(pfn).load(Ordering::Relaxed))
    }

    #[inline]
    pub(crate) fn set_state(&self, pfn: Pfn, state: PageState) {
        debug_assert!(pfn < self.frontier());
        self.state_byte(pfn)
            .store(state.to_byte(), Ordering::Relaxed);
    }

    /// The state byte of a frame below the frontier. It stays where it is as long as the section.
    #[inline]
    pub(super) fn state_byte(&self, pfn: Pfn) -> &AtomicU8 {
        // SAFETY: the byte is initialised, because callers stay below the frontier, and nothing
        // but atomics refers to it from then on.
        unsafe { self.state_ptr(pfn).as_ref() }
    }

    /// The state bytes of all frames.
    pub(super) const fn states(&self) -> NonNull<AtomicU8> {
        self.states
    }

    #[inline]
    fn state_ptr(&self, pfn: Pfn) -> NonNull<AtomicU8> {
        debug_assert!(self.first <= pfn && pfn < self.limit);
        // SAFETY: there is a byte for every frame of the section.
        unsafe { self.states.add(pfn.since(self.first)) }
    }

    /// The distance of a frame, or of the section's end, from the start of the slab window.
    pub(super) fn slab_offset(&self, pfn: Pfn) -> usize {
        self.start - self.slabs.start + pfn.since(self.first) * self.page_size
    }

    /// Where to look for slab descriptors.
    #[inline]
    pub(crate) const fn slabs(&self) -> &SlabWindow {
        &self.slabs
    }

    /// What the page at a frame of the section is used for.
    pub(super) fn flags(&self, pfn: Pfn) -> PageFlags {
        match self.head(pfn).map(|(_, state)| state.kind()) {
            None | Some(Kind::Cached) => PageFlags::Free,
            Some(Kind::Slab) => PageFlags::Slab,
            Some(_) => PageFlags::Allocated,
        }
    }

    /// Makes the allocated block at `pfn` a slab or an ordinary block.
    pub(super) fn set_flags(&self, pfn: Pfn, flags: PageFlags) -> AllocResult {
        match flags {
            PageFlags::Free => Err(AllocError::InvalidParam),
            PageFlags::Allocated => self.set_slab(pfn, core::ptr::null_mut()),
            PageFlags::Slab => {
                let order = self.order_of_slab(pfn)?;
                self.set_state(pfn, PageState::new(Kind::Slab, order));
                Ok(())
            }
        }
    }

    /// The state of the allocated block that a frame of the section lies in.
    pub(super) fn head(&self, pfn: Pfn) -> Option<(Pfn, PageState)> {
        Order::all()
            .filter(|order| *order <= self.max_order)
            .map(|order| (order, pfn.block(order)))
            .take_while(|(_, start)| self.first <= *start)
            .map(|(order, start)| (order, start, self.state(start)))
            .find(|(order, _, state)| state.kind() != Kind::Nothing && *order <= state.order())
            .map(|(_, start, state)| (start, state))
    }

    /// Initialises the metadata of one more chunk. Its frames stay above the frontier.
    pub(super) fn prepare_chunk(&self) {
        let from = self.prepared();
        debug_assert!(from < self.limit);
        let to = self.chunk_end(from.add(1));
        // SAFETY: what is prepared grows from the section's first frame to its limit.
        unsafe { self.tree.prepare(from, to, from == self.first) };
        // SAFETY: the bytes of these frames exist, and above the frontier nobody reads them.
        unsafe { self.state_ptr(from).write_bytes(0, to.since(from)) };
        let begin = self.slab_offset(from) / SLAB_GRAIN;
        let end = self.slab_offset(to).div_ceil(SLAB_GRAIN);
        // SAFETY: there is an entry for every grain that a frame of the section lies in.
        let entries = unsafe { self.slabs.entries.add(begin) };
        // SAFETY: as above, and a chunk begins on a grain (or is the section's first), so none of
        // these is in use. Zero is the null pointer.
        unsafe { entries.write_bytes(0, end - begin) };
        self.prepared.set(to);
    }

    /// Moves the frontier up to `to`, the end of a chunk that is prepared. The frames it moves over were free before
    /// and are free still, but in no block yet: the caller inserts them.
    pub(super) fn move_frontier(&self, to: Pfn) {
        debug_assert!(self.frontier() < to && to <= self.prepared());
        let end = self.slab_offset(to);
        self.slabs
            .len
            .store(end - end % SLAB_GRAIN, Ordering::Release);
        let untouched = largest_block(to, self.limit, self.max_order);
        self.untouched
            .set(untouched.map_or(0, |order| 1 << order.log2()));
        // Publishes the cleared metadata to readers without the lock.
        self.frontier.store(to.number(), Ordering::Release);
    }
}
