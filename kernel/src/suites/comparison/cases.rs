//! The work.

use alloc::vec::Vec;
use core::alloc::Layout;

use fastrand::Rng;

use super::btree::Tree;
use super::measure::{Limit, Round};
use super::subjects::Subject;
use super::vector::Vector;

/// A kind of work.
pub(super) trait Case {
    /// In words, and what an operation is.
    const NAME: &'static str;

    /// For one of `cpus` CPUs that do it at the same time. May allocate, from the kernel's heap.
    fn new(cpus: usize) -> Self;

    /// Does it once. Allocates from the subject only.
    fn round<S: Subject>(&mut self, subject: &S, limit: Limit) -> Round;
}

/// By how much there is less work than the names say: what is not optimised is not measured, but runs.
pub(super) const SCALE: usize = if cfg!(debug_assertions) { 20 } else { 1 };

/// Operations between two looks at the clock.
const LOOK: usize = 64;

pub(super) const fn layout(size: usize) -> Layout {
    // Pages begin where pages begin.
    let align = if size < 4096 { 8 } else { 4096 };
    match Layout::from_size_align(size, align) {
        Ok(layout) => layout,
        Err(_) => panic!("a size of a few bytes"),
    }
}

/// Allocates, and writes the first and the last word, as whoever wants memory would.
pub(super) fn take<S: Subject>(subject: &S, layout: Layout) -> Option<*mut u8> {
    let memory = subject.alloc(layout);
    if memory.is_null() {
        return None;
    }
    let last = layout.size() / 8 - 1;
    for word in [0, last] {
        // SAFETY: inside of what was just allocated.
        let place = unsafe { memory.cast::<u64>().add(word) };
        // SAFETY: as above.
        unsafe { place.write_volatile(1) };
    }
    Some(memory)
}

/// An object that is freed at once.
pub(super) struct Pair<const SIZE: usize>;

impl<const SIZE: usize> Case for Pair<SIZE> {
    const NAME: &'static str = match SIZE {
        64 => "pair of 64 B",
        4096 => "pair of a page",
        _ => "pair of 1024 B",
    };

    fn new(_: usize) -> Self {
        Self
    }

    fn round<S: Subject>(&mut self, subject: &S, _: Limit) -> Round {
        const PAIRS: u64 = 4_000;
        for _ in 0..PAIRS {
            let Some(object) = take(subject, layout(SIZE)) else {
                return Round::NoMemory;
            };
            // SAFETY: allocated just now for this layout.
            unsafe { subject.free(object, layout(SIZE)) };
        }
        Round::Whole(PAIRS)
    }
}

/// In which order a batch is freed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    OldestFirst,
    NewestFirst,
    Random,
}

/// Objects that are allocated together and freed together; an operation is one of each.
pub(super) struct Batch<const SIZE: usize, const COUNT: usize, const ORDER: u8> {
    objects: Vec<*mut u8>,
    random: Rng,
    count: usize,
}

impl<const SIZE: usize, const COUNT: usize, const ORDER: u8> Batch<SIZE, COUNT, ORDER> {
    const FREED: Order = match ORDER {
        0 => Order::OldestFirst,
        1 => Order::NewestFirst,
        _ => Order::Random,
    };
}

impl<const SIZE: usize, const COUNT: usize, const ORDER: u8> Case for Batch<SIZE, COUNT, ORDER> {
    const NAME: &'static str = match (SIZE, COUNT, Self::FREED) {
        (_, 10_000, Order::OldestFirst) => "10,000 x 64 B, oldest first",
        (_, 10_000, Order::NewestFirst) => "10,000 x 64 B, newest first",
        (_, 10_000, Order::Random) => "10,000 x 64 B, random order",
        (64, ..) => "25,000 x 64 B, random order",
        _ => "7,500 x 520 B, random order",
    };

    /// All CPUs together have as many objects as one alone.
    fn new(cpus: usize) -> Self {
        let count = (COUNT / SCALE / cpus).max(1);
        Self {
            objects: Vec::with_capacity(count),
            random: Rng::with_seed(7),
            count,
        }
    }

    fn round<S: Subject>(&mut self, subject: &S, limit: Limit) -> Round {
        self.objects.clear();
        while self.objects.len() < self.count {
            let Some(object) = take(subject, layout(SIZE)) else {
                return Round::NoMemory;
            };
            self.objects.push(object);
            if self.objects.len().is_multiple_of(LOOK) && limit.is_over() {
                return Round::Cut(self.objects.len() as u64 / 2);
            }
        }
        match Self::FREED {
            Order::OldestFirst => {}
            Order::NewestFirst => self.objects.reverse(),
            Order::Random => self.random.shuffle(&mut self.objects),
        }
        for (done, object) in self.objects.iter().enumerate() {
            // SAFETY: allocated above for this layout.
            unsafe { subject.free(*object, layout(SIZE)) };
            if done.is_multiple_of(LOOK) && limit.is_over() {
                return Round::Cut((self.count + done) as u64 / 2);
            }
        }
        Round::Whole(self.count as u64)
    }
}

/// Objects of 16 to 2048 bytes, of which some live while one is replaced by another.
pub(super) struct Mixed {
    live: Vec<(*mut u8, Layout)>,
    random: Rng,
    count: usize,
}

impl Case for Mixed {
    const NAME: &'static str = "16 to 2048 B, 4,000 live";

    fn new(cpus: usize) -> Self {
        let count = (4_000 / SCALE / cpus).max(1);
        Self {
            live: Vec::with_capacity(count),
            random: Rng::with_seed(11),
            count,
        }
    }

    fn round<S: Subject>(&mut self, subject: &S, limit: Limit) -> Round {
        const REPLACED: u64 = 4_000;
        while self.live.len() < self.count {
            let layout = self.any();
            let Some(object) = take(subject, layout) else {
                return Round::NoMemory;
            };
            self.live.push((object, layout));
        }
        for done in 0..REPLACED {
            let index = self.random.usize(..self.count);
            let (object, old) = self.live[index];
            // SAFETY: allocated for this layout; its place is filled at once.
            unsafe { subject.free(object, old) };
            let layout = self.any();
            let Some(object) = take(subject, layout) else {
                return Round::NoMemory;
            };
            self.live[index] = (object, layout);
            if done.is_multiple_of(LOOK as u64) && limit.is_over() {
                return Round::Cut(done);
            }
        }
        // What lives goes on living: the next round begins where this one ends.
        Round::Whole(REPLACED)
    }
}

impl Mixed {
    fn any(&mut self) -> Layout {
        let limit = 16_usize << self.random.u32(0..=7);
        layout(self.random.usize(16..=limit))
    }
}

/// A vector of three million numbers; an operation is a push.
pub(super) struct Growth(u32);

impl Case for Growth {
    const NAME: &'static str = "3,000,000 pushes to a vector";

    fn new(cpus: usize) -> Self {
        Self(u32::try_from(3_000_000 / SCALE / cpus).unwrap_or(0))
    }

    fn round<S: Subject>(&mut self, subject: &S, _: Limit) -> Round {
        let mut vector = Vector::new(subject);
        for number in 0..self.0 {
            if !vector.push(number) {
                return Round::NoMemory;
            }
        }
        assert_eq!(vector.last(), self.0.checked_sub(1));
        Round::Whole(u64::from(self.0))
    }
}

/// A B-tree with 50,000 entries; an operation is an insertion, and its share of taking the tree down.
pub(super) struct Entries(usize);

impl Case for Entries {
    const NAME: &'static str = "B-tree of 50,000 entries";

    fn new(cpus: usize) -> Self {
        Self(50_000 / SCALE / cpus)
    }

    fn round<S: Subject>(&mut self, subject: &S, limit: Limit) -> Round {
        let mut random = Rng::with_seed(13);
        let Ok(mut tree) = Tree::new(subject) else {
            return Round::NoMemory;
        };
        for done in 0..self.0 {
            if tree.insert(random.u64(..), done as u64).is_err() {
                return Round::NoMemory;
            }
            if done.is_multiple_of(LOOK) && limit.is_over() {
                return Round::Cut(done as u64);
            }
        }
        Round::Whole(self.0 as u64)
    }
}

/// Workers that box eight numbers and drop the box, each a hundred times: what many threads did in
/// hermit-os/kernel#1984. An operation is a box, and its end.
pub(super) struct Boxes;

impl Case for Boxes {
    const NAME: &'static str = "128 workers, 100 x Box::new([0u64; 8]) each";

    fn new(_: usize) -> Self {
        Self
    }

    fn round<S: Subject>(&mut self, subject: &S, limit: Limit) -> Round {
        const WORKERS: u64 = 128;
        const BOXES: u64 = 100;
        let boxed = Layout::new::<[u64; 8]>();
        for worker in 0..WORKERS {
            for _ in 0..BOXES {
                let memory = subject.alloc(boxed);
                if memory.is_null() {
                    return Round::NoMemory;
                }
                // SAFETY: just allocated for this.
                unsafe { memory.cast::<[u64; 8]>().write_volatile([0; 8]) };
                // SAFETY: allocated above, and not used any more.
                unsafe { subject.free(memory, boxed) };
            }
            if limit.is_over() {
                return Round::Cut((worker + 1) * BOXES);
            }
        }
        Round::Whole(WORKERS * BOXES)
    }
}
