//! The bitmap against a plain row of booleans.

use std::vec::Vec;

use proptest::prelude::*;

use crate::traits::runs::Runs;

const WORDS: usize = 3;
const CAPACITY: usize = Runs::<WORDS>::CAPACITY;

#[derive(Debug, Clone)]
enum Op {
    Find { count: usize, align: u32 },
    Give { at: usize, count: usize },
    Extend(usize),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (prop_oneof![3 => 1..4usize, 1 => 1..150usize], 0..8u32)
            .prop_map(|(count, align)| Op::Find { count, align }),
        4 => (0..CAPACITY, prop_oneof![1..4usize, 1..150usize])
            .prop_map(|(at, count)| Op::Give { at, count }),
        1 => (0..100usize).prop_map(Op::Extend),
    ]
}

/// The first fit by trying every position.
fn first_fit(model: &[bool], count: usize, align: usize, offset: usize) -> Option<usize> {
    (0..model.len())
        .filter(|start| (start + offset).is_multiple_of(align))
        .filter(|start| start + count <= model.len())
        .find(|start| model[*start..start + count].iter().all(|taken| !taken))
}

proptest! {
    #[test]
    fn the_bitmap_agrees_with_a_row_of_booleans(
        ops in prop::collection::vec(op(), 1..120),
        offset in 0..1000usize,
    ) {
        let mut runs = Runs::<WORDS>::new();
        let mut model: Vec<bool> = Vec::new();
        prop_assert!(runs.extend(CAPACITY / 2));
        model.resize(CAPACITY / 2, false);
        for op in ops {
            match op {
                Op::Find { count, align } => {
                    let expected = first_fit(&model, count, 1 << align, offset);
                    prop_assert_eq!(runs.find(count, 1 << align, offset), expected);
                    if let Some(start) = expected {
                        prop_assert!(runs.all_free(start..start + count));
                        runs.take(start..start + count);
                        model[start..start + count].fill(true);
                    }
                }
                Op::Give { at, count } => {
                    let run = at..at + count;
                    let all = run.end <= model.len() && model[run.clone()].iter().all(|taken| *taken);
                    prop_assert_eq!(runs.all_taken(run.clone()), all);
                    if all {
                        runs.give(run.clone());
                        model[run].fill(false);
                    }
                }
                Op::Extend(count) => {
                    let fits = model.len() + count <= CAPACITY;
                    prop_assert_eq!(runs.extend(count), fits);
                    if fits {
                        model.resize(model.len() + count, false);
                    }
                }
            }
            prop_assert_eq!(runs.len(), model.len());
            prop_assert_eq!(runs.used(), model.iter().filter(|taken| **taken).count());
            for (position, taken) in model.iter().enumerate() {
                prop_assert_eq!(runs.is_taken(position), *taken);
            }
            prop_assert!(!runs.is_taken(model.len()));
        }
    }
}
