//! The machine's own description: the ACPI tables that firmware leaves in memory.
//!
//! [`Tables::find`] follows the root pointer that the loader gives; [`Tables::madt`] and its
//! neighbours find one table each and read it. All of it is reading: no heap, no state, no AML.
//!
//! Nothing in a table is believed before it is checked. A table counts only if its length is
//! plausible, all its bytes are readable, and they add up to 0; a structure inside it only if it
//! lies inside the table and is as long as its kind is. What fails is an [`Error`] that says where
//! and why, the rest is used. No input makes this code panic, read outside what
//! [`PhysicalMemory::read`] gave, or run for long: see the limits [`LONGEST_TABLE`],
//! [`MOST_TABLES`] and [`MOST_CPUS`].
//!
//! # Alternatives
//!
//! The `acpi` crate reads all these tables and more. On stable there are 5.2.0 and 7.0.0-pre1,
//! without their default features. Given hostile tables, both were seen to fail:
//!
//! - Their handler maps physical memory and cannot refuse, so an address or a length that leads
//!   nowhere is a fault.
//! - 7.0.0-pre1 goes on after a wrong checksum in the root pointer, and looks at no other one by
//!   itself. 5.2.0 adds up as many bytes as a root pointer states, mapped or not.
//! - A structure of length 0 makes the iterators of both go on for ever. One that is shorter than
//!   its kind, at the end of a table, is read past that end. In 5.2.0, a table shorter than its fixed
//!   part and a structure that leaves its table make the arithmetic wrap: a panic, or a walk through
//!   whatever follows. ([rust-osdev/acpi#315] is about a part of this.)
//!
//! `tests/acpi/` feeds this module such tables.
//!
//! [rust-osdev/acpi#315]: https://github.com/rust-osdev/acpi/issues/315
#![forbid(unsafe_code)]

mod entries;
mod error;
mod fadt;
mod fields;
mod madt;
mod mcfg;
mod memory;
mod power;
mod register;
mod rsdp;
mod srat;
mod table;
mod tables;

pub use error::{Error, Signature};
pub use fadt::{Fadt, Timer};
pub use madt::{InterruptOverride, IoApic, MOST_CPUS, Madt, MadtEntry, Processor, Standing};
pub use mcfg::{ConfigSpace, Mcfg};
pub use memory::PhysicalMemory;
pub use power::PowerOff;
pub use register::{Register, Width, Write};
pub use rsdp::Rsdp;
pub use srat::{Affinity, CpuAffinity, MemoryAffinity, Srat};
pub use table::{LONGEST_TABLE, Table};
pub use tables::{MOST_TABLES, Tables};
