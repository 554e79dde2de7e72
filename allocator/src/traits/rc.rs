//! A shared handle for collections.

use core::alloc::Layout;
use core::cell::{Cell, RefCell};
use core::ptr::NonNull;

use allocator_api2::alloc::{AllocError as OutOfMemory, Allocator};

use super::{AllocResult, ByteAllocator};

/// A handle on a byte allocator that may be cloned: every collection that holds one allocates from
/// the same memory. The allocator and the count of handles lie in that memory themselves, so no other
/// heap is needed. For one thread.
///
/// ```
/// use allocator_api2::vec::Vec;
/// use twinframe::bittree::BitTree;
/// use twinframe::traits::AllocatorRc;
///
/// # let mut pool = vec![0u8; 1 << 20];
/// // SAFETY: the pool outlives all handles and collections, and is used through them only.
/// let heap = unsafe { AllocatorRc::new(BitTree::new(), &mut pool) }?;
/// let mut squares = Vec::new_in(heap.clone());
/// squares.extend((0..1000_u64).map(|number| number * number));
/// let mut bytes = Vec::new_in(heap.clone());
/// bytes.resize(1000, 0_u8);
/// assert!(heap.with(|tree| tree.used_bytes()) >= 9000);
/// # Ok::<(), twinframe::AllocError>(())
/// ```
pub struct AllocatorRc<A: ByteAllocator> {
    shared: NonNull<Shared<A>>,
}

/// What all handles lead to. The last of them takes it apart.
struct Shared<A> {
    allocator: RefCell<A>,
    handles: Cell<usize>,
}

impl<A: ByteAllocator> AllocatorRc<A> {
    const LAYOUT: Layout = Layout::new::<Shared<A>>();

    /// Adds the pool to `inner`, and makes a handle on it.
    ///
    /// # Errors
    ///
    /// As [`BaseAllocator::add_memory`](super::BaseAllocator::add_memory); `NoMemory` if nothing is
    /// left for the allocator itself. `inner` is dropped then, and the pool is the caller's again.
    ///
    /// # Safety
    ///
    /// The pool outlives all handles and collections, and is used through them only.
    pub unsafe fn new(mut inner: A, pool: &mut [u8]) -> AllocResult<Self> {
        let (start, size) = (pool.as_mut_ptr().expose_provenance(), pool.len());
        // SAFETY: passed on to the caller.
        unsafe { inner.add_memory(start, size) }?;
        Self::from_allocator(inner)
    }

    /// Makes a handle on an allocator that has its memory.
    ///
    /// # Errors
    ///
    /// As [`ByteAllocator::alloc`].
    pub fn from_allocator(mut inner: A) -> AllocResult<Self> {
        let shared = inner.alloc(Self::LAYOUT)?.cast::<Shared<A>>();
        let value = Shared {
            allocator: RefCell::new(inner),
            handles: Cell::new(1),
        };
        // SAFETY: allocated just now for this type.
        unsafe { shared.write(value) };
        Ok(Self { shared })
    }

    /// Looks at the allocator, for its statistics.
    pub fn with<R>(&self, look: impl FnOnce(&A) -> R) -> R {
        look(&self.shared().allocator.borrow())
    }

    fn shared(&self) -> &Shared<A> {
        // SAFETY: written in `from_allocator`, and taken apart by the last handle only.
        unsafe { self.shared.as_ref() }
    }
}

impl<A: ByteAllocator> Clone for AllocatorRc<A> {
    fn clone(&self) -> Self {
        let handles = &self.shared().handles;
        let more = handles.get().checked_add(1);
        handles.set(more.expect("fewer handles than addresses"));
        Self {
            shared: self.shared,
        }
    }
}

impl<A: ByteAllocator> Drop for AllocatorRc<A> {
    fn drop(&mut self) {
        let handles = &self.shared().handles;
        handles.set(handles.get() - 1);
        if handles.get() != 0 {
            return;
        }
        // SAFETY: this was the last handle; the allocator is moved out of the memory that it
        // manages, which nobody looks at again.
        let shared = unsafe { self.shared.read() };
        let mut allocator = shared.allocator.into_inner();
        // SAFETY: allocated in `from_allocator` with this layout.
        let freed = unsafe { allocator.dealloc(self.shared.cast(), Self::LAYOUT) };
        debug_assert_eq!(freed, Ok(()));
    }
}

// SAFETY: the contract of `ByteAllocator` is the one asked for, and every clone leads to the same
// allocator, which lives as long as any of them.
unsafe impl<A: ByteAllocator> Allocator for AllocatorRc<A> {
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, OutOfMemory> {
        let mut allocator = self.shared().allocator.borrow_mut();
        let memory = allocator.alloc(layout).map_err(|_| OutOfMemory)?;
        Ok(NonNull::slice_from_raw_parts(memory, layout.size()))
    }

    /// Writes a line to the log if the allocator refuses the free.
    unsafe fn deallocate(&self, ptr: NonNull<u8>, layout: Layout) {
        let mut allocator = self.shared().allocator.borrow_mut();
        // SAFETY: the caller's duties are the same.
        if let Err(error) = unsafe { allocator.dealloc(ptr, layout) } {
            log::error!("twinframe: free of {ptr:p}, {layout:?}, was refused: {error}");
        }
    }
}
