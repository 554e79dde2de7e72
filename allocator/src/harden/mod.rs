//! Making mistakes of the allocator's users show.
//!
//! [`Hardening`] says what a platform wants; it is a constant, so what is not wanted costs nothing.
//! Decisions are plain functions: [`fence`] has the layout of an object between red zones,
//! [`pattern`] compares memory with what it should be, [`faults`] counts allocations up to the one
//! that is to fail. Memory is touched elsewhere: in `objects::shared::freed` by what happens to free
//! objects, in `global::fenced` by what happens around live ones.

mod config;
pub(crate) mod faults;
pub(crate) mod fence;
pub(crate) mod pattern;

pub use config::Hardening;
