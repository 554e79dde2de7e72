//! From the loader to the kernel's first line of Rust.
//!
//! Two kinds of loader start the same ELF file:
//!
//! - The rust-osdev `bootloader` (BIOS or UEFI) maps the kernel itself and jumps to the ELF entry
//!   point with a [`BootInfo`](bootloader_api::BootInfo).
//! - A PVH loader (`qemu -kernel`, Firecracker, Cloud Hypervisor) enters in 32-bit protected mode
//!   without paging. The `pvh` module (feature `entry`) builds what the other loader would have
//!   built: a direct map of physical memory, a stack above a guard page, a `BootInfo`. It honours
//!   the kernel's [`BootloaderConfig`](bootloader_api::BootloaderConfig) and refuses by name what
//!   it cannot give.
//!
//! Both meet at one point, `kernel_entry`, so the kernel proper knows a single protocol. What
//! `BootInfo` has no field for (the command line) travels beside it in [`Facts`].
//!
//! Decisions are pure and tested on the host: [`layout`] places the mappings, [`window`] finds
//! memory for page tables, [`carve`] marks it in the map, [`memmap`] turns a firmware map into
//! page ranges, [`acpi`] reads the firmware's tables, [`nodes`] numbers NUMA nodes, [`pci`] finds devices, [`cmdline`] reads the
//! settings. Only `pvh` touches the machine.
//!
//! # Alternatives
//!
//! The `pvh` crate offers a macro for the entry note. It stores the *link* address of the entry
//! function, which must then be linked at its physical address; the rust-osdev loader maps every
//! segment where it is linked, and low addresses collide with its own mappings. This crate links
//! everything in the top 2 GiB and computes the physical entry address in the note instead.
#![cfg_attr(not(test), no_std)]

pub mod acpi;
pub mod carve;
pub mod cmdline;
pub mod facts;
pub mod layout;
pub mod memmap;
pub mod nodes;
pub mod pci;
#[cfg(feature = "entry")]
pub mod pvh;
pub mod window;

pub use facts::Facts;
pub use memmap::PAGE_SIZE;
