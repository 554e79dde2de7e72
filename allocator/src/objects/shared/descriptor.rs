//! The descriptor of a slab that several CPUs share.
//!
//! ```text
//! | Shared: owner, class, count, link | remote bits | pad | Slab: base, lists, counts | bits | pad |
//!   read by all, written by others' frees                   the owner's, under its lock
//! ```
//!
//! The two parts lie on different cache lines, so frees from elsewhere do not disturb the owner; where
//! a word has a bit for each object, both fit into one line, which is less to fetch for either.
//! The number of words depends on the class; descriptors come in five lengths.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU16, Ordering};

use super::super::bits::{self, MOST_WORDS, Word};
use super::super::chunk::{ChunkRef, Chunks};
use super::super::size_class::SizeClass;
use super::super::slab::{Arena, Slab, SlabRef};
use super::atomic::{AtomicPtr, AtomicU32, AtomicUsize as AtomicWord};

const LINE: usize = 64;

/// What every CPU may read of a slab. The remote bits follow.
#[repr(C)]
pub(crate) struct Shared {
    /// The next slab in the owner's queue.
    pub(super) next: AtomicPtr<Self>,
    /// How many remote frees are published.
    pub(super) count: AtomicU32,
    owner: AtomicU16,
    class: AtomicU16,
    /// Read with every access and written when the descriptor goes, so that the model checker
    /// sees an access that may come too late.
    #[cfg(loom)]
    alive: loom::cell::UnsafeCell<()>,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<usize>() != 8 || size_of::<Shared>() == 16);

/// Names a descriptor that is in use.
///
/// Invariant: until it is given back, it leads to a slot that holds a `Shared`, its remote bits, and
/// the owner's part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct SharedRef(NonNull<Shared>);

/// Bytes before the remote bits.
const HEAD: usize = size_of::<Shared>().next_multiple_of(align_of::<AtomicWord>());

/// The shape of the descriptors of a class.
#[derive(Clone, Copy)]
struct Shape {
    /// How many words of bits there are.
    words: u16,
    /// Offset of the owner's part.
    own: u16,
    /// The length, as a place in [`LENGTHS`].
    kind: u16,
}

/// How many words the descriptors of each length have at most.
const LENGTHS: [usize; 5] = [1, 4, 11, 16, MOST_WORDS];

impl Shape {
    #[expect(clippy::cast_possible_truncation, reason = "a few hundred bytes")]
    const fn new(words: usize) -> Self {
        let mut kind = 0;
        while LENGTHS[kind] < words {
            kind += 1;
        }
        Self {
            words: words as u16,
            own: own_part(words) as u16,
            kind: kind as u16,
        }
    }

    #[inline]
    fn of<const PAGE_SIZE: usize>(class: SizeClass) -> &'static Self {
        let all: &'static [Self; SizeClass::COUNT] = &Shapes::<PAGE_SIZE>::ALL;
        &all[class.index()]
    }
}

/// The shapes of all classes.
struct Shapes<const PAGE_SIZE: usize>;

impl<const PAGE_SIZE: usize> Shapes<PAGE_SIZE> {
    const ALL: [Shape; SizeClass::COUNT] = {
        let mut all = [Shape::new(1); SizeClass::COUNT];
        let mut class = 0;
        while class < all.len() {
            let objects = SizeClass::ALL[class].grid::<PAGE_SIZE>().objects();
            all[class] = Shape::new(bits::words(objects));
            class += 1;
        }
        all
    };
}

/// Offset of the owner's part behind so many remote words.
const fn own_part(words: usize) -> usize {
    let end = HEAD + words * size_of::<AtomicWord>();
    if words == 1 {
        end
    } else {
        end.next_multiple_of(LINE)
    }
}

/// Length of a descriptor.
const fn stride(words: usize) -> usize {
    (own_part(words) + size_of::<Slab<[Word; 0]>>() + words * size_of::<Word>())
        .next_multiple_of(LINE)
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<usize>() != 8 || stride(1) == LINE);

impl SharedRef {
    pub(super) fn from_ptr(ptr: *mut Shared) -> Option<Self> {
        NonNull::new(ptr).map(Self)
    }

    pub(super) const fn as_ptr(self) -> *mut Shared {
        self.0.as_ptr()
    }

    pub(super) fn shared<'a>(self) -> &'a Shared {
        // SAFETY: by the invariant; nothing makes a `&mut Shared` of a descriptor in use.
        let shared: &Shared = unsafe { self.0.as_ref() };
        #[cfg(loom)]
        shared.alive.with(|_| ());
        shared
    }

    /// The CPU whose heap the slab is in. Never changes.
    #[inline]
    pub(super) fn owner(self) -> usize {
        usize::from(self.shared().owner.load(Ordering::Relaxed))
    }

    #[inline]
    pub(super) fn class(self) -> SizeClass {
        let index = usize::from(self.shared().class.load(Ordering::Relaxed));
        SizeClass::ALL[index.min(SizeClass::COUNT - 1)]
    }

    /// The bits of frees from other CPUs.
    pub(super) fn remote_bits<'a, const PAGE_SIZE: usize>(self) -> &'a [AtomicWord] {
        // SAFETY: the remote bits follow the head in the same slot.
        let bits = unsafe { self.0.cast::<u8>().add(HEAD) };
        let count = usize::from(Shape::of::<PAGE_SIZE>(self.class()).words);
        // SAFETY: they were initialised with the descriptor, and are as many as the class says.
        unsafe { core::slice::from_raw_parts(bits.cast().as_ptr(), count) }
    }

    pub(super) fn slab_ref(self) -> SlabRef {
        SlabRef(self.0.addr())
    }

    pub(super) fn from_slab_ref(slab: SlabRef) -> Self {
        // The address comes from `slab_ref`, and descriptors lie in memory whose provenance was
        // exposed when it was allocated.
        let ptr = core::ptr::with_exposed_provenance_mut::<Shared>(slab.0.get());
        // SAFETY: the address is not 0.
        Self(unsafe { NonNull::new_unchecked(ptr) })
    }
}

/// Access to the owner's parts of the descriptors of one heap.
pub(super) struct Owned<const PAGE_SIZE: usize>(());

impl<const PAGE_SIZE: usize> Owned<PAGE_SIZE> {
    /// # Safety
    ///
    /// The caller holds the lock of the heap that owns every slab it will name, and there is one
    /// such value at a time; or a named slab is nobody else's: new, or on no list any more.
    pub(super) const unsafe fn new() -> Self {
        Self(())
    }
}

impl<const PAGE_SIZE: usize> Arena for Owned<PAGE_SIZE> {
    fn slab(&mut self, slab: SlabRef) -> &mut Slab {
        let class = SharedRef::from_slab_ref(slab).class();
        self.slab_of_class(slab, class)
    }

    #[inline]
    fn slab_of_class(&mut self, slab: SlabRef, class: SizeClass) -> &mut Slab {
        let descriptor = SharedRef::from_slab_ref(slab);
        debug_assert_eq!(descriptor.class(), class);
        let shape = Shape::of::<PAGE_SIZE>(class);
        // SAFETY: the owner's part lies at this offset of the slot.
        let part = unsafe { descriptor.0.cast::<u8>().add(shape.own.into()) };
        let part = core::ptr::slice_from_raw_parts_mut(part.as_ptr(), shape.words.into());
        let part = part as *mut Slab;
        // SAFETY: it was initialised with the descriptor; it is reached through this value only
        // (see `new`), and the reference borrows it.
        unsafe { &mut *part }
    }
}

/// Room for descriptors, by length.
pub(super) struct Descriptors<const PAGE_SIZE: usize> {
    chunks: [Chunks; LENGTHS.len()],
}

impl<const PAGE_SIZE: usize> Descriptors<PAGE_SIZE> {
    pub(super) const fn new() -> Self {
        Self {
            chunks: [const { Chunks::new() }; LENGTHS.len()],
        }
    }

    fn kind(class: SizeClass) -> usize {
        Shape::of::<PAGE_SIZE>(class).kind.into()
    }

    /// A descriptor for a fresh slab at `base`, owned by `owner`; `None` if there is no room.
    pub(super) fn take(
        &mut self,
        class: SizeClass,
        base: usize,
        owner: usize,
    ) -> Option<SharedRef> {
        let (slot, _) = self.chunks[Self::kind(class)].take()?;
        slot.as_ptr().expose_provenance();
        let shape = Shape::of::<PAGE_SIZE>(class);
        #[expect(clippy::cast_possible_truncation, reason = "a CPU number")]
        let shared = Shared {
            next: AtomicPtr::new(core::ptr::null_mut()),
            count: AtomicU32::new(0),
            owner: AtomicU16::new(owner as u16),
            class: AtomicU16::new(class.index() as u16),
            #[cfg(loom)]
            alive: loom::cell::UnsafeCell::new(()),
        };
        // SAFETY: the slot is ours, and large and aligned enough.
        unsafe { slot.cast().write(shared) };
        for word in 0..usize::from(shape.words) {
            // SAFETY: the remote bits lie in the slot.
            let bits = unsafe { slot.add(HEAD + word * size_of::<AtomicWord>()) };
            // SAFETY: as above; aligned, because the head's length is a multiple of its alignment.
            unsafe { bits.cast().write(AtomicWord::new(0)) };
        }
        // SAFETY: the owner's part lies in the slot.
        let part = unsafe { slot.add(shape.own.into()) };
        // SAFETY: as above.
        unsafe { part.cast().write(Slab::<[Word; 0]>::UNUSED) };
        for word in 0..usize::from(shape.words) {
            // SAFETY: the bits follow the head of the owner's part in the slot.
            let bits = unsafe { part.add(size_of::<Slab<[Word; 0]>>() + word * size_of::<Word>()) };
            // SAFETY: as above; aligned, because the head is.
            unsafe { bits.cast::<Word>().write(0) };
        }
        let descriptor = SharedRef(slot.cast());
        // SAFETY: nobody else knows this slab yet.
        let mut owned = unsafe { Owned::<PAGE_SIZE>::new() };
        let objects = class.grid::<PAGE_SIZE>().objects();
        owned
            .slab(descriptor.slab_ref())
            .describe(class, base, objects);
        Some(descriptor)
    }

    /// Takes a descriptor back.
    ///
    /// # Safety
    ///
    /// Nobody uses it any more.
    pub(super) unsafe fn give(&mut self, descriptor: SharedRef) {
        let class = descriptor.class();
        #[cfg(loom)]
        descriptor.shared().alive.with_mut(|_| ());
        let slot = descriptor.0.cast();
        // SAFETY: the slot lies in a chunk of one page.
        let home = unsafe { ChunkRef::around(slot, PAGE_SIZE) };
        // SAFETY: it came from `take`, and the caller says it is done with.
        unsafe { self.chunks[Self::kind(class)].give(slot, home) };
    }

    /// Makes room in a page for descriptors that `class` needs.
    ///
    /// # Safety
    ///
    /// The page at `page` belongs to this value until [`take_unused`](Self::take_unused).
    pub(super) unsafe fn add_page(&mut self, class: SizeClass, page: usize) {
        let kind = Self::kind(class);
        if let Some(memory) = NonNull::new(core::ptr::with_exposed_provenance_mut(page)) {
            // SAFETY: passed on to the caller; a page is aligned enough.
            unsafe { self.chunks[kind].add(memory, PAGE_SIZE, stride(LENGTHS[kind])) };
        }
    }

    /// Takes a page out in which no descriptor is in use.
    pub(super) fn take_unused(&mut self) -> Option<usize> {
        self.chunks
            .iter_mut()
            .find_map(Chunks::take_unused)
            .map(|(page, _)| page)
    }
}
