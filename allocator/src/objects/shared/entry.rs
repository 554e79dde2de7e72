//! What leads from an address to its slab.

use core::num::NonZeroUsize;

use super::super::size_class::SizeClass;
use super::descriptor::SharedRef;
use crate::{AllocError, AllocResult};

/// What the page metadata says about the slab at an address: the address of the descriptor, and in its
/// low bits the number of the class, which is not 0.
#[derive(Clone, Copy)]
pub(super) struct Entry(pub(super) *mut ());

const CLASS_BITS: usize = 63;
const _: () = assert!(SizeClass::COUNT <= CLASS_BITS);

impl Entry {
    pub(super) fn new(descriptor: SharedRef, class: SizeClass) -> Self {
        Self(
            descriptor
                .as_ptr()
                .cast::<()>()
                .map_addr(|addr| addr | class as usize),
        )
    }

    /// The slab's descriptor, if the object at `addr` may be one of `class`.
    ///
    /// # Errors
    ///
    /// `NotFound`, `InvalidParam` or `NotAllocated`, as
    /// [`ObjectAllocator::free`](super::allocator::ObjectAllocator::free) has them.
    pub(super) fn check<const PAGE_SIZE: usize>(
        self,
        addr: usize,
        class: SizeClass,
    ) -> AllocResult<SharedRef> {
        if self.0.is_null() {
            return Err(AllocError::NotFound);
        }
        if self.class() != Some(class) {
            return Err(AllocError::InvalidParam);
        }
        if !class.grid::<PAGE_SIZE>().is_object(addr) {
            return Err(AllocError::NotAllocated);
        }
        self.descriptor().ok_or(AllocError::NotFound)
    }

    /// Whether [`check`](Self::check) finds nothing wrong, without a word about what is.
    #[inline]
    pub(super) fn admits<const PAGE_SIZE: usize>(self, addr: usize, class: SizeClass) -> bool {
        self.0.addr() & CLASS_BITS == class as usize && class.grid::<PAGE_SIZE>().is_object(addr)
    }

    /// The class of the slab, if there is one.
    pub(super) fn class(self) -> Option<SizeClass> {
        let index = (self.0.addr() & CLASS_BITS).checked_sub(1)?;
        SizeClass::ALL.get(index).copied()
    }

    #[inline]
    pub(super) fn descriptor(self) -> Option<SharedRef> {
        SharedRef::from_ptr(self.0.map_addr(|addr| addr & !CLASS_BITS).cast())
    }

    /// Which object of its slab lies at `addr`.
    pub(super) fn index<const PAGE_SIZE: usize>(addr: usize, class: SizeClass) -> usize {
        let bytes = class.grid::<PAGE_SIZE>().bytes();
        class.quotient(addr & (bytes - 1))
    }

    pub(super) fn addr(self) -> Option<NonZeroUsize> {
        NonZeroUsize::new(self.0.addr())
    }
}
