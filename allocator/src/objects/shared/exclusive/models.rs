//! Turns of CPUs, and claims of their magazines by others and by handlers.

use core::ptr::{NonNull, null_mut};
use std::alloc::{Layout, alloc, dealloc};
use std::boxed::Box;
use std::vec::Vec;

use loom::sync::Arc;
use loom::thread;

use super::super::super::size_class::SizeClass;
use super::super::allocator::ObjectAllocator;
use super::super::cpu::CpuState;
use super::super::magazine::Magazines;
use crate::Platform;
use crate::modelled::Machine;
use crate::modelled::atomics::{Ever, at_every_point, forget_interrupt, interrupt};
use crate::patience::Patience;

/// An object layer with so many CPUs and no pages.
struct Rig {
    objects: ObjectAllocator<Machine, 0x1000>,
    states: Vec<Box<CpuState<Machine>>>,
    magazines: Vec<*mut Magazines>,
}

// SAFETY: the pointers are used by the protocols under test, and at the end.
unsafe impl Send for Rig {}
// SAFETY: as above.
unsafe impl Sync for Rig {}

impl Drop for Rig {
    fn drop(&mut self) {
        for magazines in &self.magazines {
            // SAFETY: allocated in `new` with this layout.
            unsafe { dealloc(magazines.cast(), Layout::new::<Magazines>()) };
        }
    }
}

impl Rig {
    fn new(cpus: usize) -> Arc<Self> {
        let mut rig = Self {
            objects: ObjectAllocator::new(),
            states: Vec::new(),
            magazines: Vec::new(),
        };
        // The words that say who claims are made before there are threads.
        assert!(!rig.objects.is_nested());
        for cpu in 0..cpus {
            let state = Box::new(CpuState::new());
            // SAFETY: the layout is not empty.
            let memory = unsafe { alloc(Layout::new::<Magazines>()) };
            // SAFETY: that is the layout; an alignment to a page is not asked for here.
            let magazines = unsafe { Magazines::create(NonNull::new(memory).unwrap()) }.as_ptr();
            assert!(install(&state, magazines));
            // SAFETY: the state lives as long as the rig.
            unsafe { rig.objects.cpus.install(cpu, (&*state).into()) };
            rig.states.push(state);
            rig.magazines.push(magazines);
        }
        Arc::new(rig)
    }

    /// A turn of this CPU, if it can have one.
    fn turn(&self) -> bool {
        let cpu = &self.states[Machine::cpu_id()];
        // SAFETY: this is the CPU of that state.
        let turn = unsafe { cpu.enter() };
        turn.is_some_and(|turn| {
            turn.place(SizeClass::Bytes8);
            turn.magazines().is_some()
        })
    }

    /// What a drain does before and while it looks at magazines. Returns how many CPUs' magazines it had.
    fn claim(&self) -> usize {
        let mut patience = Patience::much().unless(self.objects.is_nested());
        let Some(exclusive) = self.objects.exclusive(&mut patience) else {
            return 0;
        };
        let mut visited = 0;
        self.objects
            .visit_claimed(&exclusive, &mut patience, |cpu, magazines| {
                cpu.used.with_mut(|_| ());
                visited += usize::from(!magazines.is_null());
                magazines
            });
        visited
    }

    /// What a drain does that gives the pages of this CPU's magazines away, to somebody who writes them. Returns whether
    /// there were any.
    fn retire(&self) -> bool {
        let exclusive = self.objects.try_exclusive().expect("nobody else claims");
        let mut had = false;
        let mut patience = Patience::much();
        self.objects
            .visit_claimed(&exclusive, &mut patience, |_, claimed| {
                had |= !claimed.is_null();
                null_mut()
            });
        if had {
            self.states[0].used.with_mut(|_| ());
        }
        had
    }

    /// Nobody claims, nobody is inside, and every CPU has its magazines.
    fn assert_quiet(&self) {
        assert!(self.objects.try_exclusive().is_some());
        for (cpu, magazines) in self.states.iter().zip(&self.magazines) {
            assert!(!cpu.is_active());
            cpu.claim();
            assert_eq!(cpu.claimed(), Some(*magazines));
            cpu.release(*magazines);
        }
    }
}

/// What a CPU does that finds that it has no magazines.
fn install(state: &CpuState<Machine>, magazines: *mut Magazines) -> bool {
    // SAFETY: this is the CPU of that state, or there are no others yet.
    let turn = unsafe { state.enter() };
    turn.is_some_and(|turn| turn.install(magazines))
}

/// Another CPU.
fn spawn<T: 'static>(
    rig: &Arc<Rig>,
    cpu: usize,
    run: impl Fn(&Rig) -> T + 'static,
) -> thread::JoinHandle<T> {
    let rig = Arc::clone(rig);
    thread::spawn(move || {
        Machine::set_cpu(cpu);
        run(&rig)
    })
}

fn bounded() -> loom::model::Builder {
    // Three preemptions, as loom recommends where all interleavings are too many.
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder
}

#[test]
fn loom_a_claim_and_turns_exclude_each_other() {
    loom::model(|| {
        let rig = Rig::new(1);
        let other = spawn(&rig, 1, |rig| assert_eq!(rig.claim(), 1));
        rig.turn();
        rig.turn();
        other.join().unwrap();
        assert!(rig.turn(), "the magazines are back");
        rig.assert_quiet();
    });
}

#[test]
fn loom_two_claims_come_one_after_the_other() {
    bounded().check(|| {
        let rig = Rig::new(1);
        let others = [1, 2].map(|cpu| spawn(&rig, cpu, |rig| assert_eq!(rig.claim(), 1)));
        rig.turn();
        for other in others {
            other.join().unwrap();
        }
        rig.assert_quiet();
    });
}

#[test]
fn loom_magazines_that_arrive_during_a_claim_are_not_lost() {
    loom::model(|| {
        let rig = Rig::new(1);
        let magazines = rig.magazines[0];
        rig.states[0].claim();
        rig.states[0].release(null_mut());
        let other = spawn(&rig, 1, |rig| {
            rig.claim();
        });
        let is_installed = install(&rig.states[0], magazines);
        // The claim may come between the magazines and the ways to each of them.
        rig.turn();
        other.join().unwrap();
        assert_eq!(rig.turn(), is_installed);
        assert!(is_installed || install(&rig.states[0], magazines));
        rig.assert_quiet();
    });
}

#[test]
fn loom_magazines_that_are_given_away_are_not_used() {
    for arrive in [false, true] {
        loom::model(move || {
            let rig = Rig::new(1);
            let magazines = rig.magazines[0];
            if arrive {
                assert!(rig.retire());
            }
            let other = spawn(&rig, 1, Rig::retire);
            // Not while somebody claims that there are none.
            let came = !arrive || install(&rig.states[0], magazines);
            rig.turn();
            let is_gone = other.join().unwrap();
            let is_there = rig.states[0].claim();
            rig.states[0].release(null_mut());
            assert_eq!(is_there, came && !is_gone);
            assert!(!rig.turn());
        });
    }
}

/// Runs `before`, and then `main` on CPU 0, with a handler at every point of it that takes a turn and claims, while CPU 1
/// claims, too.
fn with_handlers(before: fn(&Rig), main: fn(&Rig)) {
    let points = at_every_point(|point| {
        let came = Ever::default();
        let ever = came.clone();
        bounded().check(move || {
            let rig = Rig::new(2);
            before(&rig);
            let other = spawn(&rig, 1, |rig| {
                rig.claim();
                rig.turn();
            });
            let handler = Arc::clone(&rig);
            interrupt(point, move || {
                handler.turn();
                handler.claim();
            });
            main(&rig);
            if !forget_interrupt() {
                came.happened();
            }
            other.join().unwrap();
            rig.assert_quiet();
        });
        ever.did()
    });
    assert!(points >= 4, "{points}");
}

#[test]
fn loom_d13_a_handler_interrupts_a_turn_at_any_point() {
    with_handlers(
        |_| (),
        |rig| {
            rig.turn();
        },
    );
}

#[test]
fn loom_d13_a_handler_interrupts_the_arrival_of_magazines_at_any_point() {
    let before = |rig: &Rig| {
        rig.states[0].claim();
        rig.states[0].release(null_mut());
    };
    with_handlers(before, |rig| {
        // While somebody claims that there are none, none can come.
        while !install(&rig.states[0], rig.magazines[0]) {
            thread::yield_now();
        }
        rig.turn();
    });
}

#[test]
fn loom_d13_a_handler_interrupts_a_claim_at_any_point() {
    with_handlers(
        |_| (),
        |rig| {
            rig.claim();
        },
    );
}
