//! Threads that free each other's objects, each interrupted by a timer of its own thousands of times a
//! second.

use core::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::{counts, layout};
use crate::GlobalAllocator;
use crate::pages::tests::{Cpu, Deadline, Host, MIB, Memory, duration};

const THREADS: usize = 3;

/// How often a thread is interrupted.
const PERIOD: Duration = Duration::from_micros(200);

/// What lies in the places of the exchange, in turn. The last one is pages.
const SIZES: [usize; 6] = [8, 64, 100, 640, 2048, 5000];

static GLOBAL: GlobalAllocator<Host> = GlobalAllocator::new();
static STOP: AtomicBool = AtomicBool::new(false);
static INTERRUPTS: AtomicUsize = AtomicUsize::new(0);

/// Objects on their way from whoever allocated them to whoever frees them.
static EXCHANGE: [AtomicPtr<u8>; 240] = [const { AtomicPtr::new(null_mut()) }; 240];

/// What an object at that address is filled with.
fn stamp(object: NonNull<u8>) -> u8 {
    (object.addr().get() >> 3).to_le_bytes()[0] ^ 0x5a
}

fn free(object: NonNull<u8>, size: usize) {
    // SAFETY: whoever took the pointer out of the exchange owns the object, which was filled.
    let bytes = unsafe { core::slice::from_raw_parts(object.as_ptr(), size) };
    let expected = stamp(object);
    assert!(bytes.iter().all(|byte| *byte == expected));
    // SAFETY: as above.
    assert_eq!(unsafe { GLOBAL.dealloc(object, layout(size)) }, Ok(()));
}

/// Puts a fresh object, or, if there is none, nothing, into a place, and frees what was there.
fn replace(number: usize) {
    let place = number % EXCHANGE.len();
    let size = SIZES[place % SIZES.len()];
    let fresh = GLOBAL.alloc(layout(size)).map_or(null_mut(), |object| {
        // SAFETY: just allocated.
        unsafe { object.write_bytes(stamp(object), size) };
        object.as_ptr()
    });
    let before = EXCHANGE[place].swap(fresh, Ordering::AcqRel);
    if let Some(before) = NonNull::new(before) {
        free(before, size);
    }
}

/// The interrupt, except while they are masked.
extern "C" fn interrupt(_: libc::c_int) {
    if Cpu::is_masked() {
        return;
    }
    let count = INTERRUPTS.fetch_add(1, Ordering::Relaxed);
    for number in 0..4 {
        replace(count * 7 + number * 61);
    }
    match count % 256 {
        0 => drop(GLOBAL.drain()),
        1 => drop(GLOBAL.slabinfo()),
        2 => drop(GLOBAL.validate().map_err(|error| panic!("{error}"))),
        _ => {}
    }
}

/// A timer that interrupts the thread that makes it.
struct Timer(libc::timer_t);

impl Timer {
    fn start() -> Self {
        // SAFETY: zeroes are a valid value of this plain structure.
        let mut event: libc::sigevent = unsafe { core::mem::zeroed() };
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = libc::SIGALRM;
        // SAFETY: the call has no preconditions.
        event.sigev_notify_thread_id = unsafe { libc::gettid() };
        let mut timer = null_mut();
        // SAFETY: both structures outlive the call.
        let made = unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &mut event, &mut timer) };
        assert_eq!(made, 0);
        let this = Self(timer);
        this.set(PERIOD);
        this
    }

    fn set(&self, period: Duration) {
        let period = libc::timespec {
            tv_sec: 0,
            tv_nsec: period.subsec_nanos().into(),
        };
        let value = libc::itimerspec {
            it_interval: period,
            it_value: period,
        };
        // SAFETY: the timer exists, and the structure outlives the call.
        let set = unsafe { libc::timer_settime(self.0, 0, &value, null_mut()) };
        assert_eq!(set, 0);
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        // SAFETY: made in `start`, and deleted once.
        unsafe { libc::timer_delete(self.0) };
    }
}

fn work(id: usize) {
    Cpu::set(id);
    let _timer = Timer::start();
    let mut number = id;
    while !STOP.load(Ordering::Relaxed) {
        // Visits all places, the threads in different orders.
        number = number.wrapping_mul(5).wrapping_add(2 * id + 1);
        replace(number >> 8);
        if number % (1 << 18) == id {
            GLOBAL.drain();
        }
    }
}

/// The same with timers, every 200 us on each thread, whose handlers free what other threads allocated, and
/// drain.
#[test]
fn d13_timers_interrupt_threads_that_free_each_others_objects() {
    let _deadline = Deadline::start();
    // The timers may outlive neither the memory nor the handler: both stay.
    let memory = core::mem::ManuallyDrop::new(Memory::new(8 * MIB));
    // SAFETY: the memory is never unmapped, and nobody else's.
    let region = unsafe { memory.whole().as_mut() };
    // SAFETY: as above.
    unsafe { GLOBAL.init(region) }.unwrap();
    // SAFETY: the handler calls the allocator, and uses atomics and this thread's numbers.
    unsafe { libc::signal(libc::SIGALRM, interrupt as *const () as libc::sighandler_t) };
    thread::scope(|scope| {
        for id in 0..THREADS {
            scope.spawn(move || work(id));
        }
        thread::sleep(duration());
        STOP.store(true, Ordering::Relaxed);
    });
    let interrupts = INTERRUPTS.load(Ordering::Relaxed);
    std::println!("{interrupts} interrupts");
    assert!(interrupts > 300, "{interrupts}");
    Cpu::set(0);
    for (place, object) in EXCHANGE.iter().enumerate() {
        if let Some(object) = NonNull::new(object.swap(null_mut(), Ordering::AcqRel)) {
            free(object, SIZES[place % SIZES.len()]);
        }
    }
    let (allocations, frees) = counts::all(&GLOBAL);
    assert_eq!(allocations, frees);
    assert!(allocations > interrupts);
    assert_eq!(GLOBAL.slabinfo().live(), 0);
    GLOBAL.drain();
    assert_eq!(GLOBAL.allocated_bytes(), 0);
    assert_eq!(GLOBAL.validate(), Ok(()));
}
