//! Sequences of allocator calls, memory maps and tables of firmware, and the rules that every one of them
//! must keep.

mod firmware;
mod memory;
mod model;
mod objects;
mod platform;
mod shared;
mod single;
mod tree;

pub use firmware::{check_map, check_tables};
pub use model::Op;
pub use objects::{ObjectOp, play_objects};
pub use platform::{Hardened, Host};
pub use shared::play_shared;
pub use single::play_single;
pub use tree::{TreeOps, play_tree};
