//! Every CPU frees what its neighbour allocated.

use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering};

use super::cases::{Case, layout, take};
use super::measure::{Limit, Round};
use super::subjects::Subject;
use crate::arch::percpu;

/// How many CPUs there are rings for.
pub(super) const MOST_CPUS: usize = 32;

/// What is on its way to a CPU: one other puts it in, and that CPU takes it out.
struct Ring([AtomicPtr<u8>; 64]);

static RINGS: [Ring; MOST_CPUS] =
    [const { Ring([const { AtomicPtr::new(null_mut()) }; 64]) }; MOST_CPUS];

/// Objects that go to the next CPU, which frees them. Where that has no time to, and its ring stays full,
/// their own CPU does. An operation is an object.
pub(super) struct Remote {
    to: &'static Ring,
    from: &'static Ring,
    sent: usize,
    received: usize,
    /// How often to look whether there is room, before the next CPU counts as away.
    patience: usize,
}

const PATIENCE: usize = 100;

impl Case for Remote {
    const NAME: &'static str = "64 B, freed by the next CPU";

    fn new(cpus: usize) -> Self {
        let own = percpu::id() % MOST_CPUS;
        let ring = Self {
            to: &RINGS[(own + 1) % cpus],
            from: &RINGS[own],
            sent: 0,
            received: 0,
            patience: PATIENCE,
        };
        for slot in &ring.from.0 {
            // Of an earlier round, or of another subject: it went with the region.
            slot.store(null_mut(), Ordering::Relaxed);
        }
        ring
    }

    fn round<S: Subject>(&mut self, subject: &S, limit: Limit) -> Round {
        const OBJECTS: u64 = 4_000;
        for done in 0..OBJECTS {
            let Some(object) = take(subject, layout(64)) else {
                return Round::NoMemory;
            };
            while !self.send(object) {
                if self.patience == 0 || limit.is_over() {
                    // SAFETY: allocated just now for this layout.
                    unsafe { subject.free(object, layout(64)) };
                    break;
                }
                if !self.free_one(subject) {
                    self.patience -= 1;
                    core::hint::spin_loop();
                }
            }
            self.free_one(subject);
            if limit.is_over() {
                return Round::Cut(done);
            }
        }
        Round::Whole(OBJECTS)
    }
}

impl Remote {
    /// Puts an object into the next CPU's ring, if there is room.
    fn send(&mut self, object: *mut u8) -> bool {
        let slot = &self.to.0[self.sent % self.to.0.len()];
        let has_room = slot.load(Ordering::Acquire).is_null();
        if has_room {
            slot.store(object, Ordering::Release);
            self.sent += 1;
            self.patience = PATIENCE;
        }
        has_room
    }

    /// Frees an object of this CPU's ring, if there is one.
    fn free_one<S: Subject>(&mut self, subject: &S) -> bool {
        let slot = &self.from.0[self.received % self.from.0.len()];
        let object = slot.load(Ordering::Acquire);
        if object.is_null() {
            return false;
        }
        slot.store(null_mut(), Ordering::Release);
        self.received += 1;
        // SAFETY: allocated for this layout; whoever sent it has forgotten it.
        unsafe { subject.free(object, layout(64)) };
        true
    }
}
