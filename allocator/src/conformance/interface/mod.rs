//! What any allocator behind the [`traits`](crate::traits) must do, ours and others'.
//!
//! Each *point* is one thing that users rely on. A [`Candidate`] is examined by trying all of
//! them, each on a fresh allocator; the report has one line for each that does not hold. A candidate comes with the
//! list of points that it is known to fail, and why; it passes if that list is right, in both
//! directions.

mod bytes;
mod candidate;
mod chain;
mod ground;
mod ids;
mod page_frees;
mod pages;
mod peers;
mod roster;

pub use candidate::{Candidate, Exception, Why};
pub use ground::Ground;
pub use peers::LinkedList;
pub use roster::{examine_bytes, examine_ids, examine_pages};
