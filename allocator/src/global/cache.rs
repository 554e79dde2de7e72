//! Named caches of objects of one type.

mod unfinished;

use core::alloc::Layout;
use core::fmt;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

use self::unfinished::{Bulk, Slot};
use super::allocator::GlobalAllocator;
use super::cache_stats::{CacheStats, Counters};
use super::rust_alloc::report_refused;
use crate::{AllocError, AllocResult, Misuse, Platform};

/// What [`ObjectCache::cache_aligned`] aligns to, in bytes.
const CACHE_LINE: usize = 64;

/// A named source of objects of type `T`.
///
/// It takes its memory from the size classes of a [`GlobalAllocator`], so an object costs what it
/// costs there, what one cache frees the next can use, and all of it is found again under pressure.
/// Objects of more than 2048 bytes or alignment take whole pages.
/// What a cache has of its own is the type, the constructor, the alignment and the name, under which
/// it counts.
///
/// The constructor runs whenever an object is handed out, and the destructor of `T` when it comes
/// back: a free object is plain memory. (Constructors that run once in the life of a slab, and
/// leave free objects constructed, do not mix with values that own something, with poison, or with
/// the mark that finds double frees.) If the constructor panics, and that unwinds, the object's memory is free
/// again.
///
/// Any call may come from any CPU and from an interrupt handler. Counting costs an uncontended
/// atomic addition.
///
/// ```
/// use twinframe::{AllocError, GlobalAllocator, ObjectCache, Platform};
///
/// #[derive(Default)]
/// struct Inode {
///     number: u64,
/// }
///
/// # struct Machine;
/// # // SAFETY: one thread uses it, nothing interrupts that, and physical addresses are virtual ones.
/// # unsafe impl Platform for Machine {
/// #     const MAX_CPUS: usize = 1;
/// #     type IrqState = ();
/// #     fn cpu_id() -> usize { 0 }
/// #     fn virt_to_phys(virt: usize) -> u64 { virt as u64 }
/// #     fn phys_to_virt(phys: u64) -> usize { phys as usize }
/// #     fn irq_save() {}
/// #     unsafe fn irq_restore(_: ()) {}
/// # }
/// let heap = GlobalAllocator::<Machine>::new();
/// # // SAFETY: the memory was leaked, and nobody else uses it.
/// # unsafe { heap.init(vec![0u8; 1 << 20].leak()) }?;
/// let inodes = ObjectCache::with_constructor(&heap, "inode", Inode::default).cache_aligned();
/// let mut inode = inodes.alloc()?;
/// inode.number += 1;
/// assert_eq!(inodes.stats().live(), 1);
/// drop(inode);
/// let stats = inodes.destroy().expect("no object is live");
/// assert_eq!((stats.allocations, stats.object_size), (1, 64));
/// # Ok::<(), AllocError>(())
/// ```
pub struct ObjectCache<'a, T, P: Platform, C = (), const PAGE_SIZE: usize = 0x1000> {
    store: Store<'a, P, PAGE_SIZE>,
    construct: C,
    objects: PhantomData<fn() -> T>,
}

/// What a cache is apart from the type of its objects.
struct Store<'a, P: Platform, const PAGE_SIZE: usize> {
    heap: &'a GlobalAllocator<P, PAGE_SIZE>,
    name: &'static str,
    layout: Layout,
    counters: Counters,
}

impl<P: Platform, const PAGE_SIZE: usize> Store<'_, P, PAGE_SIZE> {
    fn stats(&self) -> CacheStats {
        self.counters.sum(self.name, self.layout.size())
    }

    fn alloc(&self) -> AllocResult<NonNull<u8>> {
        let memory = self.heap.alloc(self.layout)?;
        self.counters.count_allocations(P::cpu_id(), 1);
        Ok(memory)
    }

    /// # Safety
    ///
    /// Nobody uses the memory any more.
    unsafe fn free(&self, memory: NonNull<u8>) -> AllocResult {
        // SAFETY: the caller's duties are the same.
        unsafe { self.heap.dealloc(memory, self.layout) }?;
        self.counters.count_frees(P::cpu_id(), 1);
        Ok(())
    }
}

impl<P: Platform, const PAGE_SIZE: usize> Drop for Store<'_, P, PAGE_SIZE> {
    fn drop(&mut self) {
        let live = self.stats().live();
        if live != 0 {
            P::misuse(&Misuse::Leak {
                cache: self.name,
                objects: live,
            });
        }
    }
}

impl<'a, T, P: Platform, const PAGE_SIZE: usize> ObjectCache<'a, T, P, (), PAGE_SIZE> {
    /// A cache without a constructor: values come with [`insert_with`](Self::insert_with).
    #[must_use]
    pub const fn new(heap: &'a GlobalAllocator<P, PAGE_SIZE>, name: &'static str) -> Self {
        Self::with_constructor(heap, name, ())
    }
}

impl<'a, T, P: Platform, C, const PAGE_SIZE: usize> ObjectCache<'a, T, P, C, PAGE_SIZE> {
    /// A cache whose objects begin as what `construct` returns.
    #[must_use]
    pub const fn with_constructor(
        heap: &'a GlobalAllocator<P, PAGE_SIZE>,
        name: &'static str,
        construct: C,
    ) -> Self {
        Self {
            store: Store {
                heap,
                name,
                layout: Layout::new::<T>(),
                counters: Counters::new(),
            },
            construct,
            objects: PhantomData,
        }
    }

    /// Gives each object cache lines of its own, 64 bytes each. For a cache that has no objects yet.
    #[must_use]
    pub const fn cache_aligned(mut self) -> Self {
        if let Ok(aligned) = self.store.layout.align_to(CACHE_LINE) {
            self.store.layout = aligned.pad_to_align();
        }
        self
    }

    /// The name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.store.name
    }

    /// What was counted so far. Exact while nothing else is going on.
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        self.store.stats()
    }

    /// Allocates an object, and makes its value once there is memory for it.
    ///
    /// # Errors
    ///
    /// As [`GlobalAllocator::alloc`].
    pub fn insert_with(
        &self,
        make: impl FnOnce() -> T,
    ) -> AllocResult<CacheBox<'_, T, P, PAGE_SIZE>> {
        let slot = Slot::new(&self.store)?;
        let value = make();
        let object = slot.keep().cast::<T>();
        // SAFETY: the memory has the layout of `T`, or more.
        unsafe { object.write(value) };
        Ok(CacheBox {
            object,
            store: &self.store,
        })
    }

    /// Takes back what [`CacheBox::into_raw`] returned: its destructor runs, and the memory is free.
    ///
    /// # Errors
    ///
    /// As [`GlobalAllocator::dealloc`]; then the destructor has not run.
    ///
    /// # Safety
    ///
    /// If `object` came from this cache, nobody uses it any more.
    pub unsafe fn free(&self, object: NonNull<T>) -> AllocResult {
        self.store.heap.check(object.cast(), self.store.layout)?;
        // SAFETY: it is live; the caller gives it up.
        unsafe { object.drop_in_place() };
        // SAFETY: as above.
        unsafe { self.store.free(object.cast()) }
    }

    /// Frees several objects.
    ///
    /// # Errors
    ///
    /// The position of the first one that was refused, and why; those before it are free, it and
    /// those behind it are as they were.
    ///
    /// # Safety
    ///
    /// As [`free`](Self::free) for each.
    pub unsafe fn free_bulk(&self, objects: &[NonNull<T>]) -> Result<(), (usize, AllocError)> {
        for (position, object) in objects.iter().enumerate() {
            // SAFETY: the caller's duties are the same.
            unsafe { self.free(*object) }.map_err(|error| (position, error))?;
        }
        Ok(())
    }

    /// Ends the cache. Dropping it does so too, and reports live objects to [`Platform::misuse`].
    ///
    /// # Errors
    ///
    /// The cache as it was, if there are live objects.
    #[expect(
        clippy::result_large_err,
        reason = "the cache itself comes back, and rarely"
    )]
    pub fn destroy(self) -> Result<CacheStats, LiveObjects<Self>> {
        let stats = self.stats();
        if stats.live() == 0 {
            Ok(stats)
        } else {
            Err(LiveObjects { cache: self, stats })
        }
    }
}

impl<T, P: Platform, C: Fn() -> T, const PAGE_SIZE: usize> ObjectCache<'_, T, P, C, PAGE_SIZE> {
    /// Allocates an object that the constructor made.
    ///
    /// # Errors
    ///
    /// As [`GlobalAllocator::alloc`].
    pub fn alloc(&self) -> AllocResult<CacheBox<'_, T, P, PAGE_SIZE>> {
        self.insert_with(&self.construct)
    }

    /// Allocates as many objects as `out` has places, all or none, for [`free`](Self::free).
    ///
    /// # Errors
    ///
    /// As [`alloc`](Self::alloc); then, and if the constructor panics, `out` holds nothing of use.
    pub fn alloc_bulk(&self, out: &mut [NonNull<T>]) -> AllocResult {
        Bulk::new(&self.store, out).fill(|| self.alloc())
    }
}

impl<T, P: Platform, C, const PAGE_SIZE: usize> fmt::Debug for ObjectCache<'_, T, P, C, PAGE_SIZE> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ObjectCache").field(&self.stats()).finish()
    }
}

/// Why a cache could not be destroyed: it has live objects.
#[derive(Debug)]
pub struct LiveObjects<C> {
    /// The cache, as it was.
    pub cache: C,
    /// What it had counted: its name, and how many objects are live.
    pub stats: CacheStats,
}

impl<C> fmt::Display for LiveObjects<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, live) = (self.stats.name, self.stats.live());
        write!(f, "cache {name} still has {live} live objects")
    }
}

impl<C: fmt::Debug> core::error::Error for LiveObjects<C> {}

/// An object of an [`ObjectCache`], which goes back there when this is dropped.
pub struct CacheBox<'c, T, P: Platform, const PAGE_SIZE: usize = 0x1000> {
    object: NonNull<T>,
    store: &'c Store<'c, P, PAGE_SIZE>,
}

// SAFETY: it owns its object, like a `Box`.
unsafe impl<T: Send, P: Platform, const PAGE_SIZE: usize> Send for CacheBox<'_, T, P, PAGE_SIZE> {}

// SAFETY: as above.
unsafe impl<T: Sync, P: Platform, const PAGE_SIZE: usize> Sync for CacheBox<'_, T, P, PAGE_SIZE> {}

impl<'c, T, P: Platform, const PAGE_SIZE: usize> CacheBox<'c, T, P, PAGE_SIZE> {
    /// Gives up ownership; the object is to be freed with [`ObjectCache::free`].
    #[must_use]
    pub fn into_raw(self) -> NonNull<T> {
        ManuallyDrop::new(self).object
    }

    /// Takes ownership of what [`into_raw`](Self::into_raw) returned.
    ///
    /// # Safety
    ///
    /// `object` came from `cache`, is live, and nobody else uses it.
    #[must_use]
    pub unsafe fn from_raw<C>(
        cache: &'c ObjectCache<'_, T, P, C, PAGE_SIZE>,
        object: NonNull<T>,
    ) -> Self {
        Self {
            object,
            store: &cache.store,
        }
    }
}

impl<T, P: Platform, const PAGE_SIZE: usize> Drop for CacheBox<'_, T, P, PAGE_SIZE> {
    fn drop(&mut self) {
        // SAFETY: the object is this value's, and this is its end.
        unsafe { self.object.drop_in_place() };
        let memory = self.object.cast();
        // SAFETY: as above.
        if let Err(error) = unsafe { self.store.free(memory) } {
            report_refused::<P>(memory, self.store.layout, error);
        }
    }
}

impl<T, P: Platform, const PAGE_SIZE: usize> Deref for CacheBox<'_, T, P, PAGE_SIZE> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the object is this value's, and initialised.
        unsafe { self.object.as_ref() }
    }
}

impl<T, P: Platform, const PAGE_SIZE: usize> DerefMut for CacheBox<'_, T, P, PAGE_SIZE> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as for `deref`, and borrowed exclusively.
        unsafe { self.object.as_mut() }
    }
}

impl<T: fmt::Debug, P: Platform, const PAGE_SIZE: usize> fmt::Debug
    for CacheBox<'_, T, P, PAGE_SIZE>
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
