//! Objects for all CPUs: the ways that usually suffice.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use super::super::size_class::SizeClass;
use super::cpu::CpuState;
use super::depot::Depot;
use super::descriptor::Descriptors;
use super::entry::Entry;
use super::exclusive::Claimant;
use super::quarantine::{Quarantine, quarantine};
use crate::pages::{FrameAllocator, MAX_NODES, Passes};
use crate::percpu::CpuTable;
use crate::sync::{IrqLock, Pinned};
use crate::{AllocResult, Platform};

/// The object layer above pages that are shared. Every call names the pages that it is above,
/// always the same.
pub(crate) struct ObjectAllocator<P: Platform, const PAGE_SIZE: usize> {
    pub(super) cpus: CpuTable<CpuState<P>>,
    /// Null until a second CPU arrives: one alone exchanges batches with nobody.
    pub(super) depots: [AtomicPtr<Depot>; MAX_NODES],
    /// Held while the state of a CPU is made.
    pub(super) arrivals: IrqLock<P, ()>,
    /// Lock order: a heap, then this, then those of the pages.
    pub(super) descriptors: IrqLock<P, Descriptors<PAGE_SIZE>>,
    /// Makes the mark of a free object unpredictable.
    pub(super) key: AtomicUsize,
    /// Who has claimed magazines.
    pub(super) claimant: Claimant,
    /// Drains, each for everybody who asked before it began.
    pub(super) passes: Passes,
    /// How many contexts have objects in hand that are free, on their way to their slabs.
    pub(super) moving: AtomicUsize,
    /// Free objects that are not used again yet.
    pub(super) quarantine: Quarantine<P>,
    /// How often a magazine was shuffled.
    pub(super) shuffles: AtomicUsize,
}

// SAFETY: per-CPU states are reached by the protocols of `cpu`, slabs under locks.
unsafe impl<P: Platform, const PAGE_SIZE: usize> Sync for ObjectAllocator<P, PAGE_SIZE> {}

// SAFETY: nothing refers to the thread or CPU that made it.
unsafe impl<P: Platform, const PAGE_SIZE: usize> Send for ObjectAllocator<P, PAGE_SIZE> {}

impl<P: Platform, const PAGE_SIZE: usize> ObjectAllocator<P, PAGE_SIZE> {
    /// Slabs know their owner by a number of 16 bits.
    ///
    /// ```compile_fail,E0080
    /// use twinframe::{GlobalAllocator, Platform};
    ///
    /// struct Crowd;
    ///
    /// // SAFETY: it is not used.
    /// unsafe impl Platform for Crowd {
    ///     const MAX_CPUS: usize = (1 << 16) + 1;
    ///     type IrqState = ();
    ///     fn cpu_id() -> usize {
    ///         0
    ///     }
    ///     fn virt_to_phys(virt: usize) -> u64 {
    ///         virt as u64
    ///     }
    ///     fn phys_to_virt(phys: u64) -> usize {
    ///         phys as usize
    ///     }
    ///     fn irq_save() {}
    ///     unsafe fn irq_restore(_: ()) {}
    ///     fn heavy_barrier() {}
    /// }
    ///
    /// static HEAP: GlobalAllocator<Crowd> = GlobalAllocator::new();
    /// # fn main() {}
    /// ```
    const OWNERS_HAVE_16_BITS: () = assert!(
        P::MAX_CPUS <= 1 << 16,
        "MAX_CPUS is at most 65536 where objects are allocated"
    );

    pub(crate) const fn new() -> Self {
        () = Self::OWNERS_HAVE_16_BITS;
        Self {
            cpus: CpuTable::new(),
            depots: [const { AtomicPtr::new(core::ptr::null_mut()) }; MAX_NODES],
            arrivals: IrqLock::new(()),
            descriptors: IrqLock::new(Descriptors::new()),
            key: AtomicUsize::new(0),
            claimant: Claimant::nobody(),
            passes: Passes::new(),
            moving: AtomicUsize::new(0),
            quarantine: quarantine(),
            shuffles: AtomicUsize::new(0),
        }
    }

    /// Allocates an object of `class`.
    ///
    /// # Errors
    ///
    /// `NotInitialized` if there are no pages; `NoMemory`.
    #[inline]
    pub(crate) fn alloc(
        &self,
        frames: &FrameAllocator<P, PAGE_SIZE>,
        class: SizeClass,
    ) -> AllocResult<NonNull<u8>> {
        match self.pop(class) {
            Some(object) => Ok(object),
            None => self.alloc_slowly(frames, class),
        }
    }

    /// Takes an object from this CPU's magazine.
    #[inline]
    pub(crate) fn pop(&self, class: SizeClass) -> Option<NonNull<u8>> {
        let _pinned = Pinned::<P>::new();
        // SAFETY: this is the CPU of that state, and it is pinned.
        let turn = unsafe { CpuState::enter_own(self.cpus.own_or_absent::<P>()) }?;
        let object = turn.pop(class)?;
        drop(turn);
        Some(hand_out::<P>(object))
    }

    /// Frees the object at `addr`.
    ///
    /// # Errors
    ///
    /// Nothing changes if the free is refused: `NotFound` if no slab covers `addr`; `InvalidParam` if
    /// the slab is of another class; `NotAllocated` if `addr` is not the first byte of an
    /// object, or the object is free.
    ///
    /// # Safety
    ///
    /// If `addr` is an object, nobody uses it any more.
    #[inline]
    pub(crate) unsafe fn free(
        &self,
        frames: &FrameAllocator<P, PAGE_SIZE>,
        addr: usize,
        class: SizeClass,
    ) -> AllocResult {
        if self.push(addr, class) {
            return Ok(());
        }
        self.free_slowly(frames, addr, class)
    }

    /// Puts an object into this CPU's magazine, if all is well with it and there is room.
    #[expect(clippy::inline_always, reason = "half the cost of a free, as measured")]
    #[inline(always)]
    pub(crate) fn push(&self, addr: usize, class: SizeClass) -> bool {
        let _pinned = Pinned::<P>::new();
        // SAFETY: this is the CPU of that state, and it is pinned.
        let Some(turn) = (unsafe { CpuState::enter_own(self.cpus.own_or_absent::<P>()) }) else {
            return false;
        };
        let Some(place) = turn.place(class) else {
            return false;
        };
        // SAFETY: where there is a place, there are magazines.
        let entry = Entry(unsafe { turn.entry(addr) });
        if !entry.admits::<PAGE_SIZE>(addr, class) {
            return false;
        }
        let mark = self.mark_of(addr);
        if has_mark(addr, mark) {
            return false;
        }
        // Nobody looks into the magazine before the turn is over.
        place.put(addr);
        write_mark(addr, mark);
        true
    }

    /// The word that begins a free object.
    #[inline]
    pub(super) fn mark_of(&self, addr: usize) -> usize {
        self.key.load(Ordering::Relaxed) ^ addr
    }

    /// Whether the object at `addr`, which a slab covers, is free. Its section must not go meanwhile. A live
    /// object has that word with a probability of one in 2 to the bits of a word, as long as its user does not
    /// know the key.
    pub(super) fn is_marked(&self, addr: usize) -> bool {
        has_mark(addr, self.mark_of(addr))
    }

    /// Marks an object as free.
    pub(super) fn mark(&self, addr: usize) {
        write_mark(addr, self.mark_of(addr));
    }
}

/// Whether an object begins with `mark`.
#[inline]
fn has_mark(addr: usize, mark: usize) -> bool {
    let word = core::ptr::with_exposed_provenance::<usize>(addr);
    // SAFETY: slab memory is readable as long as its section stays; `addr` was checked to begin an object, so it is aligned.
    // Its user has given it up, or calls wrongly and may race with this read.
    unsafe { word.read_volatile() == mark }
}

/// Lets an object begin with `mark`.
#[inline]
fn write_mark(addr: usize, mark: usize) {
    let word = core::ptr::with_exposed_provenance_mut::<usize>(addr);
    // SAFETY: the object is free, so its memory is the allocator's; it is aligned.
    unsafe { word.write(mark) };
}

/// Makes a free object one that is in use: takes its mark away, unless somebody wants to see it (see
/// [`freed`](super::freed)).
#[inline]
pub(super) fn hand_out<P: Platform>(object: usize) -> NonNull<u8> {
    let word = core::ptr::with_exposed_provenance_mut::<usize>(object);
    if !P::HARDENING.keeps_marks() {
        // SAFETY: the object was free, so its memory is the allocator's; it is aligned and not null.
        unsafe { word.write(0) };
    }
    // SAFETY: objects do not lie at address 0.
    unsafe { NonNull::new_unchecked(word.cast()) }
}
