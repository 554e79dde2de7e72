//! Named caches.

use core::cell::Cell;
use std::rc::Rc;

use super::*;
use crate::ObjectCache;

/// Counts its constructions and destructions.
struct Counted(Rc<Cell<isize>>, [u64; 5]);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

fn counted(alive: &Rc<Cell<isize>>) -> impl Fn() -> Counted + use<> {
    let alive = Rc::clone(alive);
    move || {
        alive.set(alive.get() + 1);
        Counted(Rc::clone(&alive), [7; 5])
    }
}

#[test]
fn objects_are_constructed_when_handed_out_and_destroyed_when_they_come_back() {
    let rig = Rig::new(1 << 20);
    let alive = Rc::new(Cell::new(0));
    let cache = ObjectCache::with_constructor(&rig.global, "counted", counted(&alive));
    for _ in 0..3 {
        let mut first = cache.alloc().expect("enough memory");
        let second = cache.alloc().expect("enough memory");
        assert_eq!((alive.get(), cache.stats().live()), (2, 2));
        assert_eq!(first.1, [7; 5], "constructed anew");
        first.1[0] = 8;
        drop((first, second));
        assert_eq!((alive.get(), cache.stats().live()), (0, 0));
    }
    let stats = cache.destroy().expect("nothing is live");
    assert_eq!(
        (stats.name, stats.allocations, stats.frees),
        ("counted", 6, 6)
    );
    rig.is_recovered();
}

#[test]
fn a_cache_with_live_objects_is_not_destroyed_and_reports_its_leak() {
    let rig = Rig::new(1 << 20);
    REPORTS.take();
    let cache: ObjectCache<'_, [u8; 100], Host> = ObjectCache::new(&rig.global, "leaky");
    let raw = [1, 2, 3].map(|byte| {
        let object = cache.insert_with(|| [byte; 100]).expect("enough memory");
        object.into_raw()
    });
    let refused = cache.destroy().expect_err("three are live");
    assert_eq!((refused.stats.name, refused.stats.live()), ("leaky", 3));
    assert!(REPORTS.take().is_empty(), "a typed error is no misuse");
    // The cache is as it was.
    let cache = refused.cache;
    // SAFETY: ours.
    assert_eq!(unsafe { cache.free(raw[0]) }, Ok(()));
    drop(cache);
    let leak = Misuse::Leak {
        cache: "leaky",
        objects: 2,
    };
    assert_eq!(REPORTS.take(), [leak]);
    // The objects are still there, and the heap takes them back.
    for (object, byte) in raw.into_iter().zip(1..).skip(1) {
        // SAFETY: live and ours.
        assert_eq!(unsafe { object.read() }, [byte; 100]);
        assert_eq!(rig.free(object.cast(), Layout::new::<[u8; 100]>()), Ok(()));
    }
    rig.is_recovered();
}

#[test]
fn a_double_free_does_not_run_the_destructor_again() {
    let rig = Rig::new(1 << 20);
    let alive = Rc::new(Cell::new(0));
    let cache = ObjectCache::with_constructor(&rig.global, "twice", counted(&alive));
    let object = cache.alloc().expect("enough memory").into_raw();
    // SAFETY: ours.
    assert_eq!(unsafe { cache.free(object) }, Ok(()));
    // SAFETY: the mistake under test: refused before anything is touched.
    assert_eq!(unsafe { cache.free(object) }, Err(AllocError::NotAllocated));
    assert_eq!((alive.get(), cache.stats().live()), (0, 0));
    // Beyond the classes, the pages know.
    let large: ObjectCache<'_, [u8; 9000], Host> = ObjectCache::new(&rig.global, "large");
    let object = large
        .insert_with(|| [1; 9000])
        .expect("enough memory")
        .into_raw();
    // SAFETY: ours.
    assert_eq!(unsafe { large.free(object) }, Ok(()));
    // SAFETY: the mistake under test.
    assert_eq!(unsafe { large.free(object) }, Err(AllocError::NotAllocated));
    drop((cache, large));
    rig.is_recovered();
}

#[test]
fn cache_lines_are_not_shared() {
    let rig = Rig::new(1 << 20);
    let cache: ObjectCache<'_, u32, Host> = ObjectCache::new(&rig.global, "lines").cache_aligned();
    let objects: Vec<_> = (0..50)
        .map(|number| cache.insert_with(|| number).expect("enough memory"))
        .collect();
    let mut lines: Vec<usize> = objects
        .iter()
        .map(|object| core::ptr::from_ref::<u32>(object).addr())
        .collect();
    assert!(lines.iter().all(|addr| addr % 64 == 0));
    lines.sort_unstable();
    lines.dedup();
    assert_eq!(lines.len(), 50);
    assert_eq!(cache.stats().object_size, 64);
    drop(objects);
    drop(cache);
    rig.is_recovered();
}

#[test]
fn bulk_calls_of_a_cache_are_all_or_nothing() {
    let rig = Rig::new(1 << 20);
    let alive = Rc::new(Cell::new(0));
    let cache = ObjectCache::with_constructor(&rig.global, "bulk", counted(&alive));
    let mut some = [NonNull::dangling(); 100];
    assert_eq!(cache.alloc_bulk(&mut some), Ok(()));
    let mut too_many = vec![NonNull::dangling(); 50_000];
    assert_eq!(cache.alloc_bulk(&mut too_many), Err(AllocError::NoMemory));
    assert_eq!((alive.get(), cache.stats().live()), (100, 100));
    let (first, last) = (some[0], some[99]);
    some[99] = first;
    // SAFETY: the last one is the mistake under test; the others are ours.
    let refused = unsafe { cache.free_bulk(&some) };
    assert_eq!(refused, Err((99, AllocError::NotAllocated)));
    // SAFETY: ours.
    assert_eq!(unsafe { cache.free(last) }, Ok(()));
    assert_eq!(alive.get(), 0);
    assert!(cache.destroy().is_ok());
    rig.is_recovered();
}

#[test]
fn a_constructor_that_panics_loses_nothing() {
    let rig = Rig::new(1 << 20);
    let cache: ObjectCache<'_, u64, Host> = ObjectCache::new(&rig.global, "panics");
    let attempt =
        std::panic::AssertUnwindSafe(|| cache.insert_with(|| panic!("on purpose")).is_ok());
    assert!(std::panic::catch_unwind(attempt).is_err());
    assert_eq!(cache.stats().live(), 0);
    drop(cache);
    rig.is_recovered();
}

#[test]
fn a_constructor_that_panics_in_bulk_loses_nothing() {
    let rig = Rig::new(1 << 20);
    let alive = Rc::new(Cell::new(0));
    let construct = counted(&alive);
    let cache = ObjectCache::with_constructor(&rig.global, "panics", || {
        assert_ne!(alive.get(), 2, "on purpose");
        construct()
    });
    let mut out = [NonNull::dangling(); 5];
    let attempt = std::panic::AssertUnwindSafe(|| cache.alloc_bulk(&mut out));
    assert!(std::panic::catch_unwind(attempt).is_err());
    assert_eq!((alive.get(), cache.stats().live()), (0, 0));
    drop(cache);
    rig.is_recovered();
}

#[test]
fn objects_without_a_size_are_counted_like_any_other() {
    let rig = Rig::new(1 << 20);
    let cache: ObjectCache<'_, (), Host> = ObjectCache::new(&rig.global, "nothing");
    let (one, other) = (cache.insert_with(|| ()), cache.insert_with(|| ()));
    assert_ne!(
        one.expect("memory").into_raw(),
        other.expect("memory").into_raw()
    );
    assert_eq!(cache.stats().live(), 2);
    REPORTS.take();
    drop(cache);
    assert_eq!(REPORTS.take().len(), 1);
}
