//! One object at a time.

use std::hint::black_box;

use super::subjects::{Objects, Subjects, on_one_cpu};
use super::{SIZES, layout};
use crate::harness::{Runner, Subject};
use crate::report::Unit;
use crate::target::Target;

const PAIRS: usize = 20_000;

pub(super) fn run(runner: &mut Runner, subjects: &Subjects) {
    for size in SIZES {
        let case = format!("objects pair of {size} B");
        if runner.wants(&case) {
            let targets = [Target::Of("floor", 1.6), Target::Peer(1.0)];
            let pairs = on_one_cpu!(subjects, pair, size);
            runner.compare(&case, Unit::Less("ns/pair"), &targets, pairs);
        }
    }
}

fn pair<S: Objects>(objects: &'static S, size: usize) -> Subject<'static> {
    Subject::repeating(S::NAME, PAIRS, move |count| {
        // Hidden from the optimiser once. In each round, it would go through the word of the stack that the object goes
        // through, too, and wait for that.
        let layout = layout(black_box(size));
        for _ in 0..count {
            let object = black_box(objects.alloc(layout));
            // SAFETY: just allocated with that layout.
            unsafe { objects.free(object, layout) };
        }
    })
}
