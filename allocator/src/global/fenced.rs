//! What happens around objects on a platform that wants to be told of mistakes.

use core::alloc::Layout;
use core::ptr::NonNull;

use super::allocator::GlobalAllocator;
use super::by_layout::{large_pages, large_request};
use crate::harden::fence::{Fence, Verdict};
use crate::objects::SizeClass;
use crate::{AllocError, AllocResult, Misuse, Platform};

impl<P: Platform, const PAGE_SIZE: usize> GlobalAllocator<P, PAGE_SIZE> {
    /// The red zones of an object, if it is to have some.
    fn fence(layout: Layout) -> Option<Fence> {
        if P::HARDENING.red_zones {
            Fence::of(layout)
        } else {
            None
        }
    }

    pub(super) fn alloc_fenced(&self, layout: Layout, zeroed: bool) -> AllocResult<NonNull<u8>> {
        let Some(fence) = Self::fence(layout) else {
            return self.alloc_inspected(layout, zeroed);
        };
        let whole = self.alloc_inspected(fence.outer, false)?;
        // SAFETY: the whole was allocated with this fence's layout just now.
        let (before, behind) = unsafe { Self::zones(whole, &fence) };
        fence.write(before, behind);
        // SAFETY: the object lies in what was allocated.
        let object = unsafe { whole.add(fence.front) };
        if zeroed {
            // SAFETY: as above; it is that long.
            unsafe { object.write_bytes(0, fence.size) };
        }
        Ok(object)
    }

    /// # Safety
    ///
    /// As [`dealloc`](Self::dealloc).
    pub(super) unsafe fn dealloc_fenced(&self, ptr: NonNull<u8>, layout: Layout) -> AllocResult {
        let Some(fence) = Self::fence(layout) else {
            // SAFETY: the caller's duties are the same.
            return unsafe { self.free_filled(ptr, layout) };
        };
        let whole = before(ptr, fence.front)?;
        self.check_whole(whole, fence.outer)?;
        // SAFETY: the whole is live and was allocated with such a layout; only its zones are read.
        let (before, behind) = unsafe { Self::zones(whole, &fence) };
        match fence.judge(before, behind) {
            Verdict::Intact => {}
            Verdict::Layout => return Err(AllocError::InvalidParam),
            Verdict::Overwritten(difference) => P::misuse(&Misuse::RedZone {
                object: ptr.addr().get(),
                size: fence.size,
                offset: difference.offset.cast_signed() - fence.front.cast_signed(),
                expected: difference.expected,
                found: difference.found,
            }),
        }
        // SAFETY: the caller gives the object up, and its zones are the allocator's.
        unsafe { self.free_filled(whole, fence.outer) }
    }

    /// Whether a free would be taken.
    pub(super) fn check_fenced(&self, ptr: NonNull<u8>, layout: Layout) -> AllocResult {
        let Some(fence) = Self::fence(layout) else {
            return self.check_whole(ptr, layout);
        };
        let whole = before(ptr, fence.front)?;
        self.check_whole(whole, fence.outer)?;
        let addr = whole.addr().get();
        let whole = core::ptr::with_exposed_provenance(addr);
        // SAFETY: an object or block in use began there, so it is aligned, and is longer than a zone; and should
        // somebody have freed it meanwhile, its section stays.
        let look = || unsafe { fence.is_of_another_size(whole) };
        match self.frames.peek(addr, |_| look()) {
            Some(true) => Err(AllocError::InvalidParam),
            _ => Ok(()),
        }
    }

    fn check_whole(&self, whole: NonNull<u8>, layout: Layout) -> AllocResult {
        let addr = whole.addr().get();
        match SizeClass::from_layout(layout) {
            Some(class) => self.objects.check(&self.frames, addr, class),
            None => {
                let count = large_pages::<PAGE_SIZE>(layout.size());
                self.frames.check(addr, count)
            }
        }
    }

    /// The zones before and behind an object.
    ///
    /// # Safety
    ///
    /// `whole` is a live allocation with the class or the number of pages that the fence has, and the
    /// slices are not used beyond its life.
    unsafe fn zones<'a>(whole: NonNull<u8>, fence: &Fence) -> (&'a mut [u8], &'a mut [u8]) {
        let end = fence.front + fence.size;
        let length = Self::length(fence.outer);
        // SAFETY: the zone is the first part of the allocation, and nobody but the allocator is to
        // touch it.
        let before = unsafe { core::slice::from_raw_parts_mut(whole.as_ptr(), fence.front) };
        // SAFETY: the object ends inside the allocation.
        let behind = unsafe { whole.add(end) };
        // SAFETY: as for the first part.
        let behind = unsafe { core::slice::from_raw_parts_mut(behind.as_ptr(), length - end) };
        (before, behind)
    }

    fn alloc_inspected(&self, layout: Layout, zeroed: bool) -> AllocResult<NonNull<u8>> {
        let Some(class) = SizeClass::from_layout(layout) else {
            let request = large_request::<PAGE_SIZE>(layout);
            return self.alloc_large(&if zeroed { request.zeroed() } else { request });
        };
        let object = self.objects.alloc_inspected(&self.frames, class)?;
        if zeroed {
            // SAFETY: the object was just allocated, and is that long.
            unsafe { object.write_bytes(0, class.size()) };
        }
        Ok(object)
    }

    /// # Safety
    ///
    /// As [`dealloc`](Self::dealloc).
    unsafe fn free_filled(&self, ptr: NonNull<u8>, layout: Layout) -> AllocResult {
        let addr = ptr.addr().get();
        if let Some(class) = SizeClass::from_layout(layout) {
            // SAFETY: the caller's duties are the same.
            return unsafe { self.objects.free_filled(&self.frames, addr, class) };
        }
        let count = large_pages::<PAGE_SIZE>(layout.size());
        if P::HARDENING.init_on_free {
            self.frames.check(addr, count)?;
            // SAFETY: the pages are allocated, and the caller gives them up.
            unsafe { ptr.write_bytes(0, count * PAGE_SIZE) };
        }
        // SAFETY: the caller's duties are the same.
        unsafe { self.dealloc_pages(addr, count) }
    }
}

/// What begins so many bytes before an object.
fn before(ptr: NonNull<u8>, front: usize) -> AllocResult<NonNull<u8>> {
    let addr = ptr.addr().get().checked_sub(front);
    let addr = addr.and_then(core::num::NonZeroUsize::new);
    Ok(ptr.with_addr(addr.ok_or(AllocError::NotFound)?))
}
