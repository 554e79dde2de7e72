//! What a CPU finds while another one has stopped somewhere in the allocator.

use core::ptr::NonNull;
use std::vec;
use std::vec::Vec;

use super::{MIB, Memory, layout, on};
use crate::pages::tests::{Stopping, at_every_stop};
use crate::{AllocResult, GlobalAllocator, SizeClass};

/// The largest objects.
const SIZE: usize = 2048;
const PER_SLAB: usize = 8;
const SLAB_PAGES: usize = 4;

/// All pages of it are in use.
struct Machine {
    global: GlobalAllocator<Stopping>,
    /// Slabs whose objects are all live.
    slabs: Vec<[usize; PER_SLAB]>,
    memory: Vec<Memory>,
}

impl Machine {
    fn new(mib: usize) -> Self {
        let mut machine = Self {
            global: GlobalAllocator::new(),
            slabs: Vec::new(),
            memory: Vec::new(),
        };
        machine.add(mib, |global, region| {
            // SAFETY: the memory outlives the allocator and is used through it only.
            unsafe { global.init(region) }
        });
        machine
    }

    /// One with so many objects of this CPU.
    fn full(mib: usize, objects: usize) -> Self {
        let mut machine = Self::new(mib);
        for cpu in [0, 1] {
            on(cpu, || machine.object());
        }
        let mut all: Vec<_> = (0..objects).map(|_| machine.object()).collect();
        // Nobody empties the magazines for that.
        while machine.global.frames().alloc_pages(1, 0).is_ok() {}
        all.sort_unstable();
        let slabs = all.chunk_by(|a, b| a / (SIZE * PER_SLAB) == b / (SIZE * PER_SLAB));
        machine.slabs = slabs.filter_map(|slab| slab.try_into().ok()).collect();
        machine
    }

    fn add(&mut self, mib: usize, add: fn(&GlobalAllocator<Stopping>, &mut [u8]) -> AllocResult) {
        let memory = Memory::new(mib * MIB);
        // SAFETY: it is used through the allocator only.
        let region = unsafe { memory.whole().as_mut() };
        assert_eq!(add(&self.global, region), Ok(()));
        self.memory.push(memory);
    }

    fn object(&self) -> usize {
        let object = self.global.alloc(layout(SIZE)).expect("enough memory");
        object.addr().get()
    }

    fn free(&self, objects: &[usize]) {
        let pointer = |object: &usize| core::ptr::with_exposed_provenance_mut(*object);
        let objects: Vec<_> = objects
            .iter()
            .map(pointer)
            .filter_map(NonNull::new)
            .collect();
        self.free_all(&objects, SIZE);
    }

    fn free_all(&self, objects: &[NonNull<u8>], size: usize) {
        for object in objects {
            // SAFETY: each test frees what was allocated above, once.
            let freed = unsafe { self.global.dealloc(*object, layout(size)) };
            assert_eq!(freed, Ok(()));
        }
    }

    /// How many objects of CPU 1 are back in its slabs.
    fn brought_back(&self) -> u64 {
        let info = self.global.slabinfo_of_cpu(1).expect("it was here");
        info.class(SizeClass::Bytes2048).local_frees
    }
}

/// Has CPU 1 stop everywhere in `other`, and runs `own` meanwhile: whoever wants pages has all that there are then.
fn finds_pages(
    make: impl Fn() -> Machine,
    other: impl Fn(&Machine) + Sync,
    own: impl Fn(&Machine),
) {
    let pages = |machine: &Machine| machine.global.alloc_pages(SLAB_PAGES, 0);
    at_every_stop(
        make,
        other,
        |machine| {
            own(machine);
            while pages(machine).is_ok() {}
        },
        |machine, ()| assert!(pages(machine).is_err(), "now there are some"),
    );
}

/// The objects of a slab come free while CPU 1 does something else.
fn finds_pages_beside(other: impl Fn(&Machine) + Sync) {
    let make = || Machine::full(2, 5 * PER_SLAB);
    finds_pages(make, other, |machine| machine.free(&machine.slabs[1]));
}

#[test]
fn pages_are_found_while_another_cpu_looks_at_magazines() {
    finds_pages_beside(|machine| assert_eq!(machine.global.validate(), Ok(())));
}

/// It may have been here before there was anything.
#[test]
fn pages_are_found_while_another_cpu_drains() {
    finds_pages_beside(|machine| assert_ne!(machine.global.drain(), 0));
}

#[test]
fn pages_are_found_whose_objects_another_cpu_brings_back() {
    let make = || {
        let machine = Machine::full(4, 130 * PER_SLAB);
        // One of each slab, so that no slab becomes empty.
        let mut singles = machine.slabs[2..].iter().map(|slab| slab[0]);
        let mut free_single = || machine.free(&[singles.next().expect("enough slabs")]);
        // Until they have nowhere else to go.
        let before = machine.brought_back();
        while machine.brought_back() == before {
            free_single();
        }
        (1..PER_SLAB).for_each(|_| free_single());
        // The magazine is full. These are the next ones to go, when it is full of them and others.
        machine.free(&machine.slabs[0]);
        (0..PER_SLAB).for_each(|_| free_single());
        machine
    };
    finds_pages(
        || on(1, make),
        |machine| machine.free(&machine.slabs[1][..1]),
        |_| (),
    );
}

#[test]
fn a_page_is_found_that_another_cpu_needs_no_more_for_what_it_keeps() {
    /// More than a magazine has, so that batches of both sizes are kept, on pages of their own.
    const KEPT: usize = 400;
    const SIZES: [usize; 2] = [SIZE, SIZE / 2];
    let take = |machine: &Machine, size| -> Vec<_> {
        let objects = (0..KEPT).map_while(|_| machine.global.alloc(layout(size)).ok());
        objects.collect()
    };
    let make = || {
        let machine = Machine::new(64);
        on(0, || machine.object());
        let both = on(1, || SIZES.map(|size| (size, take(&machine, size))));
        for (size, objects) in both {
            on(1, || machine.free_all(&objects, size));
        }
        // Nobody empties the magazines for that.
        while machine.global.frames().alloc_pages(1, 0).is_ok() {}
        machine
    };
    let page = |machine: &Machine| machine.global.alloc_pages(1, 0);
    at_every_stop(
        make,
        |machine| {
            for size in SIZES {
                take(machine, size);
            }
        },
        |machine| while page(machine).is_ok() {},
        |machine, ()| assert!(page(machine).is_err(), "now there is one"),
    );
}

#[test]
fn a_section_goes_while_another_cpu_looks_at_magazines() {
    at_every_stop(
        || {
            let mut machine = Machine::full(2, 5 * PER_SLAB);
            machine.add(4, |global, region| {
                // SAFETY: the memory outlives the allocator and is used through it only.
                unsafe { global.add_region(region) }
            });
            machine.slabs = vec![[(); PER_SLAB].map(|()| machine.object())];
            machine
        },
        |machine| assert_eq!(machine.global.validate(), Ok(())),
        |machine| {
            machine.free(&machine.slabs[0]);
            machine
                .global
                .remove_section(machine.memory[1].addr() + MIB)
        },
        |_, removed| assert!(removed.is_ok(), "{removed:?}"),
    );
}
