//! From the firmware's memory map to page regions an allocator can be given.
//!
//! A firmware map is a list of claims that nobody has checked: entries overlap, touch, come in any
//! order, end in the middle of a page, are empty, or run past the end of the address space. Beside
//! it stand the ranges that the kernel itself must keep out: its image, the boot structures, frame
//! 0. [`normalise`] brings both into order, and the [`MemoryMap`] that results answers two questions:
//!
//! - [`MemoryMap::regions`]: which whole pages may be used? A page is in the answer **if and only
//!   if** every byte of it is covered by some entry of the wanted [`Class`], and no byte of it by an
//!   entry of another class or by a [`Reservation`]. The regions are sorted, disjoint and never
//!   adjacent.
//! - [`MemoryMap::report`]: what became of each firmware entry, and where did the bytes go?
//!
//! # Claims that are not ranges
//!
//! Bounds are read as `start` and `end = start + length` modulo 2^64, so an entry that ends exactly
//! at the top of the address space has `end == 0`, and nothing is lost when a length is turned into
//! an end.
//!
//! - An entry of no length claims nothing.
//! - An entry whose end lies beyond 2^64 has a length that cannot be true. Such a claim to *usable*
//!   memory is dropped whole. Such a claim to *keep* memory is taken for as much as can be true:
//!   everything from its start to the top. To drop it would hand out memory that somebody wanted
//!   kept; to wrap it around to address 0 would let one corrupt length take the whole machine.
//!
//! # Memory that becomes free later
//!
//! ACPI-reclaimable memory is a class of its own. It keeps its pages out of
//! `regions(Class::Usable)`; once the tables in it have been read, `regions(Class::Reclaimable)`
//! gives them. The two never share a page.
//!
//! # Cost
//!
//! Both lists are sorted in place, O(n log n); after that, every question is one sweep over them
//! with a fixed amount of state. There is no other storage, so there is no number of entries that is
//! too large, and nothing here can fail or panic.

mod class;
mod extent;
mod region;
mod report;
mod sweep;

use core::cmp::Reverse;

use bootloader_api::info::{MemoryRegion, MemoryRegionKind};

pub use class::{Class, TypeName};
pub use region::{PAGE_SIZE, Region};
pub use report::{DropReason, Report, Row, Totals, Verdict};

use extent::Extent;
use sweep::{Merged, Without};

/// A byte range that the kernel keeps for itself, whatever the firmware says of it.
///
/// Bounds are read as those of firmware entries are: `end` is exclusive, and 0 stands for 2^64 if
/// `start` is not 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reservation {
    /// Physical address of the first byte.
    pub start: u64,
    /// Physical address after the last byte.
    pub end: u64,
    /// Who needs it, for the log.
    pub owner: &'static str,
}

impl Reservation {
    /// Frame 0: firmware calls it usable, but physical address 0 is where null pointers and
    /// real-mode vectors are.
    pub const FRAME_ZERO: Self = Self {
        start: 0,
        end: PAGE_SIZE,
        owner: "frame 0",
    };

    fn extent(&self) -> Extent {
        Extent::new(self.start, self.end)
    }
}

/// An entry of a raw E820 table, in the form that [`normalise`] takes.
///
/// The end wraps instead of overflowing, which keeps base and length recoverable (see
/// [the module](self#claims-that-are-not-ranges)).
#[must_use]
pub const fn e820_entry(base: u64, length: u64, kind: u32) -> MemoryRegion {
    MemoryRegion {
        start: base,
        end: base.wrapping_add(length),
        kind: match kind {
            1 => MemoryRegionKind::Usable,
            other => MemoryRegionKind::UnknownBios(other),
        },
    }
}

/// Brings a firmware map and the kernel's reservations into order.
///
/// Accepts anything; see [the module](self) for what is made of it. Both slices are sorted in place,
/// O(n log n), without any other storage.
#[must_use]
pub fn normalise<'a>(
    firmware: &'a mut [MemoryRegion],
    reservations: &'a mut [Reservation],
) -> MemoryMap<'a> {
    // Of two entries with one start the longer goes first, so that the report counts their common
    // bytes for the entry that has them all.
    firmware.sort_unstable_by_key(|entry| {
        (
            entry.start,
            Reverse(entry.end.wrapping_sub(entry.start)),
            Class::of(entry.kind),
        )
    });
    reservations.sort_unstable_by_key(|reservation| reservation.start);
    MemoryMap {
        firmware,
        reservations,
    }
}

/// A firmware map and the kernel's reservations, in order. Made by [`normalise`].
#[derive(Debug, Clone, Copy)]
pub struct MemoryMap<'a> {
    // Both sorted by start, which is all that the sweeps rely on.
    firmware: &'a [MemoryRegion],
    reservations: &'a [Reservation],
}

impl<'a> MemoryMap<'a> {
    /// The firmware's entries, sorted by start.
    #[must_use]
    pub const fn firmware(&self) -> &'a [MemoryRegion] {
        self.firmware
    }

    /// The kernel's reservations, sorted by start.
    #[must_use]
    pub const fn reservations(&self) -> &'a [Reservation] {
        self.reservations
    }

    /// The whole pages that entries of `class` cover and that nothing else claims, as the fewest
    /// possible regions, in ascending order. The whole iteration costs O(n).
    pub fn regions(&self, class: Class) -> impl Iterator<Item = Region> + Clone + use<'a> {
        let wanted = self
            .firmware
            .iter()
            .filter(move |entry| Class::of(entry.kind) == class)
            .filter_map(|entry| Extent::of(entry).as_offered());
        let others = self
            .firmware
            .iter()
            .filter(move |entry| Class::of(entry.kind) != class)
            .filter_map(|entry| Extent::of(entry).as_kept());
        let reserved = self
            .reservations
            .iter()
            .filter_map(|reservation| reservation.extent().as_kept());
        Without::new(Without::new(Merged::new(wanted), others), reserved).filter_map(Region::inside)
    }

    /// Whether the page at the page-aligned address `start` would be usable if the kernel reserved nothing. To ask
    /// before it writes to a page that it has reserved at an address of its own choice: that the firmware calls it
    /// memory is not said by that. Costs O(n).
    #[must_use]
    pub fn offers(&self, start: u64) -> bool {
        let firmware_alone = Self {
            reservations: &[],
            ..*self
        };
        firmware_alone
            .regions(Class::Usable)
            .any(|region| (region.start()..=region.last()).contains(&start))
    }

    /// What became of every firmware entry when pages of `class` were asked for.
    #[must_use]
    pub const fn report(&self, class: Class) -> Report<'a> {
        Report::new(*self, class)
    }
}
