//! Handlers that allocate and free, whatever they interrupt: behind every single instruction.

use core::alloc::Layout;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering};

use crate::arch::step;
use crate::harness::kernel_tests;
use crate::memory::HEAP;
use crate::suites::{free_pages, largest_order};

/// A number for each run of a hook, so that it does something else every time.
static TURN: AtomicUsize = AtomicUsize::new(0);

fn object(bytes: usize) -> Layout {
    Layout::from_size_align(bytes, 8).expect("a small layout")
}

/// Allocates an object, writes all of it, and frees it.
fn with_object(bytes: usize) {
    let layout = object(bytes);
    let memory = HEAP.alloc(layout).expect("an object");
    // SAFETY: freshly allocated.
    unsafe { memory.write_bytes(0xee, bytes) };
    free(memory, layout);
}

fn free(memory: NonNull<u8>, layout: Layout) {
    // SAFETY: allocated with this layout, and not used any more.
    let freed = unsafe { HEAP.dealloc(memory, layout) };
    assert_eq!(freed, Ok(()));
}

/// An object of the class that is worked with at the same time.
fn same_class() {
    with_object(64);
}

/// Objects of all classes and blocks of small orders, in turn.
fn everything() {
    let turn = TURN.fetch_add(1, Ordering::Relaxed);
    match turn % 12 {
        order @ 0..=2 => {
            let block = HEAP.alloc_pages(1 << order, 0).expect("pages");
            assert_eq!(free_pages(block, 1 << order), Ok(()));
        }
        class => with_object(8 << (class - 3)),
    }
}

/// Objects of which few make a slab, and few fit into a magazine.
const LARGE: usize = 2048;

/// What is allocated in one interrupt and freed in a later one.
static KEPT: AtomicUsize = AtomicUsize::new(0);

/// Frees what the last interrupt left, and leaves an object to the next.
fn passes_on() {
    let new = HEAP.alloc(object(LARGE)).expect("an object");
    let old = KEPT.swap(new.as_ptr().expose_provenance(), Ordering::Relaxed);
    if let Some(old) = NonNull::new(core::ptr::with_exposed_provenance_mut::<u8>(old)) {
        free(old, object(LARGE));
    }
}

/// Enough objects to need several slabs, with contents, freed in another order.
fn fill_and_empty() {
    const COUNT: usize = 30;
    let layout = object(LARGE);
    let mut held = [NonNull::<u8>::dangling(); COUNT];
    let mut number = 0;
    while number < COUNT {
        held[number] = HEAP.alloc(layout).expect("an object");
        // SAFETY: freshly allocated.
        unsafe { held[number].cast::<usize>().write(number) };
        number += 1;
    }
    // Seven has no common factor with the count, so all of them get their turn.
    while number < 2 * COUNT {
        let memory = held[number * 7 % COUNT];
        // SAFETY: written above, and not freed yet.
        let content = unsafe { memory.cast::<usize>().read() };
        assert_eq!(content, number * 7 % COUNT);
        free(memory, layout);
        number += 1;
    }
}

kernel_tests! { "interrupts", Test:
    /// Between any two instructions of a pair of calls, for objects of the same class.
    fn at_every_instruction_of_an_object() on [smp1] {
        HEAP.drain();
        // The first pairs build the CPU's state and its first slabs.
        assert!(step::during(same_class, || (0..20).for_each(|_| with_object(64))) > 1000);
    }

    /// The same with handlers that do all kinds of things.
    fn at_every_instruction_of_everything() on [smp1, smp4] {
        let largest = largest_order();
        let interrupts = step::during(everything, || {
            for order in [0, 1, 3, 9, 10] {
                // Little memory may be in smaller pieces than 4 MiB.
                if order > largest {
                    break;
                }
                let block = HEAP.alloc_pages(1 << order, 0).expect("pages");
                assert_eq!(free_pages(block, 1 << order), Ok(()));
            }
            // Comes to an end, although handlers fill what it empties.
            HEAP.frames().drain_all();
            with_object(32);
        });
        assert!(interrupts > 1000);
    }

    /// Slabs come and go, and handlers keep objects from one interrupt to the next.
    fn at_every_instruction_of_slabs_that_come_and_go() on [smp1, smp4] {
        let interrupts = step::during(passes_on, fill_and_empty);
        assert!(interrupts > 1000);
        let last = KEPT.swap(0, Ordering::Relaxed);
        let last = NonNull::new(core::ptr::with_exposed_provenance_mut::<u8>(last));
        free(last.expect("the last interrupt left one"), object(LARGE));
    }
}
