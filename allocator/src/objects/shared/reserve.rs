//! Batches of free objects that a CPU keeps behind its magazines.
//!
//! A program that allocates and frees by the thousand would bring every object back to its slab, and fetch
//! it from there again. Instead its batches stay as they are, in pages of addresses: the idea of
//! Bonwick's full magazines, and of the barn behind the sheaves of Linux.
//!
//! Belongs to the [magazines](super::magazine) and is used as they are: by the CPU in its turns, or by
//! whoever has claimed them; statistics read the counts from elsewhere.

use core::sync::atomic::{AtomicUsize, Ordering};

use super::super::size_class::SizeClass;
use super::magazine::batch;
use super::words::{copy_in, plain};

/// The most objects, of a class and of all, so that bringing them all back takes a bounded time.
const MOST_OBJECTS: usize = 16 * 1024;
const MOST_OF_ALL: usize = 64 * 1024;

/// How many batches go back to their slabs before a page is asked for again that was not to be had.
const PATIENCE: usize = 16;

/// A page of addresses.
struct Sheet<'a> {
    /// The sheet below it in its pile, 0 if it is the lowest.
    below: &'a AtomicUsize,
    len: &'a AtomicUsize,
    objects: &'a [AtomicUsize],
}

/// How many objects fit on a sheet: whole batches.
const fn capacity<const PAGE_SIZE: usize>(class: SizeClass) -> usize {
    let objects = PAGE_SIZE / size_of::<usize>() - 2;
    objects / batch(class) * batch(class)
}

/// The sheets of a class.
struct Pile {
    /// The sheet that was begun last, 0 if there is none.
    top: AtomicUsize,
    /// The objects on all of them.
    len: AtomicUsize,
}

/// What a CPU keeps of all classes. Zeroes are nothing.
pub(super) struct Reserve {
    piles: [Pile; SizeClass::COUNT],
    /// A page for the next sheet, 0 if there is none.
    blank: AtomicUsize,
    /// How many objects fit on all sheets, and how many bytes these are.
    room: AtomicUsize,
    bytes: AtomicUsize,
    /// How many bytes they may be: pages of small objects can become such of large ones.
    most_bytes: AtomicUsize,
    /// How many batches to let go before asking for another page.
    patience: AtomicUsize,
}

fn get(word: &AtomicUsize) -> usize {
    word.load(Ordering::Relaxed)
}

fn set(word: &AtomicUsize, value: usize) {
    word.store(value, Ordering::Relaxed);
}

impl Reserve {
    /// How many objects of a class there are.
    pub(super) fn len(&self, class: SizeClass) -> usize {
        get(&self.piles[class.index()].len)
    }

    /// How many bytes of objects would fit on the sheets with one more for `class`, if that is to be tried:
    /// not if there are enough, and not soon after it was tried in vain.
    pub(super) fn wants_another<const PAGE_SIZE: usize>(&self, class: SizeClass) -> Option<usize> {
        let patience = get(&self.patience);
        if patience != 0 {
            set(&self.patience, patience - 1);
            return None;
        }
        set(&self.patience, PATIENCE);
        self.bytes_with_another::<PAGE_SIZE>(class)
    }

    fn bytes_with_another<const PAGE_SIZE: usize>(&self, class: SizeClass) -> Option<usize> {
        let more = capacity::<PAGE_SIZE>(class);
        let may = self.len(class) + more <= MOST_OBJECTS && get(&self.room) + more <= MOST_OF_ALL;
        may.then(|| get(&self.bytes) + more * class.size())
    }

    /// Says how many bytes of objects may be kept.
    pub(super) fn allow(&self, bytes: usize) {
        set(&self.most_bytes, bytes);
    }

    /// Takes a page for the next sheet.
    ///
    /// # Errors
    ///
    /// The page, if there is one already.
    ///
    /// # Safety
    ///
    /// The page is the reserve's from now on, until it gives it back, and its provenance is exposed.
    pub(super) unsafe fn add_blank(&self, page: usize) -> Result<(), usize> {
        if get(&self.blank) != 0 {
            return Err(page);
        }
        set(&self.blank, page);
        Ok(())
    }

    /// Gives the page for the next sheet back.
    pub(super) fn take_blank(&self) -> Option<usize> {
        let blank = get(&self.blank);
        set(&self.blank, 0);
        (blank != 0).then_some(blank)
    }

    /// Keeps a whole batch; `false` if there is no place for it.
    pub(super) fn put<const PAGE_SIZE: usize>(&self, class: SizeClass, objects: &[usize]) -> bool {
        debug_assert_eq!(objects.len(), batch(class));
        let pile = &self.piles[class.index()];
        let has_room = |sheet: &Sheet<'_>| get(sheet.len) < sheet.objects.len();
        // SAFETY: the top of a pile is a sheet of it.
        let top = unsafe { self.sheet::<PAGE_SIZE>(get(&pile.top), class) };
        let Some(sheet) = top
            .filter(has_room)
            .or_else(|| self.begin_sheet::<PAGE_SIZE>(class))
        else {
            return false;
        };
        let len = get(sheet.len);
        // SAFETY: only this value refers to the words of its sheets.
        unsafe { copy_in(objects, &sheet.objects[len..]) };
        set(sheet.len, len + objects.len());
        set(&pile.len, get(&pile.len) + objects.len());
        true
    }

    /// Lays the next sheet on a pile, if there is a page for it, and so much may be kept.
    fn begin_sheet<const PAGE_SIZE: usize>(&self, class: SizeClass) -> Option<Sheet<'_>> {
        let pile = &self.piles[class.index()];
        let bytes = self
            .bytes_with_another::<PAGE_SIZE>(class)
            .filter(|bytes| *bytes <= get(&self.most_bytes))?;
        let page = self.take_blank()?;
        // SAFETY: the page was the reserve's, and is for a sheet.
        let sheet = unsafe { self.sheet::<PAGE_SIZE>(page, class) }?;
        set(sheet.below, get(&pile.top));
        set(sheet.len, 0);
        set(&pile.top, page);
        set(&self.room, get(&self.room) + sheet.objects.len());
        set(&self.bytes, bytes);
        set(&self.patience, 0);
        Some(sheet)
    }

    /// Takes the batch out that came last, and passes it to `sink`. Returns how many objects it had, and
    /// a page that the reserve has no use for any more.
    pub(super) fn take<const PAGE_SIZE: usize>(
        &self,
        class: SizeClass,
        sink: impl FnOnce(&[usize]),
    ) -> (usize, Option<usize>) {
        let pile = &self.piles[class.index()];
        let top = get(&pile.top);
        // SAFETY: the top of a pile is a sheet of it.
        let Some(sheet) = (unsafe { self.sheet::<PAGE_SIZE>(top, class) }) else {
            return (0, None);
        };
        // No sheet stays without objects.
        let len = get(sheet.len);
        let left = len - batch(class);
        // SAFETY: only this value refers to the words of its sheets.
        sink(unsafe { plain(&sheet.objects[left..len]) });
        set(sheet.len, left);
        set(&pile.len, get(&pile.len) - batch(class));
        if left != 0 {
            return (batch(class), None);
        }
        set(&pile.top, get(sheet.below));
        let room = sheet.objects.len();
        set(&self.room, get(&self.room) - room);
        set(&self.bytes, get(&self.bytes) - room * class.size());
        // SAFETY: the page was the reserve's, and is on no pile any more.
        let unused = unsafe { self.add_blank(top) }.err();
        (batch(class), unused)
    }

    /// Passes every object of a class to `sink`, and leaves it where it is.
    pub(super) fn inspect<const PAGE_SIZE: usize>(
        &self,
        class: SizeClass,
        mut sink: impl FnMut(usize),
    ) {
        let mut at = get(&self.piles[class.index()].top);
        // SAFETY: the top of a pile is a sheet of it, and so are those below.
        while let Some(sheet) = unsafe { self.sheet::<PAGE_SIZE>(at, class) } {
            sheet.objects[..get(sheet.len)]
                .iter()
                .map(get)
                .for_each(&mut sink);
            at = get(sheet.below);
        }
    }

    /// The sheet at an address; `None` if that is 0.
    ///
    /// # Safety
    ///
    /// At any other address there is a page of this reserve, for objects of `class`.
    unsafe fn sheet<const PAGE_SIZE: usize>(
        &self,
        addr: usize,
        class: SizeClass,
    ) -> Option<Sheet<'_>> {
        let words = core::ptr::with_exposed_provenance::<AtomicUsize>(addr);
        if words.is_null() {
            return None;
        }
        let len = 2 + capacity::<PAGE_SIZE>(class);
        // SAFETY: a page is that long and aligned; its provenance was exposed, and only this value and those
        // that it passes it to refer to it.
        match unsafe { core::slice::from_raw_parts(words, len) } {
            [below, len, objects @ ..] => Some(Sheet {
                below,
                len,
                objects,
            }),
            _ => None,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::vec::Vec;

    use super::*;

    const PAGE: usize = 0x1000;

    /// A reserve, with pages for it.
    struct Rig {
        reserve: Reserve,
        pages: Vec<usize>,
        _memory: Vec<u64>,
    }

    impl Rig {
        fn new(pages: usize) -> Self {
            let mut memory = std::vec![u64::MAX; (pages + 1) * PAGE / 8];
            let start = memory.as_mut_ptr().expose_provenance();
            let first = start.next_multiple_of(PAGE);
            // SAFETY: zeroes are a reserve of nothing.
            let reserve: Reserve = unsafe { core::mem::zeroed() };
            reserve.allow(usize::MAX);
            Self {
                reserve,
                pages: (0..pages).map(|page| first + page * PAGE).collect(),
                _memory: memory,
            }
        }

        /// Puts a batch, on another page if need be.
        fn put(&mut self, class: SizeClass, objects: &[usize]) -> bool {
            if self.reserve.put::<PAGE>(class, objects) {
                return true;
            }
            if let Some(page) = self.pages.pop() {
                // SAFETY: the pages outlive the reserve, and are nobody else's.
                let unused = unsafe { self.reserve.add_blank(page) };
                self.pages.extend(unused.err());
            }
            self.reserve.put::<PAGE>(class, objects)
        }

        fn take(&mut self, class: SizeClass) -> Vec<usize> {
            let mut objects = Vec::new();
            let (taken, unused) = self
                .reserve
                .take::<PAGE>(class, |batch| objects.extend_from_slice(batch));
            assert_eq!(taken, objects.len());
            self.pages.extend(unused);
            objects
        }
    }

    #[test]
    fn batches_come_back_last_first_and_pages_with_them() {
        let count = MOST_OF_ALL / 400;
        let mut rig = Rig::new(count);
        let mut kept = Vec::new();
        let mut all = 0;
        for class in SizeClass::ALL {
            let mut objects = 1..;
            let mut batches = Vec::new();
            loop {
                let next: Vec<usize> = objects.by_ref().take(batch(class)).collect();
                if !rig.put(class, &next) {
                    break;
                }
                batches.push(next);
            }
            // As many as may be, less than a sheet is missing.
            let len = batches.len() * batch(class);
            assert_eq!(rig.reserve.len(class), len);
            all += len;
            let next = capacity::<PAGE>(class);
            assert!(len <= MOST_OBJECTS && all <= MOST_OF_ALL);
            assert!(len + next > MOST_OBJECTS || all + next > MOST_OF_ALL);
            let mut seen = Vec::new();
            rig.reserve
                .inspect::<PAGE>(class, |object| seen.push(object));
            seen.sort_unstable();
            assert_eq!(seen, batches.concat());
            kept.push(batches);
        }
        for (class, mut batches) in SizeClass::ALL.into_iter().zip(kept) {
            while let Some(last) = batches.pop() {
                assert_eq!(rig.take(class), last);
            }
            assert!(rig.take(class).is_empty());
            assert_eq!(rig.reserve.len(class), 0);
        }
        rig.pages.extend(rig.reserve.take_blank());
        assert_eq!(rig.reserve.take_blank(), None);
        rig.pages.sort_unstable();
        rig.pages.dedup();
        assert_eq!(rig.pages.len(), count);
        assert_eq!(get(&rig.reserve.bytes), 0);
        assert_eq!(get(&rig.reserve.room), 0);
    }

    #[test]
    fn a_page_is_asked_for_only_now_and_then_while_there_is_none() {
        let mut rig = Rig::new(1);
        let class = SizeClass::Bytes64;
        let wanted = Some(capacity::<PAGE>(class) * class.size());
        assert_eq!(rig.reserve.wants_another::<PAGE>(class), wanted);
        for _ in 0..PATIENCE {
            assert_eq!(rig.reserve.wants_another::<PAGE>(class), None);
        }
        assert_eq!(rig.reserve.wants_another::<PAGE>(class), wanted);
        // What was had once may be asked for again at once.
        assert!(rig.put(class, &std::vec![8; batch(class)]));
        let twice = wanted.map(|bytes| bytes * 2);
        assert_eq!(rig.reserve.wants_another::<PAGE>(class), twice);
    }
}
