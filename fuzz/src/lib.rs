//! Sequences of allocator calls, and the rules that every one of them must keep.

mod memory;
mod model;
mod objects;
mod platform;

pub use memory::Memory;
pub use model::{Op, Pages, play};
pub use objects::{ObjectOp, play_objects};
pub use platform::{Hardened, Host, set_cpu};
