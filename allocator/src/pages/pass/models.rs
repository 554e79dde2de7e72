//! CPUs that want a drain at the same time.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use super::Passes;
use crate::Platform;
use crate::modelled::Machine;
use crate::patience::Patience;

/// A cache for each CPU, and where a pass brings what is in them.
struct Rig {
    passes: Passes,
    caches: [AtomicUsize; 3],
    tree: AtomicUsize,
    at_one: AtomicUsize,
}

impl Rig {
    fn new() -> Self {
        let rig = Self {
            passes: Passes::new(),
            caches: core::array::from_fn(|_| AtomicUsize::new(0)),
            tree: AtomicUsize::new(0),
            at_one: AtomicUsize::new(0),
        };
        // Its words are made before there are threads.
        assert!(rig.passes.join::<Machine>(&mut Patience::much(), |_| {}));
        rig
    }

    /// Frees a page into the cache of this CPU, and wants it in the tree.
    fn free_and_drain(&self) {
        let cpu = Machine::cpu_id();
        self.caches[cpu].store(1, Ordering::Relaxed);
        let is_joined = self.passes.join::<Machine>(&mut Patience::much(), |_| {
            assert!(self.passes.is_at_one(cpu));
            assert_eq!(self.at_one.fetch_add(1, Ordering::Relaxed), 0);
            for cache in &self.caches {
                if cache.load(Ordering::Relaxed) != 0 {
                    cache.store(0, Ordering::Relaxed);
                    self.tree.fetch_add(1, Ordering::Relaxed);
                }
            }
            self.at_one.fetch_sub(1, Ordering::Relaxed);
        });
        assert!(is_joined);
        assert!(!self.passes.is_at_one(cpu));
        assert_eq!(
            self.caches[cpu].load(Ordering::Relaxed),
            0,
            "a page was left behind"
        );
        assert_ne!(self.tree.load(Ordering::Relaxed), 0);
    }
}

/// `preemptions` bounds how often a thread is preempted: all interleavings would be too many.
fn model(others: usize, preemptions: usize) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(move || {
        let rig = Arc::new(Rig::new());
        let others: std::vec::Vec<_> = (1..=others)
            .map(|cpu| {
                let rig = Arc::clone(&rig);
                thread::spawn(move || {
                    Machine::set_cpu(cpu);
                    rig.free_and_drain();
                })
            })
            .collect();
        let count = others.len() + 1;
        rig.free_and_drain();
        for other in others {
            other.join().unwrap();
        }
        assert_eq!(rig.tree.load(Ordering::Relaxed), count);
    });
}

#[test]
fn loom_what_was_freed_before_is_found() {
    model(1, 2);
}

#[test]
fn loom_one_pass_does_for_several() {
    model(2, 1);
}
