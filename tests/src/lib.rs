//! The host's side of Twinframe: everything that happens around the kernel, none of what happens in it.
//!
//! A run goes through these modules from top to bottom:
//!
//! 1. [`knobs`]: what the user asked for, checked before anything is built;
//! 2. [`install`]: is there a QEMU, and how does one get it here;
//! 3. [`target`], [`build`], [`strip`]: the kernel as the ELF that boots and the ELF that has the line tables;
//! 4. [`testlist`]: the tests inside that ELF;
//! 5. [`machine`], [`command`]: which machine to boot it on, and QEMU's command line for it;
//! 6. [`claim`]: the folder for its files, for this run alone;
//! 7. [`qemu`], [`qmp`], [`cpus`]: QEMU as a child that cannot outlive us (see [`parent`]), and what its CPUs were doing at the end;
//! 8. [`events`], [`verdict`]: what the kernel reported, and what that means together with QEMU's exit status;
//! 9. [`symbols`], [`report`]: the same for people, with functions and lines in place of addresses.
//!
//! The kernel is driven as a program: only the format of its events and of its test list is shared with it.

pub mod build;
pub mod claim;
pub mod command;
pub mod cpus;
pub mod events;
pub mod install;
pub mod knobs;
pub mod machine;
pub mod parent;
mod problem;
pub mod qemu;
pub mod qmp;
pub mod report;
mod serial_log;
pub mod strip;
pub mod symbols;
pub mod target;
pub mod testlist;
pub mod verdict;
mod workspace;

pub use problem::{Context, Problem, Result};
pub use workspace::Workspace;
