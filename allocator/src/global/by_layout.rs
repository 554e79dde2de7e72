//! From a layout to an object or to pages, and back.
//!
//! What usually happens is inlined into the caller, and calls nothing; everything else is behind a call that
//! the usual way does not save registers for.

use core::alloc::Layout;
use core::ptr::NonNull;

use super::allocator::GlobalAllocator;
use crate::error::Lack;
use crate::objects::SizeClass;
use crate::pages::PageRequest;
use crate::{AllocResult, Platform};

impl<P: Platform, const PAGE_SIZE: usize> GlobalAllocator<P, PAGE_SIZE> {
    /// [`alloc`](Self::alloc), with a result that fits into registers.
    #[expect(clippy::inline_always, reason = "else results go through memory")]
    #[inline(always)]
    pub(super) fn obtain(&self, layout: Layout) -> Outcome {
        if self.may_fail().is_err() {
            return (None, Lack::NoMemory);
        }
        if P::HARDENING.touches_objects() {
            return outcome(self.alloc_fenced(layout, P::HARDENING.init_on_alloc));
        }
        let Some(class) = SizeClass::of_usual(layout) else {
            return self.alloc_unusual(layout);
        };
        match self.objects.pop(class) {
            Some(object) => (Some(object), Lack::NoMemory),
            None => self.alloc_slowly(class),
        }
    }

    /// Allocates an object that is not in a magazine. Not inlined, so that the usual way stays short.
    #[cold]
    #[inline(never)]
    fn alloc_slowly(&self, class: SizeClass) -> Outcome {
        outcome(self.objects.alloc_slowly(&self.frames, class))
    }

    /// Allocates for a layout that is not a usual one. Not inlined, for the same reason.
    #[inline(never)]
    fn alloc_unusual(&self, layout: Layout) -> Outcome {
        if let Some(class) = SizeClass::from_layout(layout) {
            return outcome(self.objects.alloc(&self.frames, class));
        }
        let pages = large_pages::<PAGE_SIZE>(layout.size());
        // A block is aligned to its size.
        if layout.align() <= pages * PAGE_SIZE
            && let Some(addr) = self.frames.pop_any(pages, 0)
        {
            let pages = core::ptr::with_exposed_provenance_mut(addr);
            return (NonNull::new(pages), Lack::NoMemory);
        }
        outcome(self.alloc_large(&large_request::<PAGE_SIZE>(layout)))
    }

    /// [`dealloc`](Self::dealloc) of an object with a usual layout that this CPU's magazine takes; else returns
    /// `false` and changes nothing.
    ///
    /// # Safety
    ///
    /// As there.
    #[expect(clippy::inline_always, reason = "the usual way, without a call")]
    #[inline(always)]
    pub(super) unsafe fn dealloc_at_once(&self, ptr: NonNull<u8>, layout: Layout) -> bool {
        let class = SizeClass::of_usual(layout);
        let push = |class| self.objects.push(ptr.addr().get(), class);
        !P::HARDENING.touches_objects() && class.is_some_and(push)
    }

    /// Frees an object that a magazine did not take. Not inlined, as above; and with just these arguments, for which
    /// the usual way need not move its own.
    #[cold]
    #[inline(never)]
    pub(super) fn dealloc_slowly(&self, addr: usize, class: SizeClass) -> AllocResult {
        self.objects.free_slowly(&self.frames, addr, class)
    }

    /// Frees what was allocated for a layout that is not a usual one. Not inlined, as above.
    ///
    /// # Safety
    ///
    /// As [`dealloc`](Self::dealloc).
    #[inline(never)]
    pub(super) unsafe fn dealloc_unusual(&self, ptr: NonNull<u8>, layout: Layout) -> AllocResult {
        let addr = ptr.addr().get();
        match SizeClass::from_layout(layout) {
            // SAFETY: the caller's duties are the same.
            Some(class) => unsafe { self.objects.free(&self.frames, addr, class) },
            // SAFETY: as above.
            None => unsafe { self.dealloc_pages(addr, large_pages::<PAGE_SIZE>(layout.size())) },
        }
    }
}

/// Memory, or else the reason why there is none: what fits into registers of the two.
pub(super) type Outcome = (Option<NonNull<u8>>, Lack);

fn outcome(result: AllocResult<NonNull<u8>>) -> Outcome {
    match result {
        Ok(memory) => (Some(memory), Lack::NoMemory),
        Err(error) => (None, Lack::of(error)),
    }
}

/// What a layout beyond the classes asks of the pages.
pub(super) fn large_request<const PAGE_SIZE: usize>(layout: Layout) -> PageRequest {
    PageRequest::new(large_pages::<PAGE_SIZE>(layout.size()))
        .align(layout.align().max(PAGE_SIZE))
        .exact()
}

/// The pages that a layout beyond the classes takes: as many as its size needs, at least one.
pub(super) const fn large_pages<const PAGE_SIZE: usize>(size: usize) -> usize {
    if size == 0 {
        1
    } else {
        size.div_ceil(PAGE_SIZE)
    }
}
