//! Small objects on the global heap.

use alloc::alloc::{alloc, alloc_zeroed, dealloc, realloc};
use alloc::vec::Vec;
use core::alloc::Layout;
use core::slice;
use core::sync::atomic::{AtomicPtr, Ordering};

use twinframe::SizeClass;

use crate::arch::{percpu, work};
use crate::harness::kernel_tests;
use crate::memory::HEAP;
use crate::suites::tag;

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).expect("a layout")
}

kernel_tests! { "objects", Test:
    /// Every size from 1 to 4096 bytes, aligned as asked, holding what is written to it.
    fn every_size() on [smp1, mem64m, microvm] {
        let mut objects = Vec::new();
        for size in 1..=4096_usize {
            let align = 1 << (size % 7);
            // SAFETY: the layout has a size.
            let object = unsafe { alloc(layout(size, align)) };
            assert!(!object.is_null() && object.addr().is_multiple_of(align));
            // SAFETY: freshly allocated.
            unsafe { object.write_bytes(tag(size), size) };
            objects.push((object, layout(size, align)));
        }
        crate::random().shuffle(&mut objects);
        for (object, layout) in objects {
            // SAFETY: written above, and still ours.
            let contents = unsafe { slice::from_raw_parts(object, layout.size()) };
            assert!(contents.iter().all(|&byte| byte == tag(layout.size())));
            // SAFETY: allocated above with this layout.
            unsafe { dealloc(object, layout) };
        }
    }

    /// Alignments up to a large page.
    fn every_alignment() on [smp1] {
        for shift in 0..=21 {
            let layout = layout(24, 1 << shift);
            // SAFETY: the layout has a size.
            let object = unsafe { alloc(layout) };
            assert!(!object.is_null() && object.addr().is_multiple_of(layout.align()));
            // SAFETY: allocated just now with this layout.
            unsafe { dealloc(object, layout) };
        }
    }

    /// Zeroed means zeroed, on memory that was dirty before.
    fn zeroed_memory_is_zero() on [smp1] {
        for size in [8, 100, 2048, 5000, 70_000] {
            let layout = layout(size, 8);
            for _ in 0..3 {
                // SAFETY: the layout has a size.
                let object = unsafe { alloc_zeroed(layout) };
                assert!(!object.is_null());
                // SAFETY: freshly allocated and initialised.
                let contents = unsafe { slice::from_raw_parts_mut(object, size) };
                assert!(contents.iter().all(|&byte| byte == 0));
                contents.fill(0xff);
                // SAFETY: allocated above with this layout.
                unsafe { dealloc(object, layout) };
            }
        }
    }

    /// Growing and shrinking keep the contents.
    fn realloc_keeps_contents() on [smp1] {
        let mut size = 16;
        // SAFETY: the layout has a size.
        let mut object = unsafe { alloc(layout(size, 8)) };
        assert!(!object.is_null());
        // SAFETY: freshly allocated.
        unsafe { object.write_bytes(0x77, size) };
        for next in [24, 100, 90, 2048, 2049, 10_000, 9_000, 200_000, 3_000, 16] {
            // SAFETY: allocated with this layout; the new size is not zero.
            object = unsafe { realloc(object, layout(size, 8), next) };
            assert!(!object.is_null());
            // SAFETY: the shorter of the two lengths is initialised.
            let kept = unsafe { slice::from_raw_parts(object, size.min(next)) };
            assert!(kept.iter().all(|&byte| byte == 0x77));
            // SAFETY: freshly reallocated.
            unsafe { object.write_bytes(0x77, next) };
            size = next;
        }
        // SAFETY: allocated above with this layout.
        unsafe { dealloc(object, layout(size, 8)) };
    }

    /// A freed object is not freed again, in any build.
    fn double_free_is_refused() on [smp1] {
        let layout = layout(64, 8);
        let keep = HEAP.alloc(layout).expect("an object");
        let object = HEAP.alloc(layout).expect("an object");
        // SAFETY: allocated just now with this layout.
        unsafe { HEAP.dealloc(object, layout) }.expect("the first free");
        // SAFETY: not a valid free, and refused as such: nothing is touched but the check's marks.
        assert!(unsafe { HEAP.dealloc(object, layout) }.is_err());
        // SAFETY: allocated above with this layout.
        unsafe { HEAP.dealloc(keep, layout) }.expect("the other object is untouched");
    }

    /// Every CPU's allocations and frees are counted there, those of objects of others as well.
    fn slabinfo_counts_by_cpu() on [smp1, smp4] {
        const EACH: usize = 1000;
        let wanted = layout(64, 8);
        let class = SizeClass::from_layout(wanted).expect("a small layout");
        let of = |cpu| HEAP.slabinfo_of_cpu(cpu).map_or_else(Default::default, |info| *info.class(class));
        let cpus = percpu::online();
        let before: Vec<_> = (0..cpus).map(of).collect();
        let objects: Vec<AtomicPtr<u8>> = (0..cpus * EACH).map(|_| AtomicPtr::default()).collect();
        work::on_all(&|cpu| {
            for place in &objects[cpu * EACH..][..EACH] {
                // SAFETY: the layout has a size.
                place.store(unsafe { alloc(wanted) }, Ordering::Relaxed);
            }
        });
        assert!(HEAP.slabinfo().class(class).live >= cpus * EACH);
        work::on_all(&|cpu| {
            for place in &objects[(cpu + 1) % cpus * EACH..][..EACH] {
                let object = place.load(Ordering::Relaxed);
                assert!(!object.is_null());
                // SAFETY: allocated above with this layout, and nobody else frees it.
                unsafe { dealloc(object, wanted) };
            }
        });
        HEAP.drain();
        for (cpu, before) in before.into_iter().enumerate() {
            let now = of(cpu);
            assert!(now.allocations >= before.allocations + EACH);
            assert!(now.frees >= before.frees + EACH);
            assert!(now.refills > before.refills && now.drains > before.drains);
            assert_eq!(now.remote_frees > before.remote_frees, cpus > 1, "{now:?}");
        }
    }

    /// Objects of random sizes live side by side; everything comes back.
    fn random_objects_do_not_overlap() on [smp1, mem64m] {
        let mut random = crate::random();
        let mut objects: Vec<(*mut u8, Layout, u8)> = Vec::new();
        for round in 0..20_000 {
            if objects.len() > 1_000 || (!objects.is_empty() && random.u8(..) < 100) {
                let (object, layout, tag) = objects.swap_remove(random.usize(..objects.len()));
                // SAFETY: written below, and still ours.
                let contents = unsafe { slice::from_raw_parts(object, layout.size()) };
                assert!(contents.iter().all(|&byte| byte == tag));
                // SAFETY: allocated below with this layout.
                unsafe { dealloc(object, layout) };
            } else {
                let layout = layout(random.usize(1..3_000), 1 << random.u32(0..8));
                // SAFETY: the layout has a size.
                let object = unsafe { alloc(layout) };
                assert!(!object.is_null());
                // SAFETY: freshly allocated.
                unsafe { object.write_bytes(tag(round), layout.size()) };
                objects.push((object, layout, tag(round)));
            }
        }
        for (object, layout, _) in objects {
            // SAFETY: allocated above with this layout.
            unsafe { dealloc(object, layout) };
        }
    }
}
