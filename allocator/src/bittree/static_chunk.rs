//! A chunk in a `static`.

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering};

use super::block::{LARGEST_CHUNK, SMALLEST_BLOCK};
use super::chunk::{Chunk, Origin};

/// Room for a chunk of `KIB` KiB with its bits, one word of them for each KiB. A power of two, up to
/// 2048.
///
/// ```
/// use twinframe::bittree::{BitTree, StaticChunk};
///
/// static CHUNK: StaticChunk<64> = StaticChunk::new();
///
/// let mut tree = BitTree::new();
/// tree.add_static(&CHUNK)?;
/// assert_eq!(tree.total_bytes(), 64 << 10);
/// # Ok::<(), twinframe::AllocError>(())
/// ```
#[repr(C, align(4096))]
pub struct StaticChunk<const KIB: usize = 2048> {
    memory: UnsafeCell<[[u8; 1024]; KIB]>,
    bits: UnsafeCell<[u64; KIB]>,
    chunk: UnsafeCell<MaybeUninit<Chunk>>,
    claimed: AtomicBool,
}

// SAFETY: only the tree that has set `claimed` touches the rest.
unsafe impl<const KIB: usize> Sync for StaticChunk<KIB> {}

impl<const KIB: usize> StaticChunk<KIB> {
    /// A chunk that is in no tree.
    #[must_use]
    pub const fn new() -> Self {
        const {
            assert!(KIB.is_power_of_two(), "a power of two KiB");
            assert!(KIB * 1024 <= LARGEST_CHUNK, "2 MiB at most");
        }
        Self {
            memory: UnsafeCell::new([[0; 1024]; KIB]),
            bits: UnsafeCell::new([0; KIB]),
            chunk: UnsafeCell::new(MaybeUninit::uninit()),
            claimed: AtomicBool::new(false),
        }
    }

    /// Makes it a chunk with all memory free, unless it is in a tree already.
    pub(super) fn claim(&'static self) -> Option<NonNull<Chunk>> {
        if self.claimed.swap(true, Ordering::Acquire) {
            return None;
        }
        let memory = NonNull::new(self.memory.get())?.cast::<u8>();
        let bits = NonNull::new(self.bits.get())?.cast::<u64>();
        let place = NonNull::new(self.chunk.get())?.cast::<Chunk>();
        let top = (KIB * 1024 / SMALLEST_BLOCK).ilog2();
        // SAFETY: both arrays are as long as the order says, and belong to whoever has set the flag.
        let chunk = unsafe { Chunk::new(memory, bits, top, Origin::Static(&self.claimed)) };
        // SAFETY: likewise.
        unsafe { place.write(chunk) };
        Some(place)
    }
}

impl<const KIB: usize> Default for StaticChunk<KIB> {
    fn default() -> Self {
        Self::new()
    }
}
