//! Pages: buddies on absolute frame numbers, in zones, in sections that come and go.
//!
//! From the bottom up:
//!
//! - [`frame`] has the arithmetic: page frame numbers, orders, splitting a range into blocks.
//! - [`tree`] is one buddy system: a bit per free block and summaries 64 wide above them.
//! - [`section`] is a piece of one zone with its metadata in its own first pages: the tree, a state
//!   byte for every page, a slab pointer for every 8 KiB. Metadata is set up chunk by chunk, when
//!   the pages it describes are first needed, up to the [`frontier`].
//! - [`region`] cuts the memory that a caller hands over into sections; [`index`] finds the section
//!   of an address.
//! - [`zones`] chooses the section that serves a request.
//! - [`BuddyAllocator`] is all of it for one owner.
//! - [`FrameAllocator`] is all of it for all CPUs: the same behind a lock, with a [`cache`] of
//!   pages for every CPU in front, a [`stack`] for each order, on a [`lane`] of its own, used in [`turn`]s ([`shared`], and [`slow`] behind it), which [`refill`] fills and empties,
//!   [`cut`] where blocks begin that will merge, and [`trim`] keeps small where little is free, and which others can [`drain`], all at once in a [`pass`]. [`Frames`] owns what it allocates, [`reclaim`] asks others for
//!   memory.

mod about;
mod ask;
mod blocks;
mod buddy;
mod byte;
mod cache;
mod call_back;
mod choose;
mod cut;
mod drain;
mod entry;
mod frame;
mod frontier;
mod handle;
mod held;
mod index;
mod info;
mod lane;
mod layout;
mod level;
mod lookup;
mod manage;
mod node;
mod page_size;
mod pass;
mod pin;
mod place;
mod recent;
mod reclaim;
mod refill;
mod region;
mod request;
mod section;
mod share;
mod shared;
mod shrink;
mod slab_window;
mod slow;
mod stack;
mod state;
mod statistics;
mod steps;
mod tree;
mod trim;
mod turn;
mod usual;
mod validate;
mod zone;
mod zone_sections;
mod zones;

#[cfg(all(test, not(loom)))]
pub(crate) mod tests;

pub use about::{PageInfo, PageUse};
pub use buddy::BuddyAllocator;
pub use frame::MAX_ORDER;
pub use handle::Frames;
pub use info::{BuddyInfo, CpuInfo, ManagedSection, ZoneInfo};
pub(crate) use layout::SLAB_GRAIN;
pub(crate) use node::Node;
pub use node::{MAX_NODES, NodeInfo};
pub(crate) use pass::Passes;
pub use reclaim::{Reclaim, ReclaimRequest, Urgency, Watermarks};
pub use region::RegionReport;
pub use request::PageRequest;
pub use shared::FrameAllocator;
pub(crate) use slab_window::{SharedView, SlabView};
pub use state::PageFlags;
pub use steps::Step;
pub use validate::{Fault, Violation};
pub use zone::Zone;
