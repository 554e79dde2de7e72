mod available;
mod conformance;
mod faulty;
mod rc;
mod runs;
mod slab;

use super::{BaseAllocator, BitmapPageAllocator, BuddyByteAllocator};
use super::{SlabByteAllocator, TlsfByteAllocator};
use crate::AllocError;

const fn is_send<T: Send>() {}

/// Every one may be put behind a lock.
const _: () = {
    is_send::<BuddyByteAllocator>();
    is_send::<TlsfByteAllocator>();
    is_send::<SlabByteAllocator>();
    is_send::<BitmapPageAllocator>();
};

/// That a word is behind the end of the address space was not noticed.
#[test]
fn a_range_that_is_too_small_may_end_with_the_address_space() {
    for (start, size) in [(usize::MAX - 7, 0), (usize::MAX - 7, 7), (usize::MAX, 0)] {
        // SAFETY: refused.
        let added = unsafe { BuddyByteAllocator::new().add_memory(start, size) };
        assert_eq!(added, Err(AllocError::InvalidParam), "{start:#x} {size}");
    }
}
