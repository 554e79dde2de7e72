//! The standard collections on our heap: what kernel code does all day.

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use alloc::rc::Rc;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use alloc::{format, vec};

use crate::harness::{Outcome, kernel_tests};
use crate::suites::{largest_order, tag};

kernel_tests! { "collections", Test:
    /// A vector grows through every size class and into pages, and keeps its contents.
    fn vec_grows_from_nothing_to_megabytes() on [smp1, mem64m] {
        if largest_order() < 10 {
            return Outcome::Skip("4 MiB are not free in one block");
        }
        let mut numbers = Vec::new();
        for number in 0..1_000_000_u32 {
            numbers.push(number);
        }
        assert!(numbers.iter().copied().eq(0..1_000_000));
        numbers.truncate(10);
        numbers.shrink_to_fit();
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    }

    /// Boxes of many sizes stay apart.
    fn boxes_do_not_overlap() on [smp1] {
        let mut boxes: Vec<Box<[u8]>> = (1..=600_usize)
            .map(|size| vec![tag(size); size].into_boxed_slice())
            .collect();
        crate::random().shuffle(&mut boxes);
        boxes.truncate(300);
        for contents in &boxes {
            let expected = tag(contents.len());
            assert!(contents.iter().all(|&byte| byte == expected));
        }
    }

    /// Insertion and removal in random order, checked against the keys.
    fn btree_map_of_random_keys() on [smp1] {
        let mut random = crate::random();
        let mut keys: Vec<u32> = (0..10_000).collect();
        random.shuffle(&mut keys);
        let mut map = BTreeMap::new();
        for &key in &keys {
            assert_eq!(map.insert(key, format!("value {key}")), None);
        }
        assert!(map.keys().copied().eq(0..10_000));
        for &key in keys.iter().step_by(2) {
            assert_eq!(map.remove(&key), Some(format!("value {key}")));
        }
        let rest: BTreeSet<u32> = keys.iter().skip(1).step_by(2).copied().collect();
        assert!(map.keys().eq(rest.iter()));
    }

    /// Strings grow, split and join.
    fn strings() on [smp1] {
        let mut text = String::new();
        for word in ["buddy", "slab", "magazine", "depot"] {
            text.push_str(word);
            text.push(' ');
        }
        let words: Vec<String> = text.split_whitespace().map(ToOwned::to_owned).collect();
        assert_eq!(words.join("+"), "buddy+slab+magazine+depot");
        assert_eq!(text.repeat(1000).len(), 26_000);
    }

    /// The others, shared ownership included.
    fn queues_heaps_and_shared_ownership() on [smp1] {
        let mut queue: VecDeque<u64> = (0..1000).collect();
        queue.rotate_left(500);
        assert_eq!(queue.pop_front(), Some(500));
        let mut heap: BinaryHeap<u64> = queue.into_iter().collect();
        assert_eq!(heap.pop(), Some(999));
        let shared = Arc::new(heap);
        let copies: Vec<_> = (0..100).map(|_| Arc::clone(&shared)).collect();
        assert_eq!(Arc::strong_count(&shared), 101);
        drop(copies);
        assert_eq!(Arc::into_inner(shared).map(|heap| heap.len()), Some(998));
        let local: Rc<dyn Fn(u32) -> u32> = Rc::new(|number| number + 1);
        assert_eq!(local(41), 42);
    }

    /// A value of no size costs nothing; one with a large alignment gets it.
    fn unusual_layouts() on [smp1] {
        #[repr(align(8192))]
        struct Aligned([u8; 100]);
        let units: Vec<()> = (0..1000).map(|_| ()).collect();
        assert_eq!(units.len(), 1000);
        let aligned: Vec<Box<Aligned>> = (0..10).map(|n| Box::new(Aligned([n; 100]))).collect();
        for (number, aligned) in aligned.iter().enumerate() {
            assert!((&raw const **aligned).addr().is_multiple_of(8192));
            assert!(aligned.0.iter().all(|&byte| usize::from(byte) == number));
        }
    }
}
