//! Sequences of page allocator calls, and the rules that every one of them must keep.

mod memory;
mod model;
mod platform;

pub use memory::Memory;
pub use model::{Op, Pages, play};
pub use platform::{Host, set_cpu};
