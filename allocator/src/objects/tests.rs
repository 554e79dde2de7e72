//! The slab allocator alone, against a model.

use core::alloc::Layout;
use core::ptr::NonNull;
use std::alloc::{alloc, dealloc};
use std::collections::BTreeMap;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::AllocError;

const PAGE: usize = 0x1000;

/// A slab allocator with the host's pages below it, and what it should be holding.
struct Rig {
    slabs: SlabAllocator<PAGE>,
    /// Memory lent to the allocator: base and length.
    lent: BTreeMap<usize, usize>,
    live: BTreeMap<usize, (Layout, u8)>,
    stamp: u8,
}

fn pages(count: usize) -> Layout {
    Layout::from_size_align(count * PAGE, PAGE).expect("whole pages")
}

impl Rig {
    fn new() -> Self {
        Self {
            slabs: SlabAllocator::new(),
            lent: BTreeMap::new(),
            live: BTreeMap::new(),
            stamp: 0,
        }
    }

    fn lend(&mut self, class: SizeClass, count: usize) {
        // SAFETY: the layout is not empty.
        let base = unsafe { alloc(pages(count)) }.expose_provenance();
        assert_ne!(base, 0);
        self.lent.insert(base, count * PAGE);
        // SAFETY: fresh memory, freed only when the allocator hands it back.
        unsafe { self.slabs.add_slab(class, base, count * PAGE, 0) }.expect("a good slab");
    }

    fn take_back(&mut self, result: SlabDeallocResult) {
        if let SlabDeallocResult::FreeSlab { base, pages: count } = result {
            assert_eq!(self.lent.remove(&base), Some(count * PAGE));
            assert!(self.live.range(base..base + count * PAGE).next().is_none());
            // SAFETY: it came from `lend`, and the allocator gave it back.
            unsafe { dealloc(core::ptr::with_exposed_provenance_mut(base), pages(count)) };
        }
    }

    fn alloc(&mut self, layout: Layout) -> NonNull<u8> {
        self.alloc_within(layout, usize::MAX)
            .expect("memory enough")
    }

    /// Allocates, unless that takes more than so many ranges of memory.
    fn alloc_within(&mut self, layout: Layout, ranges: usize) -> Option<NonNull<u8>> {
        let mut refused = false;
        let object = loop {
            match self.slabs.alloc(layout).expect("a small layout") {
                SlabAllocResult::Allocated(object) => break object,
                SlabAllocResult::NeedsSlab { size_class, pages } if self.lent.len() < ranges => {
                    self.lend(size_class, pages);
                }
                SlabAllocResult::NeedsSlab { .. } if refused => return None,
                SlabAllocResult::NeedsSlab { .. } => refused = true,
            }
        };
        let addr = object.addr().get();
        let size = layout.size().max(1);
        assert_eq!(addr % layout.align(), 0);
        let (base, bytes) = self
            .lent
            .range(..=addr)
            .next_back()
            .expect("inside lent memory");
        assert!(addr + size <= base + bytes);
        if let Some((below, (other, _))) = self.live.range(..=addr).next_back() {
            assert!(below + other.size().max(1) <= addr);
        }
        assert!(self.live.range(addr..addr + size).next().is_none());
        self.stamp = self.stamp.wrapping_add(1);
        // SAFETY: the object is ours and at least as large as the layout.
        unsafe { object.write_bytes(self.stamp, layout.size()) };
        self.live.insert(addr, (layout, self.stamp));
        Some(object)
    }

    fn free(&mut self, addr: usize) {
        let (layout, stamp) = self.live.remove(&addr).expect("a live object");
        let object =
            NonNull::new(core::ptr::with_exposed_provenance_mut::<u8>(addr)).expect("not null");
        // SAFETY: the object is live and was filled when it was allocated.
        let contents = unsafe { core::slice::from_raw_parts(object.as_ptr(), layout.size()) };
        assert!(contents.iter().all(|byte| *byte == stamp));
        // SAFETY: the object is live, and forgotten here.
        let result = unsafe { self.slabs.dealloc(object, layout) };
        self.take_back(result.expect("a good free"));
        assert_eq!(self.refused(addr, layout), None);
    }

    /// Tries a free that must be refused; `None` if it was, and nothing changed.
    fn refused(&mut self, addr: usize, layout: Layout) -> Option<SlabDeallocResult> {
        let before: Vec<_> = SizeClass::ALL
            .into_iter()
            .map(|class| self.slabs.stats(class))
            .collect();
        let object = NonNull::new(core::ptr::with_exposed_provenance_mut::<u8>(addr))?;
        // SAFETY: no live object begins at `addr`.
        let result = unsafe { self.slabs.dealloc(object, layout) };
        let after: Vec<_> = SizeClass::ALL
            .into_iter()
            .map(|class| self.slabs.stats(class))
            .collect();
        assert_eq!(before, after);
        result.ok()
    }

    /// Frees everything and sees all memory come back.
    fn finish(mut self) {
        for addr in self.live.keys().copied().collect::<Vec<_>>() {
            self.free(addr);
        }
        assert_eq!(self.slabs.validate(), Ok(()));
        while let Some(result) = self.slabs.reclaim() {
            self.take_back(result);
        }
        assert!(self.lent.is_empty(), "{} ranges stranded", self.lent.len());
    }
}

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).expect("a valid layout")
}

#[test]
fn the_first_allocation_asks_for_a_slab_and_the_second_succeeds() {
    for class in SizeClass::ALL {
        let mut rig = Rig::new();
        let wanted = layout(class.size(), 8);
        let result = rig.slabs.alloc(wanted).expect("a small layout");
        let pages = class.slab_pages(PAGE);
        assert_eq!(
            result,
            SlabAllocResult::NeedsSlab {
                size_class: class,
                pages
            }
        );
        rig.lend(class, pages);
        for _ in 0..class.objects_in(pages * PAGE) {
            rig.alloc(wanted);
            assert_eq!(rig.lent.len(), 1);
        }
        let result = rig.slabs.alloc(wanted).expect("a small layout");
        assert_eq!(
            result,
            SlabAllocResult::NeedsSlab {
                size_class: class,
                pages
            }
        );
        rig.finish();
    }
}

#[test]
fn a_16_kib_slab_holds_eight_objects_of_2048_bytes() {
    let mut rig = Rig::new();
    rig.lend(SizeClass::Bytes2048, 4);
    for _ in 0..8 {
        rig.alloc(layout(2048, 2048));
    }
    assert_eq!(rig.lent.len(), 1);
    assert_eq!(rig.slabs.stats(SizeClass::Bytes2048).full, 1);
    rig.finish();
}

#[test]
fn at_most_one_emptied_slab_is_kept() {
    let mut rig = Rig::new();
    let objects: Vec<_> = (0..24).map(|_| rig.alloc(layout(2048, 8))).collect();
    assert_eq!(rig.lent.len(), 3);
    for object in objects {
        rig.free(object.addr().get());
    }
    assert_eq!(rig.lent.len(), 1);
    assert_eq!(rig.slabs.stats(SizeClass::Bytes2048).empty, 1);
    rig.finish();
}

#[test]
fn wrong_frees_are_refused_and_change_nothing() {
    let mut rig = Rig::new();
    let object = rig.alloc(layout(100, 4)).addr().get();
    let free_with = |rig: &mut Rig, addr: usize, layout: Layout| {
        let object =
            NonNull::new(core::ptr::with_exposed_provenance_mut::<u8>(addr)).expect("not null");
        // SAFETY: the calls below are all refused.
        unsafe { rig.slabs.dealloc(object, layout) }
    };
    let good = layout(100, 4);
    assert_eq!(
        free_with(&mut rig, object + 1, good),
        Err(AllocError::NotAllocated)
    );
    assert_eq!(
        free_with(&mut rig, object + 112, good),
        Err(AllocError::NotAllocated)
    );
    assert_eq!(free_with(&mut rig, 0x10, good), Err(AllocError::NotFound));
    assert_eq!(
        free_with(&mut rig, usize::MAX, good),
        Err(AllocError::NotFound)
    );
    assert_eq!(
        free_with(&mut rig, object, layout(80, 4)),
        Err(AllocError::InvalidParam)
    );
    assert_eq!(
        free_with(&mut rig, object, layout(4096, 4)),
        Err(AllocError::InvalidParam)
    );
    assert_eq!(rig.slabs.validate(), Ok(()));
    rig.free(object);
    assert_eq!(
        free_with(&mut rig, object, good),
        Err(AllocError::NotAllocated)
    );
    rig.finish();
}

/// Safe functions took any address for a slab, and crashed.
#[test]
fn d12_nonsense_slabs_are_refused() {
    let mut slabs = SlabAllocator::<PAGE>::new();
    let mut add = |base, bytes| {
        // SAFETY: every call is refused, or uses memory that is never touched.
        unsafe { slabs.add_slab(SizeClass::Bytes64, base, bytes, 0) }
    };
    for (base, bytes) in [
        (0, PAGE),
        (PAGE, 0),
        (PAGE + 8, PAGE),
        (PAGE, PAGE + 8),
        (usize::MAX - PAGE + 1, 2 * PAGE),
    ] {
        assert_eq!(add(base, bytes), Err(AllocError::InvalidParam));
    }
    assert_eq!(add(0x10_0000, 0x4000), Ok(()));
    for (base, bytes) in [
        (0x10_0000, PAGE),
        (0x10_3000, PAGE),
        (0xf_f000, 2 * PAGE),
        (0xf_0000, 0x40_0000),
    ] {
        assert_eq!(add(base, bytes), Err(AllocError::MemoryOverlap));
    }
    assert_eq!(add(0xf_f000, PAGE), Ok(()));
    assert_eq!(add(0x10_4000, PAGE), Ok(()));
}

/// A slab was looked for in user data first.
#[test]
fn d03_what_a_user_writes_does_not_lead_a_free_astray() {
    // Every byte of every object is written, in slabs of several pages, with values that look like
    // anything; `Rig::free` sees each free reach its own slab.
    let mut rig = Rig::new();
    let objects: Vec<_> = (0..64).map(|_| rig.alloc(layout(2048, 2048))).collect();
    for object in &objects {
        let words = object.as_ptr().cast::<usize>();
        for word in 0..256 {
            // SAFETY: the object is 2048 bytes long.
            let place = unsafe { words.add(word) };
            // SAFETY: the object is ours and aligned.
            unsafe { place.write(objects[word % 64].addr().get()) };
        }
        let (_, stamp) = rig.live[&object.addr().get()];
        // SAFETY: as above.
        unsafe { object.write_bytes(stamp, 2048) };
    }
    rig.finish();
}

#[test]
fn many_slabs_find_room_for_their_descriptors() {
    let mut rig = Rig::new();
    for round in 0..3_000 {
        rig.alloc(layout(SizeClass::ALL[round % SizeClass::COUNT].size(), 8));
        rig.alloc(layout(2048, 8));
    }
    assert_eq!(rig.slabs.validate(), Ok(()));
    rig.finish();
}

#[test]
fn the_value_can_be_moved_while_it_holds_objects() {
    let mut rig = Rig::new();
    for _ in 0..100 {
        rig.alloc(layout(512, 8));
    }
    let moved = std::boxed::Box::new(rig);
    (*moved).finish();
}

/// Descriptors run short at some of these budgets, and there is no memory for more of them.
#[test]
fn every_free_object_is_handed_out_without_memory_for_descriptors() {
    let wanted = layout(2048, 8);
    for budget in 1..70 {
        let mut rig = Rig::new();
        while rig.alloc_within(wanted, budget).is_some() {}
        let stats = rig.slabs.stats(SizeClass::Bytes2048);
        assert_eq!(stats.live, stats.objects, "{budget} slabs");
        for addr in rig.live.keys().copied().step_by(2).collect::<Vec<_>>() {
            rig.free(addr);
        }
        while rig.alloc_within(wanted, budget).is_some() {}
        let stats = rig.slabs.stats(SizeClass::Bytes2048);
        assert_eq!(stats.live, stats.objects, "{budget} slabs");
        rig.finish();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn agrees_with_a_model(steps in prop::collection::vec((any::<bool>(), 0..2049_usize, 0..12_u32, any::<prop::sample::Index>()), 1..400)) {
        let mut rig = Rig::new();
        for (grow, size, shift, which) in steps {
            if grow || rig.live.is_empty() {
                rig.alloc(layout(size, 1 << shift));
            } else {
                let addr = *which.get(&rig.live.keys().collect::<Vec<_>>());
                let (layout, _) = rig.live[addr];
                let addr = *addr;
                for wrong in [addr + 1, addr.wrapping_sub(1)] {
                    if !rig.live.contains_key(&wrong) {
                        prop_assert_eq!(rig.refused(wrong, layout), None);
                    }
                }
                rig.free(addr);
            }
        }
        prop_assert_eq!(rig.slabs.validate(), Ok(()));
        rig.finish();
    }
}
