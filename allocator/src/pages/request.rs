//! What a caller asks for, and whether it makes sense.

use super::frame::{Order, Pfn};
use super::zone::Zone;
use crate::{AllocError, AllocResult};

/// A page allocation with everything that can be asked of one. The calls named `allocate` take it, and refuse what
/// makes no sense with [`InvalidParam`](AllocError::InvalidParam). What they return is freed with `dealloc_pages` and
/// the same count.
///
/// ```
/// use twinframe::PageRequest;
///
/// // Five zeroed pages for a device with 30 address bits.
/// let request = PageRequest::new(5).exact().zeroed().max_phys((1 << 30) - 1);
/// # let _ = request;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a request does nothing until it is handed to an allocator"]
pub struct PageRequest {
    pub(crate) count: usize,
    pub(crate) align: usize,
    pub(crate) max_phys: u64,
    pub(crate) zeroed: bool,
    pub(crate) exact: bool,
}

impl PageRequest {
    /// `count` pages, rounded up to a power of two, anywhere: from 1 to `1 << MAX_ORDER`
    /// ([`MAX_ORDER`](crate::MAX_ORDER)).
    pub const fn new(count: usize) -> Self {
        Self {
            count,
            align: 0,
            max_phys: u64::MAX,
            zeroed: false,
            exact: false,
        }
    }

    /// Aligned to `align` bytes, a power of two from a page up to the largest block; 0 means one page.
    pub const fn align(mut self, align: usize) -> Self {
        self.align = align;
        self
    }

    /// No byte of it at a physical address above `max_phys`; `u64::MAX` is no limit. Of several limits the lowest counts.
    pub const fn max_phys(mut self, max_phys: u64) -> Self {
        if max_phys < self.max_phys {
            self.max_phys = max_phys;
        }
        self
    }

    /// All of it physically below 4 GiB.
    pub const fn lowmem(self) -> Self {
        self.max_phys(Zone::Dma32.last())
    }

    /// All of its pages filled with zeroes.
    pub const fn zeroed(mut self) -> Self {
        self.zeroed = true;
        self
    }

    /// Exactly the count, which need not be a power of two; what a larger block had to be split
    /// for is free again at once. There must be a block for the rounded count.
    pub const fn exact(mut self) -> Self {
        self.exact = true;
        self
    }

    /// The request in orders.
    #[inline]
    pub(crate) fn check<const PAGE_SIZE: usize>(&self) -> AllocResult<Demand> {
        let order = Order::covering(self.count).ok_or(AllocError::InvalidParam)?;
        let align = align_order::<PAGE_SIZE>(self.align)?;
        Ok(Demand {
            count: if self.exact {
                self.count
            } else {
                order.pages()
            },
            order,
            need: order.max(align),
            limit: match self.max_phys {
                u64::MAX => Pfn::LAST,
                max => usize::try_from((max + 1) / PAGE_SIZE as u64).map_or(Pfn::LAST, Pfn::new),
            },
        })
    }
}

/// A request that has been checked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Demand {
    /// Pages that will be allocated.
    pub(crate) count: usize,
    /// The smallest block that holds them.
    pub(crate) order: Order,
    /// The smallest block that is aligned well enough: its beginning serves the request.
    pub(crate) need: Order,
    /// The first frame that may not be used.
    pub(crate) limit: Pfn,
}

impl Demand {
    /// One block of `order`, anywhere.
    #[inline]
    pub(crate) const fn block(order: Order, need: Order) -> Self {
        Self {
            count: order.pages(),
            order,
            need,
            limit: Pfn::LAST,
        }
    }
}

/// The order whose blocks are aligned to `align` bytes.
#[inline]
pub(crate) fn align_order<const PAGE_SIZE: usize>(align: usize) -> AllocResult<Order> {
    if align == 0 {
        return Ok(Order::ZERO);
    }
    if !align.is_power_of_two() || align < PAGE_SIZE {
        return Err(AllocError::InvalidParam);
    }
    Order::new((align / PAGE_SIZE).trailing_zeros()).ok_or(AllocError::InvalidParam)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn nonsense_is_refused() {
        let check = |count, align| PageRequest::new(count).align(align).check::<0x1000>();
        for (count, align) in [
            (0, 0),
            ((1 << 20) + 1, 0),
            (usize::MAX, 0),
            (1, 1),
            (1, 0x800),
            (1, 0x1800),
            (1, usize::MAX),
        ] {
            assert_eq!(check(count, align).err(), Some(AllocError::InvalidParam));
        }
        assert!(check(1, 0).is_ok() && check(1 << 20, 0x1000).is_ok());
    }

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn the_largest_alignment_is_the_largest_block() {
        let check = |align| PageRequest::new(1).align(align).check::<0x1000>();
        assert!(check(4 << 30).is_ok());
        assert_eq!(check(8 << 30).err(), Some(AllocError::InvalidParam));
    }

    #[test]
    fn the_lowest_limit_counts_in_any_order() {
        let limit = |request: PageRequest| request.check::<0x1000>().unwrap().limit;
        let device = PageRequest::new(1).max_phys((1 << 30) - 1);
        assert_eq!(limit(device), Pfn::new(1 << 18));
        assert_eq!(limit(device.lowmem()), limit(device));
        let low = PageRequest::new(1).lowmem();
        assert_eq!(limit(low), Pfn::new(1 << 20));
        assert_eq!(limit(low.max_phys((1 << 30) - 1)), limit(device));
        assert_eq!(limit(low.max_phys(u64::MAX)), limit(low));
    }

    #[test]
    fn exact_keeps_the_count_and_alignment_raises_the_need() {
        let demand = PageRequest::new(5).exact().check::<0x1000>().unwrap();
        assert_eq!((demand.count, demand.order.pages()), (5, 8));
        let demand = PageRequest::new(5)
            .align(0x20_0000)
            .check::<0x1000>()
            .unwrap();
        assert_eq!(
            (demand.count, demand.order.pages(), demand.need.pages()),
            (8, 8, 512)
        );
    }
}
