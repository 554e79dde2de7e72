//! Where the objects of a slab lie, without a division.

use super::size_class::SizeClass;

/// The places of objects in slabs of one class. Slabs are blocks, so they are aligned to their size.
#[derive(Clone, Copy)]
pub(crate) struct Grid {
    /// The bits of an address that say where in its slab it lies.
    mask: u32,
    /// How many objects there are.
    objects: u32,
    /// 2^64 divided by the size of an object: the next larger number.
    reciprocal: u64,
    /// What the product of `reciprocal` and the offset after the last object leaves, modulo 2^64.
    bound: u64,
}

impl Grid {
    const fn new(class: SizeClass, page_size: usize) -> Self {
        let bytes = class.slab_pages(page_size) * page_size;
        let objects = class.objects_in(bytes);
        assert!(bytes.is_power_of_two() && bytes <= 1 << 31);
        #[expect(clippy::cast_possible_truncation, reason = "at most 2^31")]
        let (mask, objects) = ((bytes - 1) as u32, objects as u32);
        let size = class.size() as u64;
        let reciprocal = u64::MAX / size + 1 + size.is_power_of_two() as u64;
        assert!((bytes as u64) < reciprocal);
        Self {
            mask,
            objects,
            reciprocal,
            bound: (objects as u64 * size).wrapping_mul(reciprocal),
        }
    }

    /// Bytes of a slab.
    #[inline]
    pub(crate) const fn bytes(&self) -> usize {
        self.mask as usize + 1
    }

    /// Objects of a slab.
    #[inline]
    pub(crate) const fn objects(&self) -> usize {
        self.objects as usize
    }

    /// Whether an object of a slab that covers `addr` begins there.
    ///
    /// With the reciprocal `r`, and `e = r * size - 2^64`, which is from 1 to `size`, the product of `r` with the offset of
    /// object `i` is `i * e` modulo 2^64; with any other offset it is at least `r`: Lemire, Kaser, Kurz, "Faster
    /// remainder by direct computation" (2019), section 3.2. So the objects are what is below the product
    /// for the place after the last one, which is `e` times their number: one comparison says that there is an
    /// object, and that it is none after the last. That holds because a slab has fewer bytes than `r`.
    #[inline]
    pub(crate) const fn is_object(&self, addr: usize) -> bool {
        #[expect(clippy::cast_possible_truncation, reason = "the mask is that long")]
        let offset = addr as u32 & self.mask;
        (offset as u64).wrapping_mul(self.reciprocal) < self.bound
    }
}

/// The grids of all classes.
struct Grids<const PAGE_SIZE: usize>;

impl<const PAGE_SIZE: usize> Grids<PAGE_SIZE> {
    const ALL: [Grid; SizeClass::COUNT] = {
        let mut all = [Grid::new(SizeClass::Bytes8, PAGE_SIZE); SizeClass::COUNT];
        let mut class = 0;
        while class < all.len() {
            all[class] = Grid::new(SizeClass::ALL[class], PAGE_SIZE);
            class += 1;
        }
        all
    };
}

impl SizeClass {
    /// Where the objects of a slab of this class lie.
    #[inline]
    pub(crate) const fn grid<const PAGE_SIZE: usize>(self) -> &'static Grid {
        let all: &'static [Grid; Self::COUNT] = &Grids::<PAGE_SIZE>::ALL;
        &all[self.index()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agrees_with_division<const PAGE_SIZE: usize>() {
        for class in SizeClass::ALL {
            let bytes = class.slab_pages(PAGE_SIZE) * PAGE_SIZE;
            let end = class.objects_in(bytes) * class.size();
            for offset in 0..bytes {
                let expected = offset < end && offset % class.size() == 0;
                let grid = class.grid::<PAGE_SIZE>();
                assert_eq!(
                    grid.is_object(bytes * 3 + offset),
                    expected,
                    "{class:?} {offset}"
                );
            }
        }
    }

    #[test]
    fn objects_are_where_division_says() {
        agrees_with_division::<0x1000>();
        agrees_with_division::<0x4000>();
        agrees_with_division::<0x20_0000>();
    }
}
