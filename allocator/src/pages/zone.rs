//! Zones: what a device with a narrow address bus can reach.

use core::fmt;

use super::frame::Pfn;

/// A range of physical addresses with one use. No free block crosses a zone's border.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Zone {
    /// Below 16 MiB: ISA devices.
    Dma,
    /// From 16 MiB up to 4 GiB: devices with 32 address bits.
    Dma32,
    /// From 4 GiB up.
    Normal,
}

/// How many zones there are.
pub(crate) const ZONES: usize = 3;

const DMA_LIMIT: u64 = 16 << 20;
const DMA32_LIMIT: u64 = 4 << 30;

/// [`DMA_LIMIT`] as an address, and the factor to [`DMA32_LIMIT`], which is none on 32 bits.
const DMA_BYTES: usize = 16 << 20;
const DMA32_TO_DMA: usize = 256;
const _: () = assert!(DMA_BYTES as u64 == DMA_LIMIT);
const _: () = assert!(DMA_LIMIT * DMA32_TO_DMA as u64 == DMA32_LIMIT);

impl Zone {
    /// All zones, lowest addresses first.
    pub const ALL: [Self; ZONES] = [Self::Dma, Self::Dma32, Self::Normal];

    /// The name as `/proc/buddyinfo` writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dma => "DMA",
            Self::Dma32 => "DMA32",
            Self::Normal => "Normal",
        }
    }

    /// The zone of a physical address.
    #[must_use]
    pub const fn of(phys: u64) -> Self {
        if phys < DMA_LIMIT {
            Self::Dma
        } else if phys < DMA32_LIMIT {
            Self::Dma32
        } else {
            Self::Normal
        }
    }

    /// The last physical address of the zone.
    #[must_use]
    pub const fn last(self) -> u64 {
        match self {
            Self::Dma => DMA_LIMIT - 1,
            Self::Dma32 => DMA32_LIMIT - 1,
            Self::Normal => u64::MAX,
        }
    }

    #[inline]
    pub(crate) const fn index(self) -> usize {
        self as usize
    }

    /// The first frame of the zone.
    #[inline]
    pub(crate) const fn first<const PAGE_SIZE: usize>(self) -> Pfn {
        match self {
            Self::Dma => Pfn::new(0),
            Self::Dma32 => Pfn::new(DMA_BYTES / PAGE_SIZE),
            Self::Normal => Pfn::new(DMA_BYTES / PAGE_SIZE * DMA32_TO_DMA),
        }
    }

    /// The first frame past the zone.
    #[inline]
    pub(crate) const fn limit<const PAGE_SIZE: usize>(self) -> Pfn {
        match self {
            Self::Dma => Self::Dma32.first::<PAGE_SIZE>(),
            Self::Dma32 => Self::Normal.first::<PAGE_SIZE>(),
            Self::Normal => Pfn::LAST,
        }
    }

    /// One page in how many pages of higher zones is kept back here for requests that cannot use
    /// those. The idea and the shape of the formula are Linux's `lowmem_reserve_ratio`; the
    /// ratio of the DMA zone is 1024 instead of 256 because a machine with 128 MiB has nothing
    /// above DMA32, and a 256th of it would be half of what such a machine may lose altogether.
    const fn reserve_ratio(self) -> usize {
        match self {
            Self::Dma => 1024,
            Self::Dma32 | Self::Normal => 256,
        }
    }

    /// How many pages of `self` a request that could also have been served from `highest` leaves
    /// alone: the managed pages of the zones above `self` up to `highest`, divided by the ratio of
    /// `self`.
    pub(crate) fn reserve(self, highest: Self, managed: &[usize; ZONES]) -> usize {
        let above: usize = Self::ALL
            .iter()
            .filter(|zone| **zone > self && **zone <= highest)
            .map(|zone| managed[zone.index()])
            .sum();
        above / self.reserve_ratio()
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn borders_belong_to_the_higher_zone() {
        assert_eq!(Zone::of(0), Zone::Dma);
        assert_eq!(Zone::of((16 << 20) - 1), Zone::Dma);
        assert_eq!(Zone::of(16 << 20), Zone::Dma32);
        assert_eq!(Zone::of((4 << 30) - 1), Zone::Dma32);
        assert_eq!(Zone::of(4 << 30), Zone::Normal);
    }

    #[test]
    fn the_reserve_counts_only_zones_the_request_could_use_instead() {
        let managed = [4_000, 700_000, 1_000_000];
        assert_eq!(Zone::Dma.reserve(Zone::Dma, &managed), 0);
        assert_eq!(Zone::Dma.reserve(Zone::Dma32, &managed), 700_000 / 1024);
        assert_eq!(Zone::Dma.reserve(Zone::Normal, &managed), 1_700_000 / 1024);
        assert_eq!(Zone::Dma32.reserve(Zone::Normal, &managed), 1_000_000 / 256);
        assert_eq!(Zone::Normal.reserve(Zone::Normal, &managed), 0);
    }
}
