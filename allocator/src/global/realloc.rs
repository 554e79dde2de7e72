//! Changing the size of an allocation, where it is if that can be.

use core::alloc::Layout;
use core::ptr::NonNull;

use super::allocator::GlobalAllocator;
use super::by_layout::large_pages;
use super::rust_alloc::report_refused;
use crate::objects::SizeClass;
use crate::{AllocResult, Platform};

/// How an allocation gets its new layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    /// The memory suits both.
    None,
    /// The first so many pages suit, and the rest is given back.
    Shrink(usize),
    /// So many pages suit, if those behind are free; else the contents move.
    Grow(usize),
    /// The contents move.
    Move,
}

impl Change {
    /// From `old` to `new` for what is at `addr`.
    fn plan<const PAGE_SIZE: usize>(addr: usize, old: Layout, new: Layout) -> Self {
        match (SizeClass::from_layout(old), SizeClass::from_layout(new)) {
            // The objects of a class are aligned for every layout that it serves.
            (Some(old), Some(new)) if old == new => Self::None,
            (None, None) if addr.is_multiple_of(new.align()) => {
                let count = |layout: Layout| large_pages::<PAGE_SIZE>(layout.size());
                match count(old).checked_sub(count(new)) {
                    Some(0) => Self::None,
                    Some(_) => Self::Shrink(count(new)),
                    None => Self::Grow(count(new)),
                }
            }
            _ => Self::Move,
        }
    }
}

impl<P: Platform, const PAGE_SIZE: usize> GlobalAllocator<P, PAGE_SIZE> {
    /// Makes what was allocated for `old` an allocation for `new`, and returns where it is then. The
    /// bytes that both have are kept. It stays where it is if both have the same class or number of
    /// pages, if fewer pages will do (the others are free at once), and if the pages that it takes more
    /// are those behind it, and free or in this CPU's caches.
    ///
    /// # Errors
    ///
    /// As [`alloc`](Self::alloc) for `new`, and as [`dealloc`](Self::dealloc) where pages are given
    /// back. What was allocated is as it was.
    ///
    /// # Safety
    ///
    /// `ptr` was allocated for `old`; after a success, nobody uses it any more, but the result only.
    pub unsafe fn realloc(
        &self,
        ptr: NonNull<u8>,
        old: Layout,
        new: Layout,
    ) -> AllocResult<NonNull<u8>> {
        let plan = Change::plan::<PAGE_SIZE>(ptr.addr().get(), old, new);
        let is_fenced = P::HARDENING.red_zones && SizeClass::from_layout(old).is_some();
        // Red zones begin where the layout ends.
        match if is_fenced { Change::Move } else { plan } {
            Change::None => Ok(ptr),
            Change::Shrink(pages) => {
                // SAFETY: the caller gives up what lies beyond the new layout.
                unsafe { self.shrink(ptr, old, pages) }?;
                Ok(ptr)
            }
            // SAFETY: the caller owns the memory.
            Change::Grow(pages) if unsafe { self.grow(ptr, old, pages) } => Ok(ptr),
            Change::Grow(_) | Change::Move => {
                let moved = self.alloc(new)?;
                let kept = old.size().min(new.size());
                // SAFETY: both are at least `kept` bytes long, and the new one overlaps nothing that is
                // live.
                unsafe { moved.copy_from_nonoverlapping(ptr, kept) };
                // SAFETY: the caller gives the old memory up.
                if let Err(error) = unsafe { self.dealloc(ptr, old) } {
                    report_refused::<P>(ptr, old, error);
                }
                Ok(moved)
            }
        }
    }
}

impl<P: Platform, const PAGE_SIZE: usize> GlobalAllocator<P, PAGE_SIZE> {
    /// Gives back all but so many of the pages of a layout, cleared if what is free is to be.
    ///
    /// # Safety
    ///
    /// `ptr` was allocated for `old`, and is the caller's, who gives up what lies beyond those pages.
    unsafe fn shrink(&self, ptr: NonNull<u8>, old: Layout, pages: usize) -> AllocResult {
        let (addr, count) = (ptr.addr().get(), large_pages::<PAGE_SIZE>(old.size()));
        if P::HARDENING.init_on_free {
            self.frames().check(addr, count)?;
            // SAFETY: these pages are allocated, and the caller gives them up.
            unsafe { clear::<PAGE_SIZE>(ptr, pages, count) };
        }
        // SAFETY: the caller's duties are the same.
        unsafe { self.frames().shrink_pages(addr, count, pages) }
    }

    /// Whether the pages of a layout could be made so many where they are. The new ones are cleared if what is
    /// allocated is to be.
    ///
    /// # Safety
    ///
    /// `ptr` was allocated for `old`, and is the caller's.
    unsafe fn grow(&self, ptr: NonNull<u8>, old: Layout, pages: usize) -> bool {
        let (addr, count) = (ptr.addr().get(), large_pages::<PAGE_SIZE>(old.size()));
        // SAFETY: the caller owns them.
        let is_grown = unsafe { self.frames().grow_pages(addr, count, pages) }.is_ok();
        if is_grown && P::HARDENING.init_on_alloc {
            // SAFETY: these were allocated just now.
            unsafe { clear::<PAGE_SIZE>(ptr, count, pages) };
        }
        is_grown
    }
}

/// Clears the pages `from..to` behind `ptr`.
///
/// # Safety
///
/// They are one allocation with what is at `ptr`, and nobody uses them.
unsafe fn clear<const PAGE_SIZE: usize>(ptr: NonNull<u8>, from: usize, to: usize) {
    // SAFETY: the caller says that these lie in the allocation.
    let first = unsafe { ptr.add(from * PAGE_SIZE) };
    // SAFETY: as above, and nobody uses them.
    unsafe { first.write_bytes(0, (to - from) * PAGE_SIZE) };
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn plans() {
        let layout = |size, align| Layout::from_size_align(size, align).expect("a valid layout");
        let plan = |old, new| Change::plan::<0x1000>(0x7000, old, new);
        for (old, new, expected) in [
            (layout(65, 8), layout(80, 8), Change::None),
            (layout(65, 8), layout(65, 64), Change::Move),
            (layout(0, 1), layout(8, 1), Change::None),
            (layout(2048, 8), layout(2049, 8), Change::Move),
            (layout(2049, 8), layout(2048, 8), Change::Move),
            (layout(5000, 8), layout(8192, 8), Change::None),
            (layout(5000, 8), layout(8192, 0x1000), Change::None),
            (layout(5000, 8), layout(8192, 0x2000), Change::Move),
            (layout(5000, 8), layout(4096, 8), Change::Shrink(1)),
            (layout(90_000, 8), layout(2049, 4096), Change::Shrink(1)),
            (layout(0, 4096), layout(1, 4096), Change::None),
            (layout(5000, 8), layout(8193, 8), Change::Grow(3)),
            (layout(5000, 8), layout(8193, 0x2000), Change::Move),
        ] {
            assert_eq!(plan(old, new), expected, "{old:?} to {new:?}");
        }
    }
}
