//! What is known about one slab: which of its objects are free.

use core::num::NonZeroUsize;

use super::bits::{self, WORD_BITS, Word};
use super::pieces::{self, Pieces};
use super::size_class::SizeClass;
use crate::{AllocError, AllocResult};

/// Names a slab's descriptor; an [`Arena`] leads from the name to the descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct SlabRef(pub(in crate::objects) NonZeroUsize);

/// Where an owner's descriptors are.
pub(crate) trait Arena {
    /// The descriptor that `slab` names.
    fn slab(&mut self, slab: SlabRef) -> &mut Slab;

    /// The same for a caller that knows the class of the slab, which may save work.
    #[inline]
    fn slab_of_class(&mut self, slab: SlabRef, class: SizeClass) -> &mut Slab {
        let found = self.slab(slab);
        debug_assert_eq!(found.class(), class);
        found
    }
}

/// Which list of its class a slab is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Place {
    /// None: not in use, or on its way between lists.
    Nowhere,
    /// Some objects are free.
    Partial,
    /// No object is free.
    Full,
    /// Every object is free.
    Empty,
}

/// What the owner of a slab knows about it. It lies apart from the slab's own pages: those hold
/// objects from the first byte, and nothing a user writes there reaches the bookkeeping.
#[repr(C)]
pub(crate) struct Slab<B: ?Sized = [Word]> {
    /// The first byte of the first object, a multiple of the page size, and in the low bits the
    /// [pieces](super::pieces) that are gone.
    base: usize,
    pub(in crate::objects) prev: Option<SlabRef>,
    pub(in crate::objects) next: Option<SlabRef>,
    objects: u16,
    free: u16,
    /// Objects that are free here although the count of published remote frees does not cover
    /// them yet: another CPU is between its two steps (see `shared::remote`).
    ahead: u16,
    class: SizeClass,
    pub(in crate::objects) place: Place,
    /// One bit per object, set while the object is free, and once it is gone with its piece.
    bits: B,
}

const _: () = assert!(size_of::<usize>() != 8 || size_of::<Slab<[Word; 0]>>() == 32);

impl<const WORDS: usize> Slab<[Word; WORDS]> {
    /// A descriptor that describes nothing yet.
    pub(super) const UNUSED: Self = Self {
        base: 0,
        prev: None,
        next: None,
        objects: 0,
        free: 0,
        ahead: 0,
        class: SizeClass::Bytes8,
        place: Place::Nowhere,
        bits: [0; WORDS],
    };
}

impl Slab {
    /// Describes a slab with `objects` objects, all of them free.
    pub(in crate::objects) fn describe(&mut self, class: SizeClass, base: usize, objects: usize) {
        debug_assert!(objects <= self.bits.len() * WORD_BITS && base & pieces::ALL == 0);
        #[expect(clippy::cast_possible_truncation, reason = "at most 2048")]
        let count = objects as u16;
        self.base = base;
        self.prev = None;
        self.next = None;
        self.objects = count;
        self.free = count;
        self.ahead = 0;
        self.class = class;
        self.place = Place::Nowhere;
        for (word, bits) in self.bits.iter_mut().enumerate() {
            *bits = bits::ones(objects, word);
        }
    }

    /// The first byte of the first object.
    #[inline]
    pub(in crate::objects) fn base(&self) -> usize {
        self.base & !pieces::ALL
    }

    /// The pieces that are pages again.
    #[inline]
    pub(in crate::objects) fn gone(&self) -> Pieces {
        self.base & pieces::ALL
    }

    /// The objects that lay in them: all of one word, because only such slabs go in pieces.
    #[inline]
    fn gone_objects(&self) -> Word {
        match self.gone() {
            0 => 0,
            gone => pieces::objects(self.class, gone),
        }
    }

    /// An address in the slab that is not gone.
    pub(in crate::objects) fn somewhere(&self) -> usize {
        self.base() + self.gone().trailing_ones() as usize * pieces::PIECE
    }

    pub(in crate::objects) fn class(&self) -> SizeClass {
        self.class
    }

    /// How many objects it was cut into.
    fn places(&self) -> usize {
        self.objects() + self.gone_objects().count_ones() as usize
    }

    /// How many objects are in it: those that are gone are not.
    #[inline]
    pub(in crate::objects) fn objects(&self) -> usize {
        usize::from(self.objects)
    }

    pub(in crate::objects) fn free(&self) -> usize {
        usize::from(self.free)
    }

    /// The list for a slab with this many free objects.
    pub(in crate::objects) fn place_by_count(&self) -> Place {
        if self.free == 0 {
            Place::Full
        } else if self.is_empty() {
            Place::Empty
        } else {
            Place::Partial
        }
    }

    /// Whether every object is free and no other CPU is still about to say so.
    pub(in crate::objects) fn is_empty(&self) -> bool {
        self.free == self.objects && self.ahead == 0
    }

    /// Takes up to `limit` free objects, those with the lowest addresses, and passes their
    /// addresses to `sink`. Returns how many.
    pub(in crate::objects) fn take(&mut self, limit: usize, mut sink: impl FnMut(usize)) -> usize {
        let limit = limit.min(self.free());
        let (base, size, gone) = (self.base(), self.class.size(), self.gone_objects());
        let mut left = limit;
        for (word, bits) in self.bits.iter_mut().enumerate() {
            let mut free = *bits & !gone;
            while free != 0 && left != 0 {
                let bit = free.trailing_zeros() as usize;
                free &= free - 1;
                sink(base + (word * WORD_BITS + bit) * size);
                left -= 1;
            }
            *bits = free | gone;
            if left == 0 {
                break;
            }
        }
        #[expect(clippy::cast_possible_truncation, reason = "at most `free`")]
        let taken = (limit - left) as u16;
        self.free -= taken;
        limit - left
    }

    /// Gives the object number `index` back.
    ///
    /// # Errors
    ///
    /// `NotAllocated` if there is no such object, or it is free.
    #[inline]
    pub(in crate::objects) fn put(&mut self, index: usize) -> AllocResult {
        if index >= self.objects() && index >= self.places() {
            return Err(AllocError::NotAllocated);
        }
        let (word, bit) = bits::split(index);
        let word = self.bits.get_mut(word).filter(|word| **word & bit == 0);
        let word = word.ok_or(AllocError::NotAllocated)?;
        *word |= bit;
        self.free += 1;
        Ok(())
    }

    /// Whether an object at `addr` lies here free.
    pub(in crate::objects) fn is_free(&self, addr: usize) -> bool {
        self.index_of(addr).is_some_and(|index| {
            let (word, bit) = bits::split(index);
            self.bits[word] & bit != 0
        })
    }

    /// Gives back the objects of one word that other CPUs freed. Returns those that were free.
    pub(in crate::objects) fn put_word(&mut self, word: usize, bits: Word) -> Word {
        let twice = self.bits[word] & bits;
        self.bits[word] |= bits;
        #[expect(clippy::cast_possible_truncation, reason = "at most a word")]
        let fresh = (bits & !twice).count_ones() as u16;
        self.free += fresh;
        #[expect(clippy::cast_possible_truncation, reason = "at most a word")]
        let all = bits.count_ones() as u16;
        self.ahead += all;
        twice
    }

    /// Other CPUs have published `count` of the frees that [`put_word`](Self::put_word) brought.
    pub(in crate::objects) fn settle(&mut self, count: usize) {
        #[expect(clippy::cast_possible_truncation, reason = "at most 2048")]
        let count = count as u16;
        debug_assert!(count <= self.ahead);
        self.ahead -= count;
    }

    /// Lets the pieces go in which every object is free, for good. Returns which these are, and
    /// how many free objects less there are.
    ///
    /// Nothing of a slab goes that is [empty](Self::is_empty), or will be once others have said so.
    pub(in crate::objects) fn trim(&mut self) -> (Pieces, usize) {
        if self.ahead != 0 || self.is_empty() {
            return (0, 0);
        }
        let before = self.gone_objects();
        let pieces = pieces::within(self.class, self.bits[0]) & !self.gone();
        self.base |= pieces;
        let lost = (self.gone_objects() & !before).count_ones();
        #[expect(clippy::cast_possible_truncation, reason = "at most `free`")]
        let fewer = lost as u16;
        self.objects -= fewer;
        self.free -= fewer;
        (pieces, lost as usize)
    }

    /// The number of the object that begins at `addr`.
    pub(in crate::objects) fn index_of(&self, addr: usize) -> Option<usize> {
        let offset = addr.checked_sub(self.base())?;
        if offset >= self.places() * self.class.size() {
            return None;
        }
        let index = self.class.quotient(offset);
        (index * self.class.size() == offset).then_some(index)
    }

    /// Whether the counts agree with the bits.
    pub(in crate::objects) fn is_consistent(&self) -> bool {
        let set: u32 = self.bits.iter().map(|bits| bits.count_ones()).sum();
        let mut words = self.bits.iter().enumerate();
        let beyond = words.any(|(word, bits)| bits & !bits::ones(self.places(), word) != 0);
        let gone = self.gone_objects();
        let is_free = self.bits.first().is_some_and(|bits| gone & !bits == 0);
        set == u32::from(self.free) + gone.count_ones() && is_free && !beyond
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::objects::bits::MOST_WORDS;

    type Sized = Slab<[Word; MOST_WORDS]>;

    fn slab(class: SizeClass) -> (Sized, usize) {
        let mut slab = Sized::UNUSED;
        let bytes = class.slab_pages(4096) * 4096;
        let unsized_slab: &mut Slab = &mut slab;
        unsized_slab.describe(class, 0x10000, class.objects_in(bytes));
        (slab, bytes)
    }

    fn take(slab: &mut Slab) -> Option<usize> {
        let mut taken = None;
        slab.take(1, |addr| taken = Some(addr));
        taken
    }

    #[test]
    fn objects_are_disjoint_aligned_and_inside() {
        for class in SizeClass::ALL {
            let (mut slab, bytes) = slab(class);
            let slab: &mut Slab = &mut slab;
            let align = 1 << class.size().trailing_zeros();
            let mut end = slab.base;
            let mut seen = 0;
            for limit in (1..100).cycle() {
                let taken = slab.take(limit, |addr| {
                    assert!(addr >= end && addr % align == 0);
                    end = addr + class.size();
                });
                seen += taken;
                assert!(slab.is_consistent());
                if taken == 0 {
                    break;
                }
            }
            assert_eq!(seen, slab.objects());
            assert!(end <= slab.base + bytes);
            assert_eq!(slab.place_by_count(), Place::Full);
        }
    }

    /// The second free of an object was taken in release builds.
    #[test]
    fn d05_a_double_free_is_refused() {
        let (mut slab, _) = slab(SizeClass::Bytes48);
        let slab: &mut Slab = &mut slab;
        let addr = take(slab).expect("a free object");
        let index = slab.index_of(addr).expect("an object begins there");
        assert_eq!(slab.put(index), Ok(()));
        assert_eq!(slab.put(index), Err(AllocError::NotAllocated));
        assert!(slab.is_empty() && slab.is_consistent());
    }

    #[test]
    fn pointers_into_an_object_or_behind_the_last_one_are_none() {
        let (mut slab, bytes) = slab(SizeClass::Bytes48);
        let slab: &mut Slab = &mut slab;
        while take(slab).is_some() {}
        let base = slab.base;
        let last = base + (slab.objects() - 1) * 48;
        for wrong in [base + 1, base + 47, last + 48, base + bytes, 0, usize::MAX] {
            assert_eq!(slab.index_of(wrong), None);
        }
        assert_eq!(slab.index_of(last), Some(slab.objects() - 1));
        assert_eq!(slab.put(slab.objects()), Err(AllocError::NotAllocated));
        assert_eq!(slab.put(slab.objects() - 1), Ok(()));
        assert!(slab.is_consistent());
    }

    #[test]
    fn frees_that_are_not_published_yet_keep_a_slab_from_being_empty() {
        let (mut slab, _) = slab(SizeClass::Bytes2048);
        let slab: &mut Slab = &mut slab;
        slab.take(8, |_| ());
        assert_eq!(slab.put_word(0, 0b0000_1111), 0);
        assert_eq!(slab.put_word(0, 0b1111_1000), 0b1000);
        assert!(slab.free() == 8 && !slab.is_empty());
        assert_eq!(slab.place_by_count(), Place::Partial);
        slab.settle(9);
        assert_eq!(slab.place_by_count(), Place::Empty);
    }
}
