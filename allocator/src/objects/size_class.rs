//! The sizes that slabs are cut into.

use core::alloc::Layout;

/// The largest size, and the largest alignment, that slabs serve; anything beyond is whole pages.
pub(crate) const MAX_SMALL: usize = 2048;

/// An alignment that every class has: all are multiples of it.
const USUAL_ALIGN: usize = 8;

/// The most objects one slab holds: as many as its descriptor has bits.
pub(crate) const MAX_OBJECTS: usize = 2048;

/// A slab is this large unless its objects leave too much of it over.
const SLAB_BYTES: usize = 16 * 1024;

macro_rules! size_classes {
    ($first:ident = $first_bytes:literal, $($name:ident = $bytes:literal),+ $(,)?) => {
        /// A fixed object size.
        ///
        /// Powers of two from 8 to 2048, and from 64 bytes up three more between each two of them: an
        /// object is never less than four fifths full there. Every size is a multiple of 8, and
        /// every object of a class is aligned to the largest power of two that divides its size.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum SizeClass {
            // Not from 0 on, which is no class in the page metadata.
            #[doc = concat!("Objects of ", stringify!($first_bytes), " bytes.")]
            $first = 1,
            $(#[doc = concat!("Objects of ", stringify!($bytes), " bytes.")] $name),+
        }

        impl SizeClass {
            /// Every class, the smallest first.
            pub const ALL: [Self; Self::COUNT] = [Self::$first, $(Self::$name),+];

            /// How many classes there are.
            pub const COUNT: usize = [$first_bytes, $($bytes),+].len();

            const SIZES: [usize; Self::COUNT] = [$first_bytes, $($bytes),+];
        }
    };
}

size_classes! {
    Bytes8 = 8, Bytes16 = 16, Bytes24 = 24, Bytes32 = 32, Bytes48 = 48, Bytes64 = 64,
    Bytes80 = 80, Bytes96 = 96, Bytes112 = 112, Bytes128 = 128,
    Bytes160 = 160, Bytes192 = 192, Bytes224 = 224, Bytes256 = 256,
    Bytes320 = 320, Bytes384 = 384, Bytes448 = 448, Bytes512 = 512,
    Bytes640 = 640, Bytes768 = 768, Bytes896 = 896, Bytes1024 = 1024,
    Bytes1280 = 1280, Bytes1536 = 1536, Bytes1792 = 1792, Bytes2048 = 2048,
}

/// For every size: its class. One load instead of a search.
const CLASS_OF: [SizeClass; MAX_SMALL + 1] = {
    let mut table = [SizeClass::Bytes8; MAX_SMALL + 1];
    let mut class = 0;
    let mut size = 1;
    while size < table.len() {
        if size > SizeClass::SIZES[class] {
            class += 1;
        }
        table[size] = SizeClass::ALL[class];
        size += 1;
    }
    table
};

/// Where this is called, the compiler expects not to come often.
#[cold]
#[inline]
const fn seldom() {}

impl SizeClass {
    /// The smallest class whose objects satisfy `layout`; `None` if its size or its alignment is
    /// above 2048 bytes. A size of 0 is served like a size of 1.
    #[inline]
    #[must_use]
    pub const fn from_layout(layout: Layout) -> Option<Self> {
        Self::of_size(if layout.align() <= USUAL_ALIGN {
            layout.size()
        } else {
            Self::aligned(layout)
        })
    }

    /// [`from_layout`](Self::from_layout) for what is asked for most; `None` says nothing about alignments above
    /// [`USUAL_ALIGN`].
    #[inline]
    pub(crate) const fn of_usual(layout: Layout) -> Option<Self> {
        if layout.align() > USUAL_ALIGN {
            seldom();
            return None;
        }
        Self::of_size(layout.size())
    }

    #[inline]
    const fn of_size(size: usize) -> Option<Self> {
        if size > MAX_SMALL {
            seldom();
            return None;
        }
        let classes: &'static [Self] = &CLASS_OF;
        Some(classes[size])
    }

    /// The size to look for where the alignment is one that not every class has.
    const fn aligned(layout: Layout) -> usize {
        // Classes lie at multiples of a quarter of the power of two below them, so the class found
        // for a size that is a multiple of the alignment is itself such a multiple (a test below
        // tries every pair). The sum cannot overflow: `Layout` bounds the rounded size.
        let wanted = if layout.size() == 0 { 1 } else { layout.size() };
        (wanted + layout.align() - 1) & !(layout.align() - 1)
    }

    /// The object size in bytes.
    #[inline]
    #[must_use]
    pub const fn size(self) -> usize {
        Self::SIZES[self.index()]
    }

    /// The position in [`ALL`](Self::ALL).
    #[inline]
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize - 1
    }

    /// How many pages one slab of this class takes: a power of two.
    ///
    /// 16 KiB, so that the descriptor is small against it, and twice as much where 16 KiB would
    /// leave more than 3 % over.
    #[must_use]
    pub const fn slab_pages(self, page_size: usize) -> usize {
        let size = self.size();
        let mut bytes = SLAB_BYTES;
        if bytes % size * 32 > bytes {
            bytes *= 2;
        }
        bytes.div_ceil(page_size)
    }

    /// How many objects a slab of `bytes` bytes holds.
    pub(crate) const fn objects_in(self, bytes: usize) -> usize {
        let fitting = bytes / self.size();
        if fitting < MAX_OBJECTS {
            fitting
        } else {
            MAX_OBJECTS
        }
    }

    /// `offset / size`, without a division.
    #[inline]
    pub(crate) const fn quotient(self, offset: usize) -> usize {
        ((offset as u64 * RECIPROCALS[self.index()]) >> 32) as usize
    }
}

/// `2^32 / size`, rounded up: exact for every offset inside a slab (`offset * size < 2^32`).
static RECIPROCALS: [u64; SizeClass::COUNT] = {
    let mut table = [0; SizeClass::COUNT];
    let mut class = 0;
    while class < table.len() {
        table[class] = (1_u64 << 32).div_ceil(SizeClass::SIZES[class] as u64);
        class += 1;
    }
    table
};

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).expect("a valid layout")
    }

    #[test]
    fn every_small_layout_gets_the_smallest_class_that_fits_and_is_aligned() {
        for align in (0..=11).map(|shift| 1_usize << shift) {
            for size in 1..=MAX_SMALL {
                let class = SizeClass::from_layout(layout(size, align)).expect("a small layout");
                let best = SizeClass::ALL
                    .into_iter()
                    .find(|class| class.size() >= size && class.size() % align == 0);
                assert_eq!(Some(class), best, "size {size} align {align}");
            }
        }
    }

    #[test]
    fn size_or_alignment_above_2048_is_no_object() {
        assert_eq!(SizeClass::from_layout(layout(2049, 1)), None);
        assert_eq!(SizeClass::from_layout(layout(1, 4096)), None);
        assert_eq!(SizeClass::from_layout(layout(0, 4096)), None);
        assert_eq!(SizeClass::from_layout(layout(usize::MAX / 2, 1)), None);
    }

    /// `Layout(0, 4096)` failed while `Layout(0, 8)` succeeded.
    #[test]
    fn d14_a_size_of_zero_is_served_like_one() {
        for align in (0..=11).map(|shift| 1_usize << shift) {
            assert_eq!(
                SizeClass::from_layout(layout(0, align)),
                SizeClass::from_layout(layout(1, align))
            );
        }
    }

    #[test]
    fn at_most_a_quarter_is_wasted_from_64_bytes_up() {
        for size in 64..=MAX_SMALL {
            let class = SizeClass::from_layout(layout(size, 1)).expect("a small layout");
            assert!(
                (class.size() - size) * 4 <= size,
                "size {size} in {class:?}"
            );
        }
    }

    #[test]
    fn the_nine_powers_of_two_are_there() {
        for shift in 3..=11 {
            let size = 1 << shift;
            let class = SizeClass::from_layout(layout(size, size)).expect("a small layout");
            assert_eq!(class.size(), size);
        }
    }

    #[test]
    fn slabs_are_powers_of_two_and_hardly_wasted() {
        for class in SizeClass::ALL {
            let pages = class.slab_pages(4096);
            assert!(pages.is_power_of_two());
            let objects = class.objects_in(pages * 4096);
            assert!((8..=MAX_OBJECTS).contains(&objects), "{class:?}: {objects}");
            let left = pages * 4096 - objects * class.size();
            assert!(left * 32 <= pages * 4096, "{class:?}: {left}");
        }
        assert_eq!(SizeClass::Bytes2048.slab_pages(4096), 4);
        assert_eq!(SizeClass::Bytes2048.objects_in(16 * 1024), 8);
    }

    #[test]
    fn the_quotient_is_exact() {
        for class in SizeClass::ALL {
            for offset in 0..128 * 1024 {
                assert_eq!(class.quotient(offset), offset / class.size());
            }
        }
    }

    #[test]
    fn positions_match_indices() {
        for (index, class) in SizeClass::ALL.into_iter().enumerate() {
            assert_eq!(class.index(), index);
        }
    }
}
