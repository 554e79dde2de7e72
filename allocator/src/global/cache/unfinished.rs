//! What a cache takes back if a constructor panics, and that unwinds.

use core::mem::ManuallyDrop;
use core::ptr::NonNull;

use super::{CacheBox, Store};
use crate::{AllocResult, Platform};

/// Memory for an object whose value is still being made.
pub(super) struct Slot<'c, P: Platform, const PAGE_SIZE: usize> {
    memory: NonNull<u8>,
    store: &'c Store<'c, P, PAGE_SIZE>,
}

impl<'c, P: Platform, const PAGE_SIZE: usize> Slot<'c, P, PAGE_SIZE> {
    pub(super) fn new(store: &'c Store<'c, P, PAGE_SIZE>) -> AllocResult<Self> {
        let memory = store.alloc()?;
        Ok(Self { memory, store })
    }

    pub(super) fn keep(self) -> NonNull<u8> {
        ManuallyDrop::new(self).memory
    }
}

impl<P: Platform, const PAGE_SIZE: usize> Drop for Slot<'_, P, PAGE_SIZE> {
    fn drop(&mut self) {
        // SAFETY: nobody else knows the memory.
        let freed = unsafe { self.store.free(self.memory) };
        debug_assert_eq!(freed, Ok(()));
    }
}

/// Places of which so many have an object, on the way to all or none.
pub(super) struct Bulk<'c, T, P: Platform, const PAGE_SIZE: usize> {
    places: &'c mut [NonNull<T>],
    made: usize,
    store: &'c Store<'c, P, PAGE_SIZE>,
}

impl<'c, T, P: Platform, const PAGE_SIZE: usize> Bulk<'c, T, P, PAGE_SIZE> {
    pub(super) fn new(store: &'c Store<'c, P, PAGE_SIZE>, places: &'c mut [NonNull<T>]) -> Self {
        Self {
            places,
            made: 0,
            store,
        }
    }

    /// Makes an object of that store for each place.
    pub(super) fn fill(
        mut self,
        make: impl Fn() -> AllocResult<CacheBox<'c, T, P, PAGE_SIZE>>,
    ) -> AllocResult {
        while let Some(place) = self.places.get_mut(self.made) {
            *place = make()?.into_raw();
            self.made += 1;
        }
        core::mem::forget(self);
        Ok(())
    }
}

impl<T, P: Platform, const PAGE_SIZE: usize> Drop for Bulk<'_, T, P, PAGE_SIZE> {
    fn drop(&mut self) {
        let store = self.store;
        for object in &self.places[..self.made] {
            let object = *object;
            drop(CacheBox { object, store });
        }
    }
}
