//! A CPU that stops wherever one likes in what it does, and goes on when another one waits.

use core::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::thread;

use super::{Cpu, Hooked, Hooks};

/// The host's machine, on which a CPU can be stopped before it takes a lock, and behind its barriers.
pub(crate) type Stopping = Hooked<Stops>;

pub(crate) struct Stops;

const RUNNING: u8 = 0;
const STOPPED: u8 = 1;
const RUNNING_AGAIN: u8 = 2;
const DONE: u8 = 3;

/// A CPU that stops, seen by both.
struct Stop {
    /// How many points it passes before.
    left: AtomicUsize,
    state: AtomicU8,
}

impl Stop {
    fn is(&self, state: u8) -> bool {
        self.state.load(Ordering::Acquire) == state
    }

    fn wait_while(&self, state: u8) {
        while self.is(state) {
            thread::yield_now();
        }
    }

    /// Where the CPU may stop.
    fn point(&self) {
        if self.left.fetch_sub(1, Ordering::Relaxed) == 0 {
            self.state.store(STOPPED, Ordering::Release);
            self.wait_while(STOPPED);
        }
    }

    fn done(&self) {
        self.state.store(DONE, Ordering::Release);
    }

    /// Lets the CPU go on to its end.
    fn finish(&self) {
        if self.is(STOPPED) {
            self.state.store(RUNNING_AGAIN, Ordering::Release);
            self.wait_while(RUNNING_AGAIN);
        }
    }
}

std::thread_local! {
    /// On the thread of the CPU that stops.
    static STOPS: RefCell<Option<Arc<Stop>>> = const { RefCell::new(None) };
    /// On the thread of the CPU that runs meanwhile.
    static BESIDE: RefCell<Option<Arc<Stop>>> = const { RefCell::new(None) };
}

fn point() {
    if !Cpu::is_masked() {
        STOPS.with_borrow(|stops| stops.iter().for_each(|stop| stop.point()));
    }
}

impl Hooks for Stops {
    fn before_mask() {
        point();
    }

    fn behind_barrier() {
        point();
    }

    fn relax() {
        BESIDE.with_borrow(|beside| beside.iter().for_each(|stop| stop.finish()));
        thread::yield_now();
    }
}

/// Runs `own` while CPU 1 is stopped in `other`, behind `at` of the points where it can be; `None` if it has not so
/// many.
fn beside<R>(at: usize, other: impl FnOnce() + Send, own: impl FnOnce() -> R) -> Option<R> {
    let stop = Arc::new(Stop {
        left: AtomicUsize::new(at),
        state: AtomicU8::new(RUNNING),
    });
    thread::scope(|scope| {
        scope.spawn(|| {
            Cpu::set(1);
            STOPS.set(Some(Arc::clone(&stop)));
            // Where it fails, too: else it would be waited for.
            let result = catch_unwind(AssertUnwindSafe(other));
            stop.done();
            if let Err(failure) = result {
                resume_unwind(failure);
            }
        });
        stop.wait_while(RUNNING);
        let result = stop.is(STOPPED).then(|| {
            BESIDE.set(Some(Arc::clone(&stop)));
            own()
        });
        BESIDE.set(None);
        stop.finish();
        result
    })
}

/// Has CPU 1 stop at every point of `other`, each time with a fresh machine, and runs `own` meanwhile, and `then` with the
/// result when all is over.
pub(crate) fn at_every_stop<M: Sync, R>(
    make: impl Fn() -> M,
    other: impl Fn(&M) + Sync,
    own: impl Fn(&M) -> R,
    then: impl Fn(&M, R),
) {
    let mut points = 0;
    loop {
        let machine = make();
        let Some(result) = beside(points, || other(&machine), || own(&machine)) else {
            break;
        };
        then(&machine, result);
        points += 1;
    }
    assert_ne!(points, 0, "it stops nowhere");
}
