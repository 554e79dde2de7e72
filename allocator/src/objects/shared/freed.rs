//! What free objects look like to a platform that wants to see them touched.
//!
//! Every free object begins with its mark, also one of a fresh slab; where free objects are filled,
//! every other byte of them is the pattern. The pattern, and where marks are kept the mark, are looked
//! at when the object is handed out again.

use core::ptr::NonNull;

use super::super::size_class::SizeClass;
use super::allocator::ObjectAllocator;
use crate::harden::pattern::{Difference, unlike, unlike_word};
use crate::pages::FrameAllocator;
use crate::{AllocResult, Misuse, Platform};

const WORD: usize = size_of::<usize>();

impl<P: Platform, const PAGE_SIZE: usize> ObjectAllocator<P, PAGE_SIZE> {
    /// [`alloc`](Self::alloc), and a look at what happened to the object while it was free.
    pub(crate) fn alloc_inspected(
        &self,
        frames: &FrameAllocator<P, PAGE_SIZE>,
        class: SizeClass,
    ) -> AllocResult<NonNull<u8>> {
        let object = self.alloc(frames, class)?;
        if P::HARDENING.keeps_marks() {
            let addr = object.addr().get();
            inspect::<P>(addr, class, self.mark_of(addr));
            // SAFETY: the object was just allocated, and is aligned for a word.
            unsafe { object.cast::<usize>().write(0) };
        }
        Ok(object)
    }

    /// [`free`](Self::free), with everything that is to happen to a free object.
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Safety
    ///
    /// As there.
    pub(crate) unsafe fn free_filled(
        &self,
        frames: &FrameAllocator<P, PAGE_SIZE>,
        addr: usize,
        class: SizeClass,
    ) -> AllocResult {
        self.check(frames, addr, class)?;
        if let Some(fill) = P::HARDENING.fill() {
            // The mark will be written over the first word.
            // SAFETY: the object is live, and the caller gives it up.
            unsafe { fill_body(addr, class, fill) };
        }
        if P::HARDENING.quarantine != 0 {
            // SAFETY: the caller's duties are the same; checked above.
            unsafe { self.free_later(frames, addr, class) }
        } else {
            // SAFETY: the caller's duties are the same.
            unsafe { self.free(frames, addr, class) }
        }
    }

    /// Makes the objects of a fresh slab at `base` look like freed ones: the free of an object that was
    /// never handed out is a double free, too.
    pub(super) fn prepare(&self, base: usize, class: SizeClass) {
        let objects = class.grid::<PAGE_SIZE>().objects();
        for addr in (0..objects).map(|index| base + index * class.size()) {
            if let Some(fill) = P::HARDENING.fill() {
                // SAFETY: the slab is new, so nobody uses it.
                unsafe { fill_body(addr, class, fill) };
            }
            self.mark(addr);
        }
    }
}

/// Fills all of an object but its first word.
///
/// # Safety
///
/// The object is nobody's but the caller's.
unsafe fn fill_body(addr: usize, class: SizeClass, fill: u8) {
    let start = core::ptr::with_exposed_provenance_mut::<u8>(addr + WORD);
    // SAFETY: an object is at least a word long, and the caller's.
    unsafe { start.write_bytes(fill, class.size() - WORD) };
}

/// Looks at a free object that nobody else has, and reports the first byte that was written since it
/// became free. Puts right what it finds.
pub(super) fn inspect<P: Platform>(addr: usize, class: SizeClass, mark: usize) {
    let word = core::ptr::with_exposed_provenance_mut::<usize>(addr);
    // SAFETY: the object is the caller's, and aligned for a word. (A user of the memory who should
    // not be one may race with this, hence volatile.)
    let found = unsafe { word.read_volatile() };
    let fill = P::HARDENING.fill().filter(|_| P::HARDENING.poison);
    let in_body = fill.and_then(|fill| {
        let start = core::ptr::with_exposed_provenance::<u8>(addr + WORD);
        // SAFETY: the object is the caller's, and was filled when it became free.
        let body = unsafe { core::slice::from_raw_parts(start, class.size() - WORD) };
        unlike(body, fill)
    });
    let difference = unlike_word(found, mark).or(in_body.map(|difference| Difference {
        offset: difference.offset + WORD,
        ..difference
    }));
    let Some(difference) = difference else { return };
    if let Some(fill) = fill {
        // SAFETY: the object is the caller's.
        unsafe { fill_body(addr, class, fill) };
    }
    // SAFETY: as above.
    unsafe { word.write(mark) };
    P::misuse(&Misuse::UseAfterFree {
        object: addr,
        size: class.size(),
        offset: difference.offset,
        expected: difference.expected,
        found: difference.found,
    });
}
