//! Slabs between their lists, while other CPUs free what is in them.

use std::alloc::{Layout, alloc, dealloc};
use std::vec::Vec;

use loom::sync::Arc;
use loom::thread;

use super::super::descriptor::{Descriptors, Owned, SharedRef};
use super::super::remote::{RemoteBatch, RemoteQueue};
use super::take_in;
use crate::modelled::atomics::{Ever, at_every_point, forget_interrupt, interrupt};
use crate::objects::heap::SlabHeap;
use crate::objects::size_class::SizeClass;

/// A page of this length is a slab of eight objects, and has room for its descriptors.
const PAGE: usize = 0x4000;
const CLASS: SizeClass = SizeClass::Bytes2048;
const OBJECTS: usize = 8;

/// What all CPUs reach.
struct Shared {
    slabs: Vec<SharedRef>,
    queue: RemoteQueue,
}

// SAFETY: descriptors are shared as in the allocator.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    /// Frees objects of a slab as another CPU than the owner does.
    fn free(&self, slab: usize, objects: core::ops::Range<usize>) {
        let mut batch = RemoteBatch::<PAGE, _>::new(|slab| self.queue.push(slab));
        for index in objects {
            assert!(batch.add(self.slabs[slab], index));
        }
        batch.finish();
    }
}

/// The owner's side. Its lock is left out: the model has one owner.
struct Owner {
    shared: Arc<Shared>,
    heap: SlabHeap,
    descriptors: Descriptors<PAGE>,
    page: *mut u8,
    /// Slabs that are gone.
    gone: usize,
}

impl Owner {
    /// So many slabs, all of whose objects are out.
    fn new(slabs: usize) -> Self {
        let layout = Layout::from_size_align(PAGE, PAGE).unwrap();
        // SAFETY: the layout is not empty.
        let page = unsafe { alloc(layout) };
        let mut descriptors = Descriptors::<PAGE>::new();
        // SAFETY: the page is freed when all descriptors were given back.
        unsafe { descriptors.add_page(CLASS, page.expose_provenance()) };
        let mut heap = SlabHeap::new();
        // SAFETY: there is one owner.
        let mut owned = unsafe { Owned::<PAGE>::new() };
        let slabs: Vec<_> = (1..=slabs)
            .map(|number| {
                let slab = descriptors.take(CLASS, number * PAGE, 0).unwrap();
                heap.add(&mut owned, slab.slab_ref());
                slab
            })
            .collect();
        let all = heap.take(&mut owned, CLASS, usize::MAX, |_| ());
        assert_eq!(all, slabs.len() * OBJECTS);
        let queue = RemoteQueue::new();
        Self {
            shared: Arc::new(Shared { slabs, queue }),
            heap,
            descriptors,
            page,
            gone: 0,
        }
    }

    fn owned() -> Owned<PAGE> {
        // SAFETY: there is one owner, which uses one at a time.
        unsafe { Owned::new() }
    }

    fn validate(&self) {
        let checked = self.heap.validate(&mut Self::owned(), |_, _, _| true);
        assert_eq!(checked, Ok(()));
    }

    /// Takes in what others have freed.
    fn collect(&mut self) {
        let mut emptied = Vec::new();
        let queue = &self.shared.queue;
        let mut has_more = true;
        while has_more {
            // One at a time, so that some are taken off and not taken in.
            has_more = take_in(queue, 1, &mut self.heap, &mut Self::owned(), |slab| {
                emptied.push(slab);
            });
        }
        for slab in emptied {
            self.give(SharedRef::from_slab_ref(slab));
        }
        self.validate();
    }

    /// The end of a slab. The checker reports whoever has not finished with it before.
    fn give(&mut self, slab: SharedRef) {
        // SAFETY: it is empty and on no list.
        unsafe { self.descriptors.give(slab) };
        self.gone += 1;
    }

    fn put(&mut self, slab: usize, index: usize) {
        let at = self.shared.slabs[slab];
        let addr = (slab + 1) * PAGE + index * CLASS.size();
        let put = self
            .heap
            .put(&mut Self::owned(), at.slab_ref(), CLASS, addr);
        if let Some(emptied) = put.expect("the object was out") {
            self.give(SharedRef::from_slab_ref(emptied));
        }
        self.validate();
    }

    /// Takes objects; returns their addresses.
    fn take(&mut self, limit: usize) -> Vec<usize> {
        let mut taken = Vec::new();
        self.heap
            .take(&mut Self::owned(), CLASS, limit, |addr| taken.push(addr));
        self.validate();
        taken
    }

    /// Lets parts of slabs go. Returns which, as bits.
    fn trim(&mut self) -> usize {
        let mut parts = 0;
        self.heap
            .trim(&mut Self::owned(), CLASS, 1, |_, _, pieces| parts |= pieces);
        self.validate();
        parts
    }

    /// All objects are back: every slab can go, once.
    fn finish(mut self) {
        self.collect();
        while let Some(slab) = self.heap.take_empty(&mut Self::owned()) {
            self.give(SharedRef::from_slab_ref(slab));
        }
        assert_eq!(self.gone, self.shared.slabs.len());
        let unused = self.descriptors.take_unused();
        assert_eq!(unused, Some(self.page.expose_provenance()));
        let layout = Layout::from_size_align(PAGE, PAGE).unwrap();
        // SAFETY: it was allocated with this layout.
        unsafe { dealloc(self.page, layout) };
    }
}

fn bounded() -> loom::model::Builder {
    // Three preemptions, as loom recommends where all interleavings are too many.
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder
}

#[test]
fn loom_a_full_slab_empties_from_both_sides() {
    loom::model(|| {
        let mut owner = Owner::new(1);
        let shared = Arc::clone(&owner.shared);
        let other = thread::spawn(move || shared.free(0, 0..4));
        for index in 4..OBJECTS {
            owner.put(0, index);
            owner.collect();
        }
        other.join().unwrap();
        owner.finish();
    });
}

#[test]
fn loom_two_cpus_empty_two_slabs_of_a_third() {
    bounded().check(|| {
        let mut owner = Owner::new(2);
        let [first, second] = [(); 2].map(|()| Arc::clone(&owner.shared));
        let others = [
            thread::spawn(move || {
                first.free(0, 0..OBJECTS);
                first.free(1, 0..4);
            }),
            thread::spawn(move || second.free(1, 4..OBJECTS)),
        ];
        owner.collect();
        owner.collect();
        for other in others {
            other.join().unwrap();
        }
        owner.finish();
    });
}

#[test]
fn loom_what_comes_back_is_taken_again_once() {
    bounded().check(|| {
        let mut owner = Owner::new(1);
        let [first, second] = [(); 2].map(|()| Arc::clone(&owner.shared));
        let others = [
            thread::spawn(move || first.free(0, 0..2)),
            thread::spawn(move || second.free(0, 2..3)),
        ];
        owner.collect();
        let mut taken = owner.take(2);
        for other in others {
            other.join().unwrap();
        }
        owner.collect();
        taken.extend(owner.take(OBJECTS));
        taken.sort_unstable();
        assert_eq!(taken, [0, 1, 2].map(|index| PAGE + index * CLASS.size()));
        for index in 0..OBJECTS {
            owner.put(0, index);
        }
        owner.finish();
    });
}

#[test]
fn loom_a_part_of_a_slab_goes_while_another_cpu_frees_the_rest() {
    loom::model(|| {
        let mut owner = Owner::new(1);
        let shared = Arc::clone(&owner.shared);
        let other = thread::spawn(move || {
            shared.free(0, 0..4);
            shared.free(0, 4..6);
        });
        owner.collect();
        let early = owner.trim();
        other.join().unwrap();
        owner.collect();
        assert_eq!(early ^ owner.trim(), 0b01);
        let taken = owner.take(OBJECTS);
        assert_eq!(taken, [4, 5].map(|index| PAGE + index * CLASS.size()));
        for index in 4..OBJECTS {
            owner.put(0, index);
        }
        owner.finish();
    });
}

/// A handler frees objects of the very slab that the interrupted code is freeing others of.
#[test]
fn loom_d13_a_handler_interrupts_a_remote_free_at_any_point() {
    let points = at_every_point(|point| {
        let came = Ever::default();
        let ever = came.clone();
        loom::model(move || {
            let mut owner = Owner::new(1);
            let shared = Arc::clone(&owner.shared);
            let came = came.clone();
            let other = thread::spawn(move || {
                let handler = Arc::clone(&shared);
                interrupt(point, move || handler.free(0, 4..OBJECTS));
                shared.free(0, 0..4);
                if forget_interrupt() {
                    shared.free(0, 4..OBJECTS);
                } else {
                    came.happened();
                }
            });
            owner.collect();
            owner.collect();
            other.join().unwrap();
            owner.finish();
        });
        ever.did()
    });
    assert!(points >= 5, "{points}");
}
