//! Many objects at once.

use std::hint::black_box;

use fastrand::Rng;

use super::subjects::{Objects, Subjects, on_one_cpu};
use super::{SIZES, layout};
use crate::harness::{Runner, Subject, time};
use crate::report::Unit;
use crate::target::Target;

const COUNT: usize = 10_000;

/// In which order they are freed.
#[derive(Clone, Copy)]
enum Order {
    Fifo,
    Lifo,
    Random,
}

impl Order {
    fn indices(self) -> Vec<usize> {
        let mut indices: Vec<usize> = (0..COUNT).collect();
        match self {
            Self::Fifo => {}
            Self::Lifo => indices.reverse(),
            Self::Random => Rng::with_seed(2).shuffle(&mut indices),
        }
        indices
    }
}

pub(super) fn run(runner: &mut Runner, subjects: &Subjects) {
    for size in SIZES {
        for (order, name) in [
            (Order::Fifo, "fifo"),
            (Order::Lifo, "lifo"),
            (Order::Random, "random"),
        ] {
            let case = format!("objects batch of {COUNT} x {size} B, {name}");
            if runner.wants(&case) {
                let batches = on_one_cpu!(subjects, batch, size, order);
                runner.compare(&case, Unit::Less("ns/pair"), &[Target::Peer(1.0)], batches);
            }
        }
    }
}

/// Allocates and writes all of them, then frees all.
fn batch<S: Objects>(objects: &'static S, size: usize, order: Order) -> Subject<'static> {
    let indices = order.indices();
    let mut live = vec![std::ptr::null_mut::<u8>(); COUNT];
    Subject::new(S::NAME, move || {
        time(COUNT, || {
            let layout = layout(black_box(size));
            for slot in &mut live {
                *slot = objects.alloc(layout);
                assert!(!slot.is_null(), "{} has not enough memory", S::NAME);
                // SAFETY: just allocated, with more than a byte.
                unsafe { slot.write_volatile(1) };
            }
            for i in &indices {
                // SAFETY: allocated above with that layout, and freed once.
                unsafe { objects.free(live[*i], layout) };
            }
        })
    })
}
