//! Twinframe: a buddy and slab memory allocator for kernels.
//!
//! Pages come from a buddy allocator over any number of regions, objects from a slab allocator above it,
//! and [`GlobalAllocator`] is both of them for all CPUs of a machine. The crate is `no_std`, needs no other
//! heap, and knows of the machine what [`Platform`] tells it. Every free is checked, in release builds too.
//!
//! # What is for what
//!
//! | type | gives | for |
//! |---|---|---|
//! | [`GlobalAllocator`] | objects and pages | all CPUs and their interrupt handlers: what a kernel needs |
//! | [`ObjectCache`] | objects of one type, under a name | the same; it takes its memory from a `GlobalAllocator` |
//! | [`FrameAllocator`] | pages | the same; [`GlobalAllocator::frames`] is one |
//! | [`BuddyAllocator`] | pages | one owner; needs no `Platform` |
//! | [`SlabAllocator`] | objects of up to 2048 bytes | one owner, who supplies the slabs; needs no `Platform` |
//! | [`StaticSlabPool`] | the same | a `SlabAllocator` behind a lock for each CPU, for callers that number CPUs themselves |
//! | [`BitTree`](bittree::BitTree) | bytes | one owner with little memory |
//! | [`traits`] | | one interface for allocators of bytes, of pages and of numbers, these and others |
//!
//! [`PageRequest`] says all that can be asked of pages, [`Hardening`] what is checked beyond what always is.
//! Refusals are [`AllocError`]s; mistakes of callers that no call can return go to [`Platform::misuse`].
//!
//! # Bringing it up
//!
//! 1. Implement [`Platform`]. The trait lists what its answers must guarantee; the allocator is sound only
//!    if they do. With more than one CPU that includes [`Platform::heavy_barrier`]: without it, the program does not
//!    build.
//! 2. Put a [`GlobalAllocator`] into a `static`. It has no memory, so allocations are refused with
//!    [`NotInitialized`](AllocError::NotInitialized).
//! 3. Hand it the first region with [`init`](GlobalAllocator::init): virtual memory that is mapped, writable,
//!    physically contiguous, and from then on the allocator's.
//! 4. Hand it the others with [`add_region`](GlobalAllocator::add_region), or with
//!    [`add_region_at`](FrameAllocator::add_region_at) of [`frames`](GlobalAllocator::frames), which takes the physical
//!    address and reports what became of the region. This may be done at any time, while other CPUs allocate.
//! 5. Use it from every CPU. None has to be announced: its state is set up when it first calls.
//!
//! Interrupt handlers may allocate and free, whatever they interrupted, and may make any other call but those
//! that wait for all CPUs or for each other: adding and removing memory, and `validate`. Nor may whoever makes those
//! hold a lock of the kernel's that handlers take; other calls may be made under one. A handler that
//! [`Platform::irq_save`] does not hold back, as that of a non-maskable interrupt, makes no call but
//! [`about`](GlobalAllocator::about).
//!
//! # Example
//!
//! A process on Linux with two threads, each of them a CPU:
//!
//! ```
//! use std::alloc::Layout;
//! use std::cell::Cell;
//! use std::ptr::NonNull;
//! use std::thread;
//!
//! use twinframe::{AllocError, GlobalAllocator, Platform};
//!
//! thread_local!(static CPU: Cell<usize> = const { Cell::new(0) });
//!
//! struct Process;
//!
//! // SAFETY: each thread that calls is a CPU with a number of its own; physical addresses are virtual ones;
//! // nothing that allocates interrupts a thread; `membarrier` is the barrier that is asked for.
//! unsafe impl Platform for Process {
//!     const MAX_CPUS: usize = 2;
//!     type IrqState = ();
//!     fn cpu_id() -> usize {
//!         CPU.get()
//!     }
//!     fn virt_to_phys(virt: usize) -> u64 {
//!         virt as u64
//!     }
//!     fn phys_to_virt(phys: u64) -> usize {
//!         phys as usize
//!     }
//!     fn irq_save() {}
//!     unsafe fn irq_restore((): ()) {}
//!     fn heavy_barrier() {
//!         // SAFETY: the call has no memory arguments.
//!         let status = unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_GLOBAL, 0, 0) };
//!         assert_eq!(status, 0, "no membarrier");
//!     }
//! }
//!
//! static HEAP: GlobalAllocator<Process> = GlobalAllocator::new();
//!
//! fn main() -> Result<(), AllocError> {
//!     let [first, second] = [0, 1].map(|_| vec![0_u8; 4 << 20].leak());
//!     // SAFETY: the memory was leaked, and nobody else uses it.
//!     unsafe { HEAP.init(first) }?;
//!     let phys = second.as_ptr().addr() as u64;
//!     // SAFETY: as above, and that is where it lies.
//!     let report = unsafe { HEAP.frames().add_region_at(NonNull::from(second), phys) }?;
//!     assert!(report.managed > 3 << 20);
//!
//!     let layout = Layout::new::<[u64; 8]>();
//!     let object = HEAP.alloc(layout)?;
//!     // SAFETY: the object is not used any more.
//!     unsafe { HEAP.dealloc(object, layout) }?;
//!     // SAFETY: nobody uses it; that it is free already is for the allocator to see.
//!     let twice = unsafe { HEAP.dealloc(object, layout) };
//!     assert_eq!(twice, Err(AllocError::NotAllocated));
//!
//!     // Four pages, aligned to 64 KiB, that another CPU frees.
//!     let pages = HEAP.alloc_pages(4, 0x10000)?;
//!     let other = thread::spawn(move || {
//!         CPU.set(1);
//!         // SAFETY: the pages are not used any more.
//!         unsafe { HEAP.dealloc_pages(pages, 4) }
//!     });
//!     other.join().expect("it does not panic")?;
//!
//!     HEAP.drain();
//!     assert_eq!(HEAP.allocated_bytes(), 0);
//!     Ok(())
//! }
//! ```
//!
//! In a kernel, with the attribute that makes it the heap of Rust's collections:
//!
//! ```no_run
//! # use twinframe::{GlobalAllocator, Platform};
//! # struct Machine;
//! # // SAFETY: never used.
//! # unsafe impl Platform for Machine {
//! #     const MAX_CPUS: usize = 1;
//! #     type IrqState = ();
//! #     fn cpu_id() -> usize { 0 }
//! #     fn virt_to_phys(virt: usize) -> u64 { virt as u64 }
//! #     fn phys_to_virt(phys: u64) -> usize { phys as usize }
//! #     fn irq_save() {}
//! #     unsafe fn irq_restore(_: ()) {}
//! # }
//! #[global_allocator]
//! static HEAP: GlobalAllocator<Machine> = GlobalAllocator::new();
//! ```
//!
//! # Using the crate
//!
//! It is not published on crates.io. Depend on it by path, `twinframe = { path = "../twinframe/allocator" }`, or by
//! `git = "..."` with the address of the repository. It needs Rust 1.95, stable.
//!
//! No feature is on by default. Each of those in the first part of the table sets a field of
//! [`Hardening::FEATURES`], which a platform gets that does not set [`Platform::HARDENING`].
//!
//! | feature | what it does |
//! |---|---|
//! | `red_zones` | finds writes beside an object, when it is freed |
//! | `poison` | fills free objects, and finds writes to them |
//! | `check_marks` | finds writes to the first word of a free object |
//! | `init_on_alloc` | memory for a layout is zero |
//! | `init_on_free` | memory for a layout is cleared when it is freed |
//! | `quarantine` | freed objects wait until 256 KiB, or 1,000 objects, were freed after them; less when memory is short |
//! | `random_order` | objects come out of a slab in an order that cannot be foreseen |
//! | `fault_injection` | [`GlobalAllocator::fail_allocation`] makes allocations fail |
//! | `hardened` | all of these but `init_on_free` and `fault_injection` |
//! | `allocator_api2` | `&GlobalAllocator` is an `Allocator` of the crate `allocator-api2`; `traits::AllocatorRc` |
//! | `bitmap` | `traits::BitmapPageAllocator` |
//! | `buddy` | `traits::BuddyByteAllocator`, over the crate `buddy_system_allocator` |
//! | `slab` | `traits::SlabByteAllocator` |
//! | `tlsf` | `traits::TlsfByteAllocator`, over the crate `rlsf` |
//! | `conformance` | the module `conformance`: checks that any allocator must pass; with it `bitmap`, `buddy`, `slab` and `tlsf` |
#![no_std]

#[cfg(test)]
extern crate std;

pub mod bittree;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod error;
mod global;
mod harden;
#[cfg(all(test, loom))]
mod modelled;
mod objects;
mod pages;
mod patience;
mod percpu;
mod platform;
mod report;
mod sync;
pub mod traits;

pub use error::{AllocError, AllocResult};
pub use global::{
    AddressInfo, CacheBox, CacheStats, CpuSlabInfo, GlobalAllocator, LiveObjects, ObjectCache,
    ObjectInfo, SlabInfo,
};
pub use harden::Hardening;
pub use objects::{
    ClassStats, CpuClassStats, PerCpuSlab, SizeClass, SlabAllocResult, SlabAllocator,
    SlabDeallocResult, SlabPoolDeallocResult, SlabPoolExt, SlabPoolTrait, SlabTrait,
    StaticSlabPool,
};
pub use pages::{
    BuddyAllocator, BuddyInfo, CpuInfo, Fault, FrameAllocator, Frames, MAX_NODES, MAX_ORDER,
    ManagedSection, NodeInfo, PageFlags, PageInfo, PageRequest, PageUse, Reclaim, ReclaimRequest,
    RegionReport, Step, Urgency, Violation, Watermarks, Zone, ZoneInfo,
};
pub use platform::Platform;
pub use report::{Inconsistency, Misuse};
