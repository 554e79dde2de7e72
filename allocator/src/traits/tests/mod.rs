mod available;
mod conformance;
mod faulty;
mod rc;
mod runs;
mod slab;

use super::{BitmapPageAllocator, BuddyByteAllocator, SlabByteAllocator, TlsfByteAllocator};

const fn is_send<T: Send>() {}

/// Every one may be put behind a lock.
const _: () = {
    is_send::<BuddyByteAllocator>();
    is_send::<TlsfByteAllocator>();
    is_send::<SlabByteAllocator>();
    is_send::<BitmapPageAllocator>();
};
