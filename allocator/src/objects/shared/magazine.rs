//! A CPU's own objects: an array of pointers per class.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering};

use super::super::size_class::SizeClass;
use super::reserve::Reserve;
use super::words::{copy_in, plain};

/// A magazine keeps at most this many objects, and at most this many bytes of them.
const MOST_OBJECTS: usize = 128;
const MOST_BYTES: usize = 32 * 1024;

/// The most objects that move between a magazine and what lies below at a time.
pub(super) const MOST_BATCH: usize = MOST_OBJECTS / 2;

/// The magazine of a class.
#[derive(Clone, Copy)]
struct Place {
    /// Where it begins, in words: its count, then its objects.
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
        begin += 1 + capacity;
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

/// How many objects of `class` move at a time.
pub(super) const fn batch(class: SizeClass) -> usize {
    capacity(class) / 2
}

/// The low bits of a count are the length of a magazine, the others say how many objects it has handed
/// out.
const LEN_BITS: u32 = 8;
const LEN_MASK: usize = (1 << LEN_BITS) - 1;
const _: () = assert!(MOST_OBJECTS <= LEN_MASK);

#[inline]
fn begin(class: SizeClass) -> usize {
    PLACES[class.index()].begin.into()
}

const WORDS: usize = {
    let last = PLACES[SizeClass::COUNT - 1];
    (last.begin + 1 + last.capacity) as usize
};

/// The magazines of one CPU. Only the CPU itself uses them, inside its turn, or whoever has
/// claimed them (see [`cpu`](super::cpu)); statistics read the counts from elsewhere.
#[repr(C, align(64))]
pub(super) struct Magazines {
    words: [AtomicUsize; WORDS],
    pub(super) reserve: Reserve,
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
        // SAFETY: the caller's memory is long enough. Zeroes are empty magazines, and nothing behind them.
        unsafe { memory.write_bytes(0, Self::BYTES) };
        memory.cast()
    }

    /// How many objects the magazine of `class` holds.
    #[inline]
    pub(super) fn len(&self, class: SizeClass) -> usize {
        self.count(class).load(Ordering::Relaxed) & LEN_MASK
    }

    /// How many objects the magazine of `class` has handed out, as far as that fits into the upper bits
    /// of a word: 2 to the 56, or, where words have 32 bits, 2 to the 24.
    pub(super) fn handed_out(&self, class: SizeClass) -> usize {
        self.count(class).load(Ordering::Relaxed) >> LEN_BITS
    }

    #[inline]
    fn count(&self, class: SizeClass) -> &AtomicUsize {
        // SAFETY: every magazine begins inside.
        unsafe { self.words.get_unchecked(begin(class)) }
    }

    /// Takes the object that was put last.
    #[inline]
    pub(super) fn pop(&self, class: SizeClass) -> Option<usize> {
        let begin = begin(class);
        let count = self.count(class).load(Ordering::Relaxed);
        let len = count & LEN_MASK;
        if len == 0 {
            return None;
        }
        // One less is here, one more was handed out.
        self.count(class)
            .store(count.wrapping_add(LEN_MASK), Ordering::Relaxed);
        debug_assert!(len <= capacity(class));
        // SAFETY: no length is above the capacity, so this is a word of that magazine.
        let word = unsafe { self.words.get_unchecked(begin + len) };
        Some(word.load(Ordering::Relaxed))
    }

    /// The batch of a full magazine that was put first.
    pub(super) fn surplus(&self, class: SizeClass) -> Option<&[usize]> {
        let begin = begin(class) + 1;
        (self.len(class) == capacity(class)).then(|| {
            // SAFETY: nobody else uses a magazine, and its user forgets the result before it writes.
            unsafe { plain(&self.words[begin..begin + batch(class)]) }
        })
    }

    /// Lets go of the objects that were put first.
    pub(super) fn forget_oldest(&self, class: SizeClass, count: usize) {
        let begin = begin(class) + 1;
        let len = self.len(class);
        let words = &self.words[begin..begin + len];
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

    /// Puts an object into a magazine, if there is room.
    #[inline]
    pub(super) fn try_push(&self, class: SizeClass, object: usize) -> bool {
        let count = self.count(class).load(Ordering::Relaxed);
        let len = count & LEN_MASK;
        if len >= capacity(class) {
            return false;
        }
        // SAFETY: a length below the capacity is that of a word of this magazine.
        let word = unsafe { self.words.get_unchecked(begin(class) + 1 + len) };
        word.store(object, Ordering::Relaxed);
        self.count(class).store(count + 1, Ordering::Relaxed);
        true
    }

    /// What is free of a magazine, to put many objects into it.
    pub(super) fn room(&self, class: SizeClass) -> Room<'_> {
        let count = self.count(class);
        let first = begin(class) + 1;
        let len = count.load(Ordering::Relaxed) & LEN_MASK;
        Room {
            count,
            words: self.words[first + len..first + capacity(class)].iter(),
            put: 0,
        }
    }

    /// Passes every object of a magazine to `sink`.
    pub(super) fn inspect(&self, class: SizeClass, sink: impl FnMut(usize)) {
        let begin = begin(class) + 1;
        let objects = &self.words[begin..begin + self.len(class)];
        objects
            .iter()
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
        let begin = begin(class) + 1;
        let taken = self.len(class).min(limit).min(MOST_BATCH);
        // SAFETY: nobody else uses a magazine, and nothing is written here.
        out[..taken].copy_from_slice(unsafe { plain(&self.words[begin..begin + taken]) });
        self.forget_oldest(class, taken);
        taken
    }
}

/// Free places of a magazine. What is put there counts once this value is gone.
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
