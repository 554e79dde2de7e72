//! Where the objects of a slab lie, without a division.

use super::size_class::SizeClass;

/// For each class, where objects are in its slabs. Slabs are blocks, so they are aligned to their size.
///
/// An array for each fact, so that the number of the class is all that leads to each of them.
struct Grids {
    /// The bits of an address that say where in its slab it lies.
    masks: [u32; SizeClass::COUNT],
    /// How many objects there are.
    objects: [u32; SizeClass::COUNT],
    /// 2^64 divided by the size of an object: the next larger number.
    reciprocals: [u64; SizeClass::COUNT],
    /// What the product of the reciprocal and the offset after the last object leaves, modulo 2^64.
    bounds: [u64; SizeClass::COUNT],
}

impl Grids {
    const fn new(page_size: usize) -> Self {
        let mut all = Self {
            masks: [0; SizeClass::COUNT],
            objects: [0; SizeClass::COUNT],
            reciprocals: [0; SizeClass::COUNT],
            bounds: [0; SizeClass::COUNT],
        };
        let mut index = 0;
        while index < SizeClass::COUNT {
            let class = SizeClass::ALL[index];
            let bytes = class.slab_pages(page_size) * page_size;
            let objects = class.objects_in(bytes);
            assert!(bytes.is_power_of_two() && bytes <= 1 << 31);
            let size = class.size() as u64;
            let reciprocal = u64::MAX / size + 1 + size.is_power_of_two() as u64;
            assert!((bytes as u64) < reciprocal);
            #[expect(clippy::cast_possible_truncation, reason = "at most 2^31")]
            {
                all.masks[index] = (bytes - 1) as u32;
                all.objects[index] = objects as u32;
            }
            all.reciprocals[index] = reciprocal;
            all.bounds[index] = (objects as u64 * size).wrapping_mul(reciprocal);
            index += 1;
        }
        all
    }
}

/// The places of objects in slabs of one class.
#[derive(Clone, Copy)]
pub(crate) struct Grid {
    all: &'static Grids,
    index: usize,
}

impl Grid {
    /// Bytes of a slab.
    #[inline]
    pub(crate) const fn bytes(self) -> usize {
        self.all.masks[self.index] as usize + 1
    }

    /// Objects of a slab.
    #[inline]
    pub(crate) const fn objects(self) -> usize {
        self.all.objects[self.index] as usize
    }

    /// Whether an object of a slab that covers `addr` begins there.
    ///
    /// With the reciprocal `r`, and `e = r * size - 2^64`, which is from 1 to `size`, the product of `r` with the offset of
    /// object `i` is `i * e` modulo 2^64; with any other offset it is at least `r`: Lemire, Kaser, Kurz, "Faster
    /// remainder by direct computation" (2019), section 3.2. So the objects are what is below the product
    /// for the place after the last one, which is `e` times their number: one comparison says that there is an
    /// object, and that it is none after the last. That holds because a slab has fewer bytes than `r`.
    #[inline]
    pub(crate) const fn is_object(self, addr: usize) -> bool {
        #[expect(clippy::cast_possible_truncation, reason = "the mask is that long")]
        let offset = addr as u32 & self.all.masks[self.index];
        let product = (offset as u64).wrapping_mul(self.all.reciprocals[self.index]);
        product < self.all.bounds[self.index]
    }
}

/// The grids for a size of pages.
struct OfPages<const PAGE_SIZE: usize>;

impl<const PAGE_SIZE: usize> OfPages<PAGE_SIZE> {
    const ALL: Grids = Grids::new(PAGE_SIZE);
}

impl SizeClass {
    /// Where the objects of a slab of this class lie.
    #[inline]
    pub(crate) const fn grid<const PAGE_SIZE: usize>(self) -> Grid {
        let all: &'static Grids = &OfPages::<PAGE_SIZE>::ALL;
        Grid {
            all,
            index: self.index(),
        }
    }
}

#[cfg(all(test, not(loom)))]
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
