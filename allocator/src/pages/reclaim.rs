//! Watermarks, and asking others to give memory back.

use super::request::Demand;
use super::zone::Zone;

/// Numbers of free pages of a zone, on all nodes together, at which something happens. Nothing is refused because of
/// them. Pages in CPUs' caches do not count, but if they would do, they are given back instead of calling the callback.
///
/// `min <= low <= high`. They follow from the size of the zone, as on Linux, unless
/// [`set_watermarks`](crate::FrameAllocator::set_watermarks) says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Watermarks {
    /// Below this, every allocation that takes pages out of the zone's trees calls the callback. (Those for the
    /// allocator's own state leave it to the next one.)
    pub min: usize,
    /// When the free pages fall below this, the callback is called once.
    pub low: usize,
    /// When they are up here again, the next fall below `low` counts.
    pub high: usize,
}

impl Watermarks {
    /// As Linux sets them: `min` is the square root of 16 times the zone's size, both in KiB; `low`
    /// is a quarter above, `high` a half.
    pub(super) const fn of_zone(managed: usize, page_size: usize) -> Self {
        let kib = managed.saturating_mul(page_size) / 1024;
        let min = kib.saturating_mul(16).isqrt() * 1024 / page_size;
        Self {
            min,
            low: min + min / 4,
            high: min + min / 2,
        }
    }
}

/// How badly memory is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Urgency {
    /// A zone fell below its `low` watermark. The allocation succeeded.
    Low,
    /// A zone is below its `min` watermark. The allocation succeeded.
    Min,
    /// The allocation fails unless memory is given back.
    Failing,
}

/// What a reclaim callback is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReclaimRequest {
    /// How badly.
    pub urgency: Urgency,
    /// The order of the allocation, or of what it grows by: it takes up to `1 << order` pages.
    pub order: usize,
    /// Pages that would do: for the allocation, or up to the `high` watermark.
    pub pages: usize,
    /// The highest zone that helps.
    pub zone: Zone,
    /// The last physical address that helps: a page helps if no byte of it lies above.
    pub max_phys: u64,
}

impl ReclaimRequest {
    pub(super) fn failed<const PAGE_SIZE: usize>(demand: &Demand) -> Self {
        let max_phys = (demand.limit.number() as u64)
            .checked_mul(PAGE_SIZE as u64)
            .map_or(u64::MAX, |limit| limit.saturating_sub(1));
        Self {
            urgency: Urgency::Failing,
            order: demand.order.index(),
            pages: demand.count,
            zone: Zone::of(max_phys),
            max_phys,
        }
    }
}

/// Gives pages back, and returns how many; 0 when there is nothing left to give. It is registered with
/// [`FrameAllocator::set_reclaim`](crate::FrameAllocator::set_reclaim).
///
/// It is called with no lock of the allocator held, by the context that allocates: maybe an interrupt handler, and maybe
/// on several CPUs at once. That is [pinned](crate::Platform::pin) meanwhile, so the callback must not sleep. It may free
/// and allocate; while it runs, it is not called again on the same CPU, so allocations there do without it. (Of CPUs that got no caches, as
/// memory had run out before they called, eight are asked at once.)
///
/// What it returns counts for [`Urgency::Failing`] only. An allocation that would fail asks up to 64 times, and tries again
/// after each that was not in vain. Objects that it frees to a [`GlobalAllocator`](crate::GlobalAllocator) serve as well:
/// that looks for them after each call.
pub type Reclaim = fn(&ReclaimRequest) -> usize;

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn watermarks_grow_with_the_root_of_the_zone() {
        // 4 GiB: sqrt(4194304 * 16) = 8192 KiB.
        let marks = Watermarks::of_zone(1 << 20, 4096);
        assert_eq!((marks.min, marks.low, marks.high), (2048, 2560, 3072));
        assert_eq!(Watermarks::of_zone(0, 4096), Watermarks::default());
    }
}
