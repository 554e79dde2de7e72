//! A buddy allocator for small memories: one bit for each pair of buddies.
//!
//! A *chunk* is a power of two bytes, by default 2 MiB, cut into blocks of 16 bytes times a power of
//! two. Each pair of buddies has one bit, the exclusive-or of their states: set when exactly one of
//! the two is a free block. With the operation at hand this is all one has to know:
//!
//! - taking a block from a pair whose bit is clear means that the block above was split, and the
//!   other half is free now;
//! - freeing a block of a pair whose bit is set means that the buddy is free, and the two become the
//!   block above.
//!
//! The bits are a binary tree stored as an array: the pair that is the whole chunk has bit 1, and the
//! two pairs inside the halves of pair `n` have the bits `2n` and `2n + 1`. A chunk of 2^k smallest
//! blocks has 2^k - 1 pairs, so 2 MiB take 16 KiB of bits, 1/128.
//!
//! ```text
//! bit 1                1                 1 MiB + 1 MiB: one is free
//!             ┌────────┴────────┐
//! bits 2,3    1                 0        the left half is split, and one of its halves is free
//!         ┌───┴───┐         ┌───┴───┐
//! bits 4… 0       0         0       0    nothing else is split; the rest is allocated or free whole
//! ```
//!
//! The free blocks of an order are a circular doubly linked list that lies inside them, so a buddy is
//! unlinked without a search. Beside bits and the heads of the lists there is no metadata: what size
//! a block has is known from the layout that comes with its free.
//!
//! D. E. Knuth describes the buddy system in *The Art of Computer Programming*, volume 1, section
//! 2.5, with a tag in each block; one bit for each pair is what the page allocator of Linux 2.4 had
//! (`free_area_t::map`; M. Gorman, *Understanding the Linux Virtual Memory Manager*, section 6.1).

mod bits;
mod block;
mod chunk;
mod free_list;
mod place;
mod static_chunk;
#[cfg(all(test, not(loom)))]
mod tests;
mod tree;
mod validate;

pub use block::{LARGEST_CHUNK, SMALLEST_BLOCK};
pub use static_chunk::StaticChunk;
pub use tree::{BitTree, FreeChunk};
pub use validate::Flaw;
