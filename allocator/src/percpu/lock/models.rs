//! The owner and claimers, in every order.

use std::boxed::Box;
use std::vec::Vec;

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::fence;
use loom::thread;

use super::*;

/// What a gate leads to: a number, or that it is closed.
type Part = Option<UnsafeCell<usize>>;

type Lock = BiasedLock<usize, Part, (), 1>;

struct Rig {
    lock: Box<Lock>,
    part: Box<Part>,
    // Owned: the lock leads there.
    _closed: Box<Part>,
}

// SAFETY: the parts are behind the lock, whose protocol is what is tested.
unsafe impl Sync for Rig {}
// SAFETY: as above.
unsafe impl Send for Rig {}

impl Rig {
    fn new() -> Self {
        let part = Box::new(Some(UnsafeCell::new(0)));
        let closed = Box::new(None);
        let mut memory = Box::<Lock>::new_uninit();
        let parts = |_| ([&raw const *part], &raw const *closed);
        // SAFETY: there is room, and both stay as long as the rig.
        unsafe { Lock::create(NonNull::from(&mut *memory).cast(), 0, (), parts) };
        // SAFETY: it was just made.
        let lock = unsafe { memory.assume_init() };
        Self {
            lock,
            part,
            _closed: closed,
        }
    }

    fn enter(&self) -> bool {
        // SAFETY: one thread of a model is the owner.
        match unsafe { self.lock.enter() } {
            Ok(mut value) => {
                *value += 1;
                // SAFETY: as above; this is the interrupt.
                assert!(matches!(unsafe { self.lock.enter() }, Err(Refused::Nested)));
                true
            }
            Err(refused) => {
                assert_eq!(refused, Refused::Claimed);
                false
            }
        }
    }

    /// Goes through the gate, and adds as much as the value is, and one.
    fn pass(&self) -> usize {
        // SAFETY: as above.
        let visit = unsafe { BiasedLock::visit(&raw const *self.lock) }.expect("no interrupt");
        // SAFETY: there is one gate.
        let Some(part) = (unsafe { visit.gate(0) }) else {
            return 0;
        };
        // SAFETY: that was open.
        let added = unsafe { visit.value() } + 1;
        // SAFETY: as above, so the part is this thread's.
        part.with_mut(|part| unsafe { *part += added });
        added
    }

    /// Adds one to the value, and takes what the part has.
    fn claim(&self) -> Option<usize> {
        let mut claim = self.lock.claim()?;
        fence(Ordering::SeqCst);
        loop {
            let taken = |value: &mut usize| {
                *value += 1;
                let part = self.part.as_ref().as_ref().expect("never closed");
                // SAFETY: the value is this thread's, and so is the part.
                part.with_mut(|part| unsafe { core::mem::take(&mut *part) })
            };
            // SAFETY: the barrier was just executed.
            if let Some(taken) = unsafe { claim.access(taken) } {
                return Some(taken);
            }
            thread::yield_now();
        }
    }
}

/// Returns how many claims there were, and what they took.
fn claims(rig: &Arc<Rig>, claimers: usize) -> Vec<thread::JoinHandle<Option<usize>>> {
    let claimer = |_| {
        let rig = Arc::clone(rig);
        thread::spawn(move || rig.claim())
    };
    (0..claimers).map(claimer).collect()
}

fn entries(claimers: usize, visits: usize) {
    loom::model(move || {
        let rig = Arc::new(Rig::new());
        let others = claims(&rig, claimers);
        let mut expected: usize = (0..visits).map(|_| usize::from(rig.enter())).sum();
        for other in others {
            expected += usize::from(other.join().unwrap().is_some());
        }
        let mut last = rig.lock.claim().expect("all claims are gone");
        fence(Ordering::SeqCst);
        // SAFETY: the barrier was just executed.
        assert_eq!(unsafe { last.access(|value| *value) }, Some(expected));
    });
}

fn passes(claimers: usize, visits: usize) {
    loom::model(move || {
        let rig = Arc::new(Rig::new());
        let others = claims(&rig, claimers);
        let added: usize = (0..visits).map(|_| rig.pass()).sum();
        let taken = others
            .into_iter()
            .filter_map(|other| other.join().unwrap())
            .sum::<usize>();
        // The gate is open again, and nothing was lost.
        let last = rig.pass();
        assert_ne!(last, 0);
        assert_eq!(rig.claim(), Some(added + last - taken));
    });
}

#[test]
fn loom_owner_and_claimer_exclude_each_other() {
    entries(1, 2);
}

#[test]
fn loom_two_claimers_exclude_each_other() {
    entries(2, 1);
}

#[test]
fn loom_gates_keep_the_owner_out_of_what_is_claimed() {
    passes(1, 2);
}

#[test]
fn loom_gates_open_again_after_each_of_two_claims() {
    passes(2, 1);
}
