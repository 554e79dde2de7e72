//! A CPU's own objects: an array of pointers per class.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering};

use super::super::size_class::SizeClass;
use super::reserve::Reserve;
use super::words::{copy_in, expect_write, plain};

/// A magazine keeps at most this many objects, and at most this many bytes of them.
const MOST_OBJECTS: usize = 128;
const MOST_BYTES: usize = 32 * 1024;

/// The most objects that move between a magazine and what lies below at a time.
pub(super) const MOST_BATCH: usize = MOST_OBJECTS / 2;

/// The magazine of a class.
#[derive(Clone, Copy)]
struct Place {
    /// Where it begins, in words: with its [`HEAD`], then its objects.
    begin: u16,
    capacity: u16,
}

const PLACES: [Place; SizeClass::COUNT] = {
    let mut places = [Place {
        begin: 0,
        capacity: 0,
    }; SizeClass::COUNT];
    let mut begin = 0;
    let mut class = 0;
    while class < SizeClass::COUNT {
        let by_bytes = MOST_BYTES / SizeClass::ALL[class].size();
        let capacity = if by_bytes < MOST_OBJECTS {
            by_bytes
        } else {
            MOST_OBJECTS
        };
        #[expect(clippy::cast_possible_truncation, reason = "checked below")]
        let place = Place {
            begin: begin as u16,
            capacity: capacity as u16,
        };
        places[class] = place;
        begin += HEAD + capacity;
        class += 1;
    }
    assert!(begin <= u16::MAX as usize);
    places
};

/// How many objects a magazine of `class` holds.
#[inline]
pub(super) const fn capacity(class: SizeClass) -> usize {
    PLACES[class.index()].capacity as usize
}

const fn begin(class: SizeClass) -> usize {
    PLACES[class.index()].begin as usize
}

/// How many objects of `class` move at a time.
pub(super) const fn batch(class: SizeClass) -> usize {
    capacity(class) / 2
}

/// The low bits of a count are the length of a magazine, the others say how many objects it has handed
/// out.
const LEN_BITS: u32 = 8;
const LEN_MASK: usize = (1 << LEN_BITS) - 1;
const _: () = assert!(MOST_OBJECTS <= LEN_MASK);

/// What comes before the objects of a magazine, in words: its count, and its capacity.
const HEAD: usize = 2;

const WORDS: usize = {
    let last = PLACES[SizeClass::COUNT - 1];
    last.begin as usize + HEAD + last.capacity as usize
};

/// How a magazine begins; its objects follow. A CPU in a hurry has a pointer to each, not one to all:
/// a count at a known distance from a register comes back from the processor's stores at once, one that an
/// index leads to after some six cycles.
#[repr(C)]
pub(super) struct Magazine {
    count: AtomicUsize,
    /// Not written after it was made.
    capacity: usize,
}

impl Magazine {
    /// One that has no objects, and takes so many.
    pub(super) const fn empty(capacity: usize) -> Self {
        Self {
            count: AtomicUsize::new(0),
            capacity,
        }
    }

    /// Takes the object that was put last.
    ///
    /// # Safety
    ///
    /// `this` is one of [`Magazines`], and nobody else uses these; or a vacant one.
    #[inline]
    pub(super) unsafe fn pop(this: *const Self) -> Option<usize> {
        // SAFETY: every magazine begins like this.
        let head = unsafe { &*this };
        let count = head.count.load(Ordering::Relaxed);
        let len = count & LEN_MASK;
        if len == 0 {
            return None;
        }
        // One less is here, one more was handed out.
        let count = count.wrapping_add(LEN_MASK);
        head.count.store(count, Ordering::Relaxed);
        debug_assert!(len <= head.capacity);
        // SAFETY: this is the word of an object.
        let word = unsafe { Self::word(this, len - 1) };
        Some(word.load(Ordering::Relaxed))
    }

    /// The place for another object, if there is one.
    ///
    /// # Safety
    ///
    /// As for [`pop`](Self::pop), until the place is used or forgotten.
    #[inline]
    pub(super) unsafe fn place<'a>(this: *const Self) -> Option<Free<'a>> {
        // SAFETY: every magazine begins like this.
        let head = unsafe { &*this };
        let count = head.count.load(Ordering::Relaxed);
        let len = count & LEN_MASK;
        (len < head.capacity).then(|| Free {
            // SAFETY: there is a word for every object up to the capacity.
            word: unsafe { Self::word(this, len) },
            at: &head.count,
            count,
        })
    }

    /// # Safety
    ///
    /// As for [`pop`](Self::pop), and `index` is below the capacity.
    #[inline]
    unsafe fn word<'a>(this: *const Self, index: usize) -> &'a AtomicUsize {
        let words = this.cast::<AtomicUsize>();
        // SAFETY: the caller says that the magazine has that word.
        let word = unsafe { words.add(HEAD + index) };
        // SAFETY: as above.
        unsafe { &*word }
    }
}

const _: () = assert!(size_of::<Magazine>() == HEAD * size_of::<usize>());

/// The magazines of one CPU. Only the CPU itself uses them, inside its turn, or whoever has
/// claimed them (see [`cpu`](super::cpu)); statistics read the counts from elsewhere.
#[repr(C, align(64))]
pub(super) struct Magazines {
    // First, so that the counts that change all the time do not begin where pages do, as so much else: see
    // `offset_in_pages`.
    pub(super) reserve: Reserve,
    words: [AtomicUsize; WORDS],
}

impl Magazines {
    /// How much memory they take.
    pub(super) const BYTES: usize = size_of::<Self>();

    /// Makes empty magazines.
    ///
    /// # Safety
    ///
    /// `memory` is at least [`BYTES`](Self::BYTES) long, page-aligned, and the caller's.
    pub(super) unsafe fn create(memory: NonNull<u8>) -> NonNull<Self> {
        // SAFETY: the caller's memory is long enough. Zeroes are words and an empty reserve.
        unsafe { memory.write_bytes(0, Self::BYTES) };
        let magazines = memory.cast::<Self>();
        for class in SizeClass::ALL {
            // SAFETY: zeroes are a value of the type.
            let one = unsafe { Self::one(magazines.as_ptr(), class) };
            // SAFETY: the memory is the caller's.
            unsafe { one.cast_mut().write(Magazine::empty(capacity(class))) };
        }
        magazines
    }

    /// One of the magazines.
    ///
    /// # Safety
    ///
    /// There are magazines at `this`.
    pub(super) const unsafe fn one(this: *const Self, class: SizeClass) -> *const Magazine {
        // SAFETY: the caller says so.
        let words = unsafe { &raw const (*this).words };
        // SAFETY: every magazine begins inside.
        unsafe { words.cast::<AtomicUsize>().add(begin(class)) }.cast()
    }

    fn count(&self, class: SizeClass) -> &AtomicUsize {
        &self.words[begin(class)]
    }

    /// How many objects the magazine of `class` holds.
    pub(super) fn len(&self, class: SizeClass) -> usize {
        self.count(class).load(Ordering::Relaxed) & LEN_MASK
    }

    /// How many objects the magazine of `class` has handed out, as far as that fits into the upper bits
    /// of a word: 2 to the 56, or, where words have 32 bits, 2 to the 24.
    pub(super) fn handed_out(&self, class: SizeClass) -> usize {
        self.count(class).load(Ordering::Relaxed) >> LEN_BITS
    }

    /// The words of all objects that fit into the magazine of `class`.
    fn places(&self, class: SizeClass) -> &[AtomicUsize] {
        &self.words[begin(class) + HEAD..][..capacity(class)]
    }

    /// The words of those that are there.
    fn objects(&self, class: SizeClass) -> &[AtomicUsize] {
        &self.places(class)[..self.len(class)]
    }

    /// Takes the object that was put last.
    pub(super) fn pop(&self, class: SizeClass) -> Option<usize> {
        // SAFETY: these are magazines.
        let one = unsafe { Self::one(self, class) };
        // SAFETY: who has them says so.
        unsafe { Magazine::pop(one) }
    }

    /// The batch of a full magazine that was put first.
    pub(super) fn surplus(&self, class: SizeClass) -> Option<&[usize]> {
        (self.len(class) == capacity(class)).then(|| {
            // SAFETY: nobody else uses a magazine, and its user forgets the result before it writes.
            unsafe { plain(&self.places(class)[..batch(class)]) }
        })
    }

    /// Lets go of the objects that were put first.
    pub(super) fn forget_oldest(&self, class: SizeClass, count: usize) {
        let words = self.objects(class);
        let start = words.as_ptr().cast::<usize>().cast_mut();
        let left = words[count..].len();
        // SAFETY: no more are let go than there are.
        let rest = unsafe { start.add(count) };
        // SAFETY: these are words of one magazine, and nobody else uses it; they may be written through a
        // shared reference as they are atomic.
        unsafe { rest.copy_to(start, left) };
        let word = self.count(class);
        word.store(word.load(Ordering::Relaxed) - count, Ordering::Relaxed);
    }

    /// What is free of a magazine, to put many objects into it.
    pub(super) fn room(&self, class: SizeClass) -> Room<'_> {
        Room {
            count: self.count(class),
            words: self.places(class)[self.len(class)..].iter(),
            put: 0,
        }
    }

    /// Passes every object of a magazine to `sink`.
    pub(super) fn inspect(&self, class: SizeClass, sink: impl FnMut(usize)) {
        let objects = self.objects(class).iter();
        objects
            .map(|word| word.load(Ordering::Relaxed))
            .for_each(sink);
    }

    /// Moves up to `limit` of the objects that were put first out; returns how many.
    pub(super) fn take_oldest(
        &self,
        class: SizeClass,
        limit: usize,
        out: &mut [usize; MOST_BATCH],
    ) -> usize {
        let taken = self.len(class).min(limit).min(MOST_BATCH);
        // SAFETY: nobody else uses a magazine, and nothing is written here.
        out[..taken].copy_from_slice(unsafe { plain(&self.objects(class)[..taken]) });
        self.forget_oldest(class, taken);
        taken
    }
}

/// A free place of a magazine.
pub(super) struct Free<'a> {
    word: &'a AtomicUsize,
    at: &'a AtomicUsize,
    count: usize,
}

impl Free<'_> {
    /// Puts an object there.
    #[inline]
    pub(super) fn put(self, object: usize) {
        self.word.store(object, Ordering::Relaxed);
        self.at.store(self.count + 1, Ordering::Relaxed);
    }
}

/// Free places of a magazine, for objects that will be allocated soon. What is put there counts once this value is gone.
pub(super) struct Room<'a> {
    count: &'a AtomicUsize,
    words: core::slice::Iter<'a, AtomicUsize>,
    put: usize,
}

impl Room<'_> {
    /// How many objects still fit.
    pub(super) fn len(&self) -> usize {
        self.words.len()
    }

    /// Puts as many objects there as there is place for.
    pub(super) fn put_all(&mut self, objects: &[usize]) {
        let objects = &objects[..objects.len().min(self.len())];
        objects.iter().copied().for_each(expect_write);
        // SAFETY: a magazine's words belong to whoever has the room.
        unsafe { copy_in(objects, self.words.as_slice()) };
        self.words = self.words.as_slice()[objects.len()..].iter();
        self.put += objects.len();
    }

    /// Puts an object there; nothing happens if there is no place.
    #[inline]
    pub(super) fn put(&mut self, object: usize) {
        debug_assert_ne!(self.len(), 0);
        if let Some(word) = self.words.next() {
            expect_write(object);
            word.store(object, Ordering::Relaxed);
            self.put += 1;
        }
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        let count = self.count.load(Ordering::Relaxed);
        self.count.store(count + self.put, Ordering::Relaxed);
    }
}
