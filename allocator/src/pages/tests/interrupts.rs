//! Signals as interrupts.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;
use std::vec::Vec;

use super::{Cpu, duration};

/// How often a handler has to get to its work at least. On a machine with much else to do, few get there.
const LEAST: usize = 100;

/// Runs `work` on two CPUs and interrupts both again and again, for as long as storms last and until `taken` says that
/// there were enough interrupts. It works until it is told to stop.
///
/// No signal comes to a thread before it is a CPU: a handler there would be a second context on another one.
pub(crate) fn interrupt_cpus(
    signal: libc::c_int,
    handler: extern "C" fn(libc::c_int),
    taken: &AtomicUsize,
    work: impl Fn(usize, &AtomicBool) + Sync,
) {
    // SAFETY: a handler does nothing but call the allocator and atomics.
    unsafe { libc::signal(signal, handler as *const () as libc::sighandler_t) };
    let stop = AtomicBool::new(false);
    let (ready, started) = mpsc::channel();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..2)
            .map(|id| {
                let (ready, work, stop) = (ready.clone(), &work, &stop);
                scope.spawn(move || {
                    Cpu::set(id);
                    // SAFETY: it only asks.
                    ready.send(unsafe { libc::pthread_self() }).unwrap();
                    work(id, stop);
                })
            })
            .collect();
        let threads: Vec<_> = started.iter().take(workers.len()).collect();
        let end = Instant::now() + duration();
        // Pauses of all lengths, up to some microseconds.
        let mut pause = 0_usize;
        let is_enough = || Instant::now() >= end && taken.load(Ordering::Relaxed) >= LEAST;
        // Before it is told, one ends only because it failed.
        while !is_enough() && !workers.iter().any(|worker| worker.is_finished()) {
            for thread in &threads {
                // SAFETY: the thread is not joined yet.
                unsafe { libc::pthread_kill(*thread, signal) };
            }
            pause = (pause + 1013) % 3000;
            for _ in 0..pause {
                core::hint::spin_loop();
            }
        }
        stop.store(true, Ordering::Relaxed);
        for worker in workers {
            worker.join().unwrap();
        }
    });
    std::println!("{} interrupts", taken.load(Ordering::Relaxed));
}
