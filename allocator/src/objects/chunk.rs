//! Memory for descriptors.
//!
//! A chunk is a range of memory cut into slots of one size. It is to descriptors what a slab is to
//! objects, without a descriptor of its own: it heads its range, and its free slots are linked.

use core::ptr::NonNull;

/// Heads a range of memory that is cut into slots.
#[repr(C, align(64))]
pub(crate) struct Chunk {
    prev: Option<ChunkRef>,
    next: Option<ChunkRef>,
    /// Slots that were in use and are not.
    free: Option<NonNull<Link>>,
    bytes: usize,
    stride: u32,
    capacity: u32,
    /// Slots from this one on were never in use.
    begun: u32,
    used: u32,
}

const _: () = assert!(size_of::<Chunk>() == 64);

/// What a free slot holds.
struct Link {
    next: Option<NonNull<Self>>,
}

/// Names a chunk. Whoever holds a slot keeps the name with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct ChunkRef(NonNull<Chunk>);

// SAFETY: it is a name; only `Chunks` follows it.
unsafe impl Send for ChunkRef {}

impl ChunkRef {
    /// The chunk that a slot lies in, where chunks are aligned to their length, a power of two.
    ///
    /// # Safety
    ///
    /// The slot lies in a chunk of `bytes` bytes that is so aligned.
    pub(crate) unsafe fn around(slot: NonNull<u8>, bytes: usize) -> Self {
        // SAFETY: the chunk begins there.
        Self(unsafe { slot.sub(slot.addr().get() & (bytes - 1)) }.cast())
    }
}

/// Chunks with slots of one size.
///
/// Invariants:
/// 1. from `add` until `take_unused` returns it, the memory of a chunk belongs to this value,
///    except for the slots that `take` handed out and `give` has not got back;
/// 2. the chunks with a slot to hand out, and only those, are linked from `first`.
pub(crate) struct Chunks {
    first: Option<ChunkRef>,
    spare: usize,
    unused: usize,
}

// SAFETY: the chunks belong to this value alone (invariant 1), as the elements of a `Vec` would.
unsafe impl Send for Chunks {}

impl Chunks {
    pub(crate) const fn new() -> Self {
        Self {
            first: None,
            spare: 0,
            unused: 0,
        }
    }

    /// How many slots [`take`](Self::take) can hand out.
    pub(crate) const fn spare(&self) -> usize {
        self.spare
    }

    /// Cuts a range of memory into slots of `stride` bytes.
    ///
    /// # Safety
    ///
    /// `memory` is aligned to 64 bytes, holds at least a header of 64 bytes and one slot, may be
    /// written, and belongs to this value until [`take_unused`](Self::take_unused) hands it back.
    /// `stride` is a multiple of 8.
    pub(crate) unsafe fn add(&mut self, memory: NonNull<u8>, bytes: usize, stride: usize) {
        let capacity = (bytes - size_of::<Chunk>()) / stride;
        #[expect(clippy::cast_possible_truncation, reason = "a few pages")]
        let chunk = Chunk {
            prev: None,
            next: None,
            free: None,
            bytes,
            stride: stride as u32,
            capacity: capacity as u32,
            begun: 0,
            used: 0,
        };
        let head = memory.cast::<Chunk>();
        // SAFETY: the caller gives the range, and it is large and aligned enough for the header.
        unsafe { head.write(chunk) };
        self.spare += capacity;
        self.unused += 1;
        self.link(ChunkRef(head));
    }

    /// Hands out a slot, and the name of its chunk. What is in the slot is unspecified.
    pub(crate) fn take(&mut self) -> Option<(NonNull<u8>, ChunkRef)> {
        let home = self.first?;
        let chunk = self.chunk(home);
        let slot = match chunk.free {
            Some(link) => {
                // SAFETY: a free slot belongs to this value (invariant 1) and holds a link.
                chunk.free = unsafe { link.read() }.next;
                link.cast()
            }
            None => {
                let offset = size_of::<Chunk>() + (chunk.begun * chunk.stride) as usize;
                chunk.begun += 1;
                // SAFETY: the chunk is linked, so it has a slot (invariant 2), and without a freed
                // one that is the next one of its capacity.
                unsafe { home.0.cast::<u8>().add(offset) }
            }
        };
        chunk.used += 1;
        let is_first = chunk.used == 1;
        let is_last = chunk.used == chunk.capacity;
        self.spare -= 1;
        self.unused -= usize::from(is_first);
        if is_last {
            self.unlink(home);
        }
        Some((slot, home))
    }

    /// Takes a slot back.
    ///
    /// # Safety
    ///
    /// The slot came from [`take`](Self::take) of this value, together with the name `home`, and
    /// is not used any more.
    pub(crate) unsafe fn give(&mut self, slot: NonNull<u8>, home: ChunkRef) {
        let chunk = self.chunk(home);
        let link = slot.cast::<Link>();
        // SAFETY: the slot is this value's again, and every slot is large and aligned enough.
        unsafe { link.write(Link { next: chunk.free }) };
        chunk.free = Some(link);
        let was_full = chunk.used == chunk.capacity;
        chunk.used -= 1;
        let is_unused = chunk.used == 0;
        self.spare += 1;
        self.unused += usize::from(is_unused);
        if was_full {
            self.link(home);
        }
    }

    /// Takes a chunk out of which no slot is in use, and returns its address and length.
    pub(crate) fn take_unused(&mut self) -> Option<(usize, usize)> {
        if self.unused == 0 {
            return None;
        }
        let mut next = self.first;
        while let Some(candidate) = next {
            let chunk = self.chunk(candidate);
            next = chunk.next;
            if chunk.used == 0 {
                let bytes = chunk.bytes;
                let capacity = chunk.capacity as usize;
                self.spare -= capacity;
                self.unused -= 1;
                self.unlink(candidate);
                return Some((candidate.0.as_ptr().expose_provenance(), bytes));
            }
        }
        None
    }

    fn link(&mut self, entered: ChunkRef) {
        let second = self.first;
        let chunk = self.chunk(entered);
        chunk.prev = None;
        chunk.next = second;
        if let Some(second) = second {
            self.chunk(second).prev = Some(entered);
        }
        self.first = Some(entered);
    }

    fn unlink(&mut self, left: ChunkRef) {
        let &mut Chunk { prev, next, .. } = self.chunk(left);
        match prev {
            Some(prev) => self.chunk(prev).next = next,
            None => self.first = next,
        }
        if let Some(next) = next {
            self.chunk(next).prev = prev;
        }
    }

    fn chunk(&mut self, chunk: ChunkRef) -> &mut Chunk {
        // SAFETY: names come from this value, whose chunks they head (invariant 1), and the
        // reference borrows this value.
        unsafe { &mut *chunk.0.as_ptr() }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::vec::Vec;

    use super::*;

    #[repr(align(4096))]
    struct Page([u8; 4096]);

    #[test]
    fn slots_are_disjoint_and_every_chunk_comes_back() {
        let mut memory: Vec<_> = (0..5).map(|_| Page([0xee; 4096])).collect();
        let mut chunks = Chunks::new();
        for page in &mut memory {
            // SAFETY: the pages outlive the chunks and are used by them only.
            unsafe { chunks.add(NonNull::from(&mut page.0).cast(), 4096, 192) };
        }
        assert_eq!(chunks.spare(), 5 * 21);
        let mut random = 1_usize;
        let mut held: Vec<(NonNull<u8>, ChunkRef)> = Vec::new();
        for _ in 0..10_000 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(7);
            if (random >> 33).is_multiple_of(2) {
                if let Some((slot, home)) = chunks.take() {
                    for (other, _) in &held {
                        assert!(slot.addr().get().abs_diff(other.addr().get()) >= 192);
                    }
                    // SAFETY: the slot is ours.
                    unsafe { slot.write_bytes(0xff, 192) };
                    held.push((slot, home));
                }
            } else if !held.is_empty() {
                let (slot, home) = held.swap_remove((random >> 35) % held.len());
                // SAFETY: it was taken and is given back once.
                unsafe { chunks.give(slot, home) };
            }
            assert_eq!(chunks.spare() + held.len(), 5 * 21);
        }
        for (slot, home) in held {
            // SAFETY: as above.
            unsafe { chunks.give(slot, home) };
        }
        assert_eq!(core::iter::from_fn(|| chunks.take_unused()).count(), 5);
        assert!(chunks.spare() == 0 && chunks.take().is_none());
    }
}
