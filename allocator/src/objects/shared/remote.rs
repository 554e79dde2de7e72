//! Frees that come from other CPUs, without a lock and without waiting.
//!
//! A slab has a bit per object for them, apart from the bits that its owner has, and one count.
//! Whoever frees
//!
//! 1. sets the bits of the objects (`fetch_or`), and then
//! 2. adds their number to the count (`fetch_add`): the frees are published. If the count was 0,
//!    the slab is in no queue, and this operation has made the caller the only one who may put
//!    it into its owner's queue.
//!
//! The owner takes its queue as a whole, and from each slab in it first the count and then the
//! bits. So it may find bits whose step 2 is still to come (never the other way round). It may use
//! those objects at once, but the slab is not empty before they are settled: until then another
//! CPU is going to touch the descriptor. And a slab whose bits are all settled is in no queue and
//! on nobody's way into one, because a count above 0 stands for bits that are not settled.
//!
//! After step 2, the only thing a freeing CPU touches is the queue link of a slab whose count it
//! has raised from 0: that slab cannot go, since its owner takes the count out of queued slabs only.

use core::ptr::null_mut;

use super::super::bits::{self, Word};
use super::super::slab::Slab;
use super::atomic::{AtomicPtr, Ordering};
use super::descriptor::{Shared, SharedRef};

/// Frees of objects of other CPUs' slabs, those of one word of one slab in one operation.
pub(super) struct RemoteBatch<const PAGE_SIZE: usize, F: FnMut(SharedRef)> {
    /// Puts a slab into its owner's queue.
    push: F,
    slab: Option<SharedRef>,
    word: usize,
    bits: Word,
    /// How many bits of `slab` are set and not published.
    count: u32,
}

impl<const PAGE_SIZE: usize, F: FnMut(SharedRef)> RemoteBatch<PAGE_SIZE, F> {
    pub(super) const fn new(push: F) -> Self {
        Self {
            push,
            slab: None,
            word: 0,
            bits: 0,
            count: 0,
        }
    }

    /// Adds the object number `index` of `slab`; `false` if this batch has it already.
    pub(super) fn add(&mut self, slab: SharedRef, index: usize) -> bool {
        if self.slab != Some(slab) {
            self.publish();
            self.slab = Some(slab);
        }
        let (word, bit) = bits::split(index);
        if self.word != word {
            self.set_bits();
            self.word = word;
        }
        let is_new = self.bits & bit == 0;
        self.bits |= bit;
        is_new
    }

    /// Publishes what is left.
    pub(super) fn finish(mut self) {
        self.publish();
    }

    /// Step 1. Bits that were set already are frees of free objects: they are not counted.
    fn set_bits(&mut self) {
        let bits = core::mem::take(&mut self.bits);
        if let Some(slab) = self.slab
            && bits != 0
        {
            let word = &slab.remote_bits::<PAGE_SIZE>()[self.word];
            let twice = word.fetch_or(bits, Ordering::AcqRel);
            self.count += (bits & !twice).count_ones();
        }
    }

    /// Step 2, and the push that may follow from it.
    fn publish(&mut self) {
        self.set_bits();
        let count = core::mem::take(&mut self.count);
        if let Some(slab) = self.slab.take()
            && count != 0
            // Release: whoever takes the count sees the bits. Acquire: a push comes after whatever
            // the owner did when it took the slab from the queue before.
            && slab.shared().count.fetch_add(count, Ordering::AcqRel) == 0
        {
            (self.push)(slab);
        }
    }
}

/// Takes the remote frees of a slab in. The slab was just taken from the queue; from here on it may
/// be in the queue again. Returns how many objects came back.
pub(super) fn absorb<const PAGE_SIZE: usize>(descriptor: SharedRef, slab: &mut Slab) -> usize {
    let published = descriptor.shared().count.swap(0, Ordering::AcqRel);
    let before = slab.free();
    for (word, bits) in descriptor.remote_bits::<PAGE_SIZE>().iter().enumerate() {
        // The bits of what was published are visible; others can wait for their publication.
        if bits.load(Ordering::Relaxed) != 0 {
            slab.put_word(word, bits.swap(0, Ordering::AcqRel));
        }
    }
    slab.settle(published as usize);
    slab.free() - before
}

/// An owner's slabs that other CPUs have freed objects of. Anyone pushes; all is taken off at once, so a
/// slab that left and came back cannot be mistaken, and taken in bit by bit.
pub(crate) struct RemoteQueue {
    head: AtomicPtr<Shared>,
    /// What was taken off and not taken in yet. Used under the lock of the owner's heap only.
    rest: AtomicPtr<Shared>,
}

impl RemoteQueue {
    pub(crate) fn new() -> Self {
        Self {
            head: AtomicPtr::new(null_mut()),
            rest: AtomicPtr::new(null_mut()),
        }
    }

    /// Enters a slab, for whoever raised its count from 0.
    pub(super) fn push(&self, slab: SharedRef) {
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            slab.shared().next.store(head, Ordering::Relaxed);
            // Release: whoever takes the queue sees the link. A failure is only a newer head.
            match self.head.compare_exchange_weak(
                head,
                slab.as_ptr(),
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(newer) => head = newer,
            }
        }
    }

    /// Whether there is something to take.
    pub(super) fn is_empty(&self) -> bool {
        self.head.load(Ordering::Relaxed).is_null() && self.rest.load(Ordering::Relaxed).is_null()
    }

    /// Takes up to `most` slabs of those out that were there at this call, or at an earlier one that left some.
    /// Each is passed to `each` after its link was read. Returns whether there are more of them.
    ///
    /// The caller has the lock of the owner's heap.
    pub(super) fn take(&self, most: usize, mut each: impl FnMut(SharedRef)) -> bool {
        let mut rest = self.rest.load(Ordering::Relaxed);
        if rest.is_null() {
            rest = self.head.swap(null_mut(), Ordering::Acquire);
        }
        let mut next = SharedRef::from_ptr(rest);
        for _ in 0..most {
            let Some(slab) = next else { break };
            // As long as its count stands, nobody enters it again.
            next = SharedRef::from_ptr(slab.shared().next.load(Ordering::Relaxed));
            each(slab);
        }
        let rest = next.map_or(null_mut(), SharedRef::as_ptr);
        self.rest.store(rest, Ordering::Relaxed);
        next.is_some()
    }
}

#[cfg(all(test, loom))]
mod models {
    use std::alloc::{Layout, alloc, dealloc};
    use std::vec::Vec;

    use loom::sync::Arc;
    use loom::thread;

    use super::super::super::size_class::SizeClass;
    use super::super::super::slab::Arena;
    use super::super::descriptor::{Descriptors, Owned};
    use super::*;

    const PAGE: usize = 0x4000;

    /// A slab of eight objects, all of them out, and its owner's queue.
    struct Machine {
        slab: SharedRef,
        queue: RemoteQueue,
        page: *mut u8,
    }

    // SAFETY: the descriptor is shared as in the allocator.
    unsafe impl Send for Machine {}
    // SAFETY: as above.
    unsafe impl Sync for Machine {}

    impl Machine {
        fn new() -> (Arc<Self>, Descriptors<PAGE>) {
            let layout = Layout::from_size_align(PAGE, PAGE).unwrap();
            // SAFETY: the layout is not empty.
            let page = unsafe { alloc(layout) };
            let mut descriptors = Descriptors::<PAGE>::new();
            // SAFETY: the page is freed after the descriptor is given back.
            unsafe { descriptors.add_page(SizeClass::Bytes2048, page.expose_provenance()) };
            let slab = descriptors.take(SizeClass::Bytes2048, 0x10000, 0).unwrap();
            // SAFETY: nobody else knows it.
            let mut owned = unsafe { Owned::<PAGE>::new() };
            owned.slab(slab.slab_ref()).take(8, |_| ());
            let queue = RemoteQueue::new();
            (Arc::new(Self { slab, queue, page }), descriptors)
        }

        fn free(&self, objects: &[usize]) {
            let mut batch = RemoteBatch::<PAGE, _>::new(|slab| self.queue.push(slab));
            for index in objects {
                assert!(batch.add(self.slab, *index));
            }
            batch.finish();
        }

        /// What an owner does; once the slab is empty it is gone, and says so by `true`.
        fn collect(&self, descriptors: &mut Descriptors<PAGE>) -> bool {
            let mut is_gone = false;
            self.queue.take(1, |slab| {
                assert!(slab == self.slab && !is_gone);
                // SAFETY: the model has one owner.
                let mut owned = unsafe { Owned::<PAGE>::new() };
                let descriptor = owned.slab(slab.slab_ref());
                absorb::<PAGE>(slab, descriptor);
                assert!(descriptor.is_consistent());
                is_gone = descriptor.is_empty();
            });
            if is_gone {
                // The model checker reports whoever touches the descriptor without having
                // finished before.
                // SAFETY: it is empty.
                unsafe { descriptors.give(self.slab) };
                assert_eq!(
                    descriptors.take_unused(),
                    Some(self.page.expose_provenance())
                );
                let layout = Layout::from_size_align(PAGE, PAGE).unwrap();
                // SAFETY: it was allocated with this layout.
                unsafe { dealloc(self.page, layout) };
            }
            is_gone
        }
    }

    /// The CPUs free these objects; the owner looks `visits` times meanwhile.
    fn model(frees: &'static [&'static [usize]], visits: usize) {
        loom::model(move || {
            let (machine, mut descriptors) = Machine::new();
            let cpus: Vec<_> = frees
                .iter()
                .map(|objects| {
                    let machine = Arc::clone(&machine);
                    thread::spawn(move || machine.free(objects))
                })
                .collect();
            let mut is_gone = false;
            for _ in 0..visits {
                is_gone = is_gone || machine.collect(&mut descriptors);
            }
            for cpu in cpus {
                cpu.join().unwrap();
            }
            is_gone = is_gone || machine.collect(&mut descriptors);
            assert!(is_gone, "all objects are back, and the slab is not empty");
        });
    }

    #[test]
    fn loom_d01_one_cpu_frees_while_the_owner_collects() {
        model(&[&[0, 1, 2, 3, 4, 5, 6, 7]], 2);
    }

    #[test]
    fn loom_d01_two_cpus_free_while_the_owner_collects() {
        model(&[&[0, 1, 2, 3], &[4, 5, 6, 7]], 1);
    }
}
