//! Objects out of slabs, and slabs out of pages.

use core::alloc::Layout;
use core::ptr::NonNull;

use super::{AllocError, AllocResult, BaseAllocator, ByteAllocator, plain};
use crate::{BuddyAllocator, SizeClass, SlabAllocResult, SlabAllocator, SlabDeallocResult};

/// A [`SlabAllocator`] for small layouts over a [`BuddyAllocator`] for the rest and for slabs: what
/// [`GlobalAllocator`](crate::GlobalAllocator) is, for one owner and without its caches.
///
/// Sizes and alignments of up to 2048 bytes cost what their [`SizeClass`] has, others whole pages.
/// Every free is checked, as [`SlabAllocator::dealloc`] and [`BuddyAllocator::dealloc_pages`] do;
/// whatever is not allocated may be passed, and is refused. Before a request fails, empty slabs
/// are given up.
///
/// J. Bonwick: *The Slab Allocator: An Object-Caching Kernel Memory Allocator*, USENIX Summer 1994.
pub struct SlabByteAllocator<const PAGE_SIZE: usize = 0x1000> {
    objects: SlabAllocator<PAGE_SIZE>,
    pages: BuddyAllocator<PAGE_SIZE>,
    used: usize,
}

impl<const PAGE_SIZE: usize> SlabByteAllocator<PAGE_SIZE> {
    /// An allocator without memory.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            objects: SlabAllocator::new(),
            pages: BuddyAllocator::new(),
            used: 0,
        }
    }

    /// Bytes that an allocation for `layout` really has.
    fn cost(layout: Layout) -> usize {
        match SizeClass::from_layout(layout) {
            Some(class) => class.size(),
            None => Self::pages_for(layout) * PAGE_SIZE,
        }
    }

    fn pages_for(layout: Layout) -> usize {
        layout.size().div_ceil(PAGE_SIZE).max(1)
    }

    fn alloc_object(&mut self, layout: Layout) -> AllocResult<NonNull<u8>> {
        // Once is enough: descriptor memory added below may be given up too, and twice might be for ever.
        let mut given_up = false;
        loop {
            let (size_class, pages) = match self.objects.alloc(layout)? {
                SlabAllocResult::Allocated(object) => return Ok(object),
                SlabAllocResult::NeedsSlab { size_class, pages } => (size_class, pages),
            };
            match self.pages.alloc_pages_exact(pages, PAGE_SIZE) {
                Ok(base) => {
                    let bytes = pages * PAGE_SIZE;
                    // SAFETY: pages allocated just now, which come back when the slab is empty.
                    unsafe { self.objects.add_slab(size_class, base, bytes, 0) }?;
                }
                Err(AllocError::NoMemory) if !given_up => {
                    given_up = true;
                    self.give_up()?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn alloc_large(&mut self, layout: Layout) -> AllocResult<NonNull<u8>> {
        let align = layout.align().max(PAGE_SIZE);
        let addr = self.take_pages(Self::pages_for(layout), align)?;
        NonNull::new(core::ptr::with_exposed_provenance_mut(addr)).ok_or(AllocError::NoMemory)
    }

    /// Pages, for which empty slabs go if they must.
    fn take_pages(&mut self, count: usize, align: usize) -> AllocResult<usize> {
        match self.pages.alloc_pages_exact(count, align) {
            Err(AllocError::NoMemory) => {
                self.give_up()?;
                self.pages.alloc_pages_exact(count, align)
            }
            result => result,
        }
    }

    /// Gives back what no live object needs.
    fn give_up(&mut self) -> AllocResult {
        while let Some(freed) = self.objects.reclaim() {
            self.settle(freed)?;
        }
        Ok(())
    }

    /// Gives the pages of a slab back that is empty.
    fn settle(&mut self, freed: SlabDeallocResult) -> AllocResult {
        match freed {
            SlabDeallocResult::Done => Ok(()),
            SlabDeallocResult::FreeSlab { base, pages } => self.pages.dealloc_pages(base, pages),
        }
    }
}

impl<const PAGE_SIZE: usize> Default for SlabByteAllocator<PAGE_SIZE> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const PAGE_SIZE: usize> BaseAllocator for SlabByteAllocator<PAGE_SIZE> {
    unsafe fn add_memory(&mut self, start: usize, size: usize) -> AllocResult {
        // SAFETY: passed on to the caller.
        unsafe { self.pages.add_memory(start, size) }
    }
}

// SAFETY: classes cover the size and the alignment of their layouts, pages those of the rest; both
// lie in memory that was added, not in this value.
unsafe impl<const PAGE_SIZE: usize> ByteAllocator for SlabByteAllocator<PAGE_SIZE> {
    fn alloc(&mut self, layout: Layout) -> AllocResult<NonNull<u8>> {
        let memory = if SizeClass::from_layout(layout).is_some() {
            self.alloc_object(layout)
        } else {
            self.alloc_large(layout)
        };
        let memory = memory.map_err(plain)?;
        self.used += Self::cost(layout);
        Ok(memory)
    }

    unsafe fn dealloc(&mut self, ptr: NonNull<u8>, layout: Layout) -> AllocResult {
        if SizeClass::from_layout(layout).is_some() {
            // SAFETY: passed on to the caller.
            let freed = unsafe { self.objects.dealloc(ptr, layout) }.map_err(plain)?;
            self.settle(freed)?;
        } else {
            let count = Self::pages_for(layout);
            self.pages
                .dealloc_pages(ptr.addr().get(), count)
                .map_err(plain)?;
        }
        self.used -= Self::cost(layout);
        Ok(())
    }

    fn total_bytes(&self) -> usize {
        self.pages.managed_bytes()
    }

    fn used_bytes(&self) -> usize {
        self.used
    }

    /// What is not in use, though some of it may lie in slabs that other objects keep.
    fn available_bytes(&self) -> usize {
        self.total_bytes() - self.used
    }
}
