//! What used to go wrong with objects of several CPUs, played again.

use core::ptr::{NonNull, null_mut};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::thread;
use std::time::Instant;
use std::vec::Vec;

use super::{Rig, layout, on};
use crate::pages::tests::{Cpu, Deadline, duration};

const PAGE: usize = 0x1000;

/// A remote free wrote to its slab after it had published the object, when the slab could be a page
/// of somebody else's already. So: one CPU frees, the owner makes the slabs pages at once, and looks
/// whether its pages stay as it wrote them. (With a
/// mark that `give_back` writes a while after the publication, this test does not end: what it
/// overwrites is the allocator's own by then.)
#[test]
fn d01_pages_that_were_slabs_stay_as_their_owner_writes_them() {
    let _deadline = Deadline::start();
    const OBJECTS: usize = 80;
    let rig = Rig::new(4);
    let wanted = layout(2000);
    let mailbox: Vec<AtomicPtr<u8>> = (0..OBJECTS).map(|_| AtomicPtr::default()).collect();
    let stop = AtomicBool::new(false);
    let global = &rig.global;
    thread::scope(|scope| {
        let freeing = scope.spawn(|| {
            Cpu::set(1);
            while !stop.load(Ordering::Relaxed) {
                for place in &mailbox {
                    if let Some(object) = NonNull::new(place.swap(null_mut(), Ordering::Acquire)) {
                        // SAFETY: allocated below, and freed by nobody else.
                        assert_eq!(unsafe { global.dealloc(object, wanted) }, Ok(()));
                    }
                }
            }
        });
        Cpu::set(0);
        let end = Instant::now() + duration();
        while Instant::now() < end && !freeing.is_finished() {
            for place in &mailbox {
                place.store(rig.alloc(wanted).as_ptr(), Ordering::Release);
            }
            let mut pages = Vec::new();
            let is_waiting = || {
                let left = |place: &AtomicPtr<u8>| !place.load(Ordering::Relaxed).is_null();
                !freeing.is_finished() && mailbox.iter().any(left)
            };
            while is_waiting() {
                global.drain();
                pages.extend(global.alloc_pages(4, 0).inspect(|addr| {
                    let start = core::ptr::with_exposed_provenance_mut::<u8>(*addr);
                    // SAFETY: allocated just now.
                    unsafe { start.write_bytes(0x77, 4 * PAGE) };
                }));
            }
            for addr in pages {
                let start = core::ptr::with_exposed_provenance::<u8>(addr);
                // SAFETY: allocated and written above.
                let bytes = unsafe { core::slice::from_raw_parts(start, 4 * PAGE) };
                assert!(bytes.iter().all(|byte| *byte == 0x77));
                // SAFETY: as above.
                assert_eq!(unsafe { global.dealloc_pages(addr, 4) }, Ok(()));
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    rig.assert_recovered();
}

/// The way from an object to its slab led through a header that was looked for at the object's own page
/// first, which is user data in a slab of several pages. So: users fill their objects with what they
/// see at the beginning of other pages and objects, and other CPUs free them: each one comes back
/// once, and to its own class. (Fails with any lookup that reads the slab's pages.)
#[test]
fn d03_what_users_write_leads_no_free_astray() {
    let rig = Rig::new(16);
    let sizes = [64, 640, 1024, 2000];
    let mut objects = Vec::new();
    for round in 0..400 {
        let wanted = layout(sizes[round % sizes.len()]);
        objects.push((rig.alloc(wanted), wanted));
    }
    let page_of = |object: NonNull<u8>| object.addr().get() & !(PAGE - 1);
    for (number, (object, layout)) in objects.iter().enumerate() {
        // Addresses of slabs, of objects, and what a live object's first words hold.
        let (other, other_layout) = objects[number * 7 % objects.len()];
        let forged = [
            page_of(other),
            other.addr().get(),
            other_layout.size(),
            page_of(*object),
        ];
        for offset in (0..layout.size() - 8).step_by(8) {
            let word = object
                .as_ptr()
                .map_addr(|addr| addr + offset)
                .cast::<usize>();
            // SAFETY: inside the object, which is ours and aligned for a word.
            unsafe { word.write(forged[offset / 8 % forged.len()]) };
        }
    }
    let before = objects
        .iter()
        .map(|(object, _)| *object)
        .collect::<BTreeSet<_>>();
    for (number, (object, layout)) in objects.into_iter().enumerate() {
        on(1 + number % 2, || {
            assert_eq!(rig.free(object, layout), Ok(()));
        });
    }
    assert_eq!(rig.global.validate(), Ok(()));
    // No two of the objects that come now are the same, whichever CPU asks.
    let mut again = BTreeSet::new();
    for number in 0..4 * before.len() {
        let wanted = layout(sizes[number % sizes.len()]);
        let object = on(number % 3, || rig.alloc(wanted));
        assert!(again.insert((object, wanted.size())));
    }
    let mut end = 0;
    for (object, size) in &again {
        assert!(object.addr().get() >= end, "two objects overlap");
        end = object.addr().get() + size;
    }
    for (object, size) in again {
        assert_eq!(rig.free(object, layout(size)), Ok(()));
    }
    rig.assert_recovered();
}
