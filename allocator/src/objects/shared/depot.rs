//! Free objects on their way from CPU to CPU, in batches.
//!
//! Where one CPU allocates what another one frees, magazines overflow here and run dry there. The
//! depot takes the batch that overflows, as it is, and hands it to the next magazine that is
//! empty: no slab is looked up and no lock taken for any of its objects.
//!
//! A class has a fixed number of slots, each with room for a batch, and a bit for each slot in
//! two words:
//!
//! ```text
//!            used  stocked
//! vacant      0       0
//! filling     1       0     somebody has set `used` and writes the objects
//! stocked     1       1     anybody may take the batch
//! emptying    1       0     somebody has cleared `stocked` and reads the objects
//! ```
//!
//! Whoever changes the bit that leads to *filling* or *emptying* has the slot for itself until it
//! changes the next one. Nobody waits for a slot in these states: it is passed over. A slot has no
//! history, so nothing can be mistaken for what it was before (no ABA).

use core::ptr::NonNull;

use super::super::size_class::SizeClass;
use super::atomic::{AtomicUsize, Ordering};
use super::magazine::batch;

/// Batches of each class, at most 8 KiB of objects each.
const SLOTS: usize = 8;

/// The slots of one class, without their room. On a cache line of its own.
#[repr(C, align(64))]
struct Shelf {
    used: AtomicUsize,
    stocked: AtomicUsize,
}

impl Shelf {
    /// Puts a batch into a vacant slot; `false` if none was found. The slots lie in `room`, each as
    /// long as the batch.
    fn put(&self, room: &[AtomicUsize], objects: &[usize]) -> bool {
        let all = (1 << (room.len() / objects.len())) - 1;
        loop {
            let vacant = !self.used.load(Ordering::Relaxed) & all;
            if vacant == 0 {
                return false;
            }
            let slot = vacant.trailing_zeros();
            // Acquire: the batch before has been read.
            if self.used.fetch_or(1 << slot, Ordering::Acquire) & 1 << slot == 0 {
                let begin = slot as usize * objects.len();
                for (word, object) in room[begin..].iter().zip(objects) {
                    word.store(*object, Ordering::Relaxed);
                }
                // Release: whoever takes the batch sees the objects.
                self.stocked.fetch_or(1 << slot, Ordering::Release);
                return true;
            }
        }
    }

    /// Takes a batch of that many objects out, and passes them to `sink`; `false` if there is none.
    fn take(&self, room: &[AtomicUsize], batch: usize, mut sink: impl FnMut(usize)) -> bool {
        loop {
            let stocked = self.stocked.load(Ordering::Relaxed);
            if stocked == 0 {
                return false;
            }
            let slot = stocked.trailing_zeros();
            if self.claim(slot) {
                self.read(slot, room, batch, &mut sink);
                // Release: the objects have been read.
                self.used.fetch_and(!(1 << slot), Ordering::Release);
                return true;
            }
        }
    }

    /// Makes a stocked slot the caller's.
    fn claim(&self, slot: u32) -> bool {
        // Acquire: the objects are there.
        self.stocked.fetch_and(!(1 << slot), Ordering::Acquire) & 1 << slot != 0
    }

    /// Reads the batch in a slot that is the caller's.
    fn read(&self, slot: u32, room: &[AtomicUsize], batch: usize, sink: &mut impl FnMut(usize)) {
        let begin = slot as usize * batch;
        for word in &room[begin..begin + batch] {
            sink(word.load(Ordering::Relaxed));
        }
    }

    /// Passes the objects of every batch to `sink`, and leaves them where they are.
    fn inspect(&self, room: &[AtomicUsize], batch: usize, mut sink: impl FnMut(usize)) {
        for slot in 0..usize::BITS {
            if self.stocked.load(Ordering::Relaxed) & 1 << slot != 0 && self.claim(slot) {
                self.read(slot, room, batch, &mut sink);
                self.stocked.fetch_or(1 << slot, Ordering::Release);
            }
        }
    }

    /// How many batches there are.
    fn len(&self) -> usize {
        self.stocked.load(Ordering::Relaxed).count_ones() as usize
    }
}

/// Where the slots of each class begin, in words.
const BEGIN: [usize; SizeClass::COUNT + 1] = {
    let mut begin = [0; SizeClass::COUNT + 1];
    let mut class = 0;
    while class < SizeClass::COUNT {
        begin[class + 1] = begin[class] + SLOTS * batch(SizeClass::ALL[class]);
        class += 1;
    }
    begin
};

/// Batches of all classes. Any context may call, whatever it interrupted.
#[repr(C)]
pub(super) struct Depot {
    shelves: [Shelf; SizeClass::COUNT],
    room: [AtomicUsize; BEGIN[SizeClass::COUNT]],
}

impl Depot {
    /// How much memory a depot takes.
    pub(super) const BYTES: usize = size_of::<Self>();

    /// Makes an empty depot.
    ///
    /// # Safety
    ///
    /// `memory` is at least [`BYTES`](Self::BYTES) long, page-aligned, and the caller's.
    pub(super) unsafe fn create(memory: NonNull<u8>) -> NonNull<Self> {
        // SAFETY: the caller's memory is long enough. Zeroes are vacant slots.
        unsafe { memory.write_bytes(0, Self::BYTES) };
        memory.cast()
    }

    fn class(&self, class: SizeClass) -> (&Shelf, &[AtomicUsize]) {
        let index = class.index();
        (
            &self.shelves[index],
            &self.room[BEGIN[index]..BEGIN[index + 1]],
        )
    }

    /// Puts a whole batch of free objects in; `false` if there is no vacant slot.
    pub(super) fn put(&self, class: SizeClass, objects: &[usize]) -> bool {
        debug_assert_eq!(objects.len(), batch(class));
        let (shelf, room) = self.class(class);
        shelf.put(room, objects)
    }

    /// Takes a batch out, and passes its objects to `sink`; `false` if there is none.
    pub(super) fn take(&self, class: SizeClass, sink: impl FnMut(usize)) -> bool {
        let (shelf, room) = self.class(class);
        shelf.take(room, batch(class), sink)
    }

    /// Passes every object of a class to `sink`, and leaves it where it is.
    pub(super) fn inspect(&self, class: SizeClass, sink: impl FnMut(usize)) {
        let (shelf, room) = self.class(class);
        shelf.inspect(room, batch(class), sink);
    }

    /// How many objects of a class there are.
    pub(super) fn len(&self, class: SizeClass) -> usize {
        self.class(class).0.len() * batch(class)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::vec::Vec;

    use super::*;

    #[test]
    fn every_slot_is_used_and_no_object_is_lost() {
        let mut memory: Vec<[u64; 512]> = std::vec![[7; 512]; Depot::BYTES.div_ceil(4096) + 1];
        let start = memory.as_mut_ptr().cast::<u8>();
        // SAFETY: one page more than the depot takes was allocated.
        let aligned = unsafe { start.add(start.align_offset(4096)) };
        // SAFETY: the memory is long enough, aligned, and outlives the depot.
        let depot = unsafe { Depot::create(NonNull::new(aligned).unwrap()) };
        // SAFETY: as above.
        let depot = unsafe { depot.as_ref() };
        for class in SizeClass::ALL {
            let objects: Vec<usize> = (1..=SLOTS * batch(class)).collect();
            for objects in objects.chunks(batch(class)) {
                assert!(depot.put(class, objects));
            }
            assert!(!depot.put(class, &objects[..batch(class)]));
            assert_eq!(depot.len(class), objects.len());
        }
        for class in SizeClass::ALL {
            let mut seen = Vec::new();
            depot.inspect(class, |object| seen.push(object));
            let mut taken = Vec::new();
            while depot.take(class, |object| taken.push(object)) {}
            assert!(taken.is_sorted() && taken == seen);
            assert_eq!(taken.len(), SLOTS * batch(class));
            assert_eq!(depot.len(class), 0);
        }
    }
}

#[cfg(all(test, loom))]
mod models {
    use std::vec::Vec;

    use loom::sync::Arc;
    use loom::thread;

    use super::*;
    use crate::modelled::atomics::{Ever, at_every_point, forget_interrupt, interrupt};

    /// What a handler put and took.
    type Handled = std::sync::Mutex<(bool, Option<[usize; BATCH]>)>;

    /// Objects in a batch here.
    const BATCH: usize = 2;

    struct Machine {
        shelf: Shelf,
        room: Vec<AtomicUsize>,
    }

    impl Machine {
        fn new(slots: usize) -> Arc<Self> {
            let shelf = Shelf {
                used: AtomicUsize::new(0),
                stocked: AtomicUsize::new(0),
            };
            let room = (0..slots * BATCH).map(|_| AtomicUsize::new(0)).collect();
            Arc::new(Self { shelf, room })
        }

        fn put(&self, objects: [usize; BATCH]) -> bool {
            self.shelf.put(&self.room, &objects)
        }

        fn take(&self) -> Option<[usize; BATCH]> {
            let mut objects = Vec::new();
            self.shelf
                .take(&self.room, BATCH, |object| objects.push(object))
                .then(|| objects.try_into().unwrap())
        }
    }

    /// What is left, with what was taken, is what was put: whole batches, once each.
    fn assert_all(machine: &Machine, mut taken: Vec<[usize; BATCH]>, mut put: Vec<[usize; BATCH]>) {
        taken.extend(core::iter::from_fn(|| machine.take()));
        taken.sort_unstable();
        put.sort_unstable();
        assert_eq!(taken, put);
        assert_eq!(machine.shelf.used.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn loom_a_slot_is_filled_again_while_it_is_emptied() {
        loom::model(|| {
            let machine = Machine::new(1);
            let other = Arc::clone(&machine);
            let taker = thread::spawn(move || other.take().into_iter().collect());
            let batches = [[1, 2], [3, 4]];
            let put = batches
                .into_iter()
                .filter(|batch| machine.put(*batch))
                .collect();
            assert_all(&machine, taker.join().unwrap(), put);
        });
    }

    #[test]
    fn loom_two_cpus_fill_slots_and_a_third_empties_them() {
        // Three preemptions, as loom recommends where all interleavings are too many.
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(|| {
            let machine = Machine::new(2);
            let others: Vec<_> = [[1, 2], [3, 4]]
                .into_iter()
                .map(|batch| {
                    let machine = Arc::clone(&machine);
                    thread::spawn(move || assert!(machine.put(batch)))
                })
                .collect();
            let taken = machine.take().into_iter().collect();
            for other in others {
                other.join().unwrap();
            }
            assert_all(&machine, taken, [[1, 2], [3, 4]].into());
        });
    }

    /// A handler puts and takes, whatever it interrupted: it passes over the slot that the interrupted
    /// code is filling or emptying.
    #[test]
    fn loom_d13_a_handler_interrupts_at_any_point() {
        let points = at_every_point(|point| {
            let came = Ever::default();
            let ever = came.clone();
            let mut builder = loom::model::Builder::new();
            builder.preemption_bound = Some(3);
            builder.check(move || {
                let machine = Machine::new(2);
                let other = Arc::clone(&machine);
                let taker = thread::spawn(move || other.take());
                let handled = Arc::new(Handled::default());
                let (handler, by_handler) = (Arc::clone(&machine), Arc::clone(&handled));
                interrupt(point, move || {
                    let mut handled = by_handler.lock().unwrap();
                    handled.0 = handler.put([3, 4]);
                    handled.1 = handler.take();
                });
                assert!(machine.put([1, 2]), "one slot is nobody else's");
                let mut taken: Vec<_> = machine.take().into_iter().collect();
                if !forget_interrupt() {
                    came.happened();
                }
                taken.extend(taker.join().unwrap());
                let (is_put, taken_there) = *handled.lock().unwrap();
                taken.extend(taken_there);
                let mut put: Vec<_> = [[1, 2]].into();
                put.extend(is_put.then_some([3, 4]));
                assert_all(&machine, taken, put);
            });
            ever.did()
        });
        assert!(points >= 8, "{points}");
    }
}
