//! Many CPUs, interrupts on: they come up, stay apart, and reach each other.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::alloc::Layout;
use core::hint::spin_loop;
use core::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};

use spin::mutex::SpinMutex;

use crate::arch::space::Mapped;
use crate::arch::{apic, clock, percpu, probe, smp, stack, storm, translate, work};
use crate::harness::{Outcome, kernel_tests};
use crate::memory::HEAP;
use crate::suites::free_pages;

/// A barrier that CPUs meet at, as often as they like.
struct Meeting {
    arrived: AtomicUsize,
    size: usize,
}

impl Meeting {
    const fn new(size: usize) -> Self {
        Self {
            arrived: AtomicUsize::new(0),
            size,
        }
    }

    /// Waits until all have come.
    fn wait(&self) {
        let round = self.arrived.fetch_add(1, Ordering::AcqRel) / self.size;
        while self.arrived.load(Ordering::Acquire) < (round + 1) * self.size {
            spin_loop();
        }
    }
}

/// Timer interrupts in which the hook below allocated.
static HOOKED: AtomicU64 = AtomicU64::new(0);

/// Allocates, touches and frees, in an interrupt that may have come at any instruction.
fn allocate_in_interrupt() {
    let count = HOOKED.fetch_add(1, Ordering::Relaxed);
    let size = 8 << (count % 9);
    let Ok(layout) = Layout::from_size_align(size, 8) else {
        return;
    };
    if let Ok(object) = HEAP.alloc(layout) {
        // SAFETY: freshly allocated.
        unsafe { object.write_bytes(0xee, size) };
        // SAFETY: allocated just now with this layout.
        let freed = unsafe { HEAP.dealloc(object, layout) };
        assert_eq!(freed, Ok(()));
    }
    if count.is_multiple_of(4)
        && let Ok(page) = HEAP.alloc_pages(1, 4096)
    {
        assert_eq!(free_pages(page, 1), Ok(()));
    }
}

/// CPUs in the hook below.
static DAWDLING: AtomicUsize = AtomicUsize::new(0);

/// Takes its time: a good part of what is between two ticks.
fn dawdle() {
    DAWDLING.fetch_add(1, Ordering::Relaxed);
    let end = clock::ticks() + clock::from_ms(3);
    while clock::ticks() < end {
        spin_loop();
    }
    DAWDLING.fetch_sub(1, Ordering::Relaxed);
}

/// CPUs that do not exist, but were started.
static GHOSTS: AtomicUsize = AtomicUsize::new(0);

kernel_tests! { "smp", Test:
    /// Every CPU that the firmware lists runs, or was left out for a reason that the log has.
    fn all_cpus_come_up() on [smp1, smp2, smp4, smp8, smp32, microvm] {
        assert_eq!(percpu::online() + smp::left_out(), smp::listed());
        assert_eq!(smp::left_out(), GHOSTS.load(Ordering::Relaxed));
    }

    /// CPUs that are listed and never answer are left out after their deadline, and cost nothing.
    fn cpus_that_never_answer_are_left_out() on [smp1, smp4] {
        if !smp::can_start_others() {
            return Outcome::Skip("this machine cannot start other CPUs");
        }
        let online = percpu::online();
        let before = (smp::listed(), smp::left_out());
        // Nobody is there who could be late: where there are more than 240 CPUs, lower ids are theirs.
        let is_nobodys = |id: &u32| percpu::all().all(|cpu| cpu.apic_id() != *id);
        let ghosts: Vec<u32> = (0..0xff).rev().filter(is_nobodys).take(2).collect();
        if ghosts.len() < 2 {
            return Outcome::Skip("there is a CPU for every id");
        }
        GHOSTS.fetch_add(ghosts.len(), Ordering::Relaxed);
        smp::start_all(ghosts.into_iter(), 20);
        assert_eq!((smp::listed(), smp::left_out()), (before.0 + 2, before.1 + 2));
        assert_eq!(percpu::online(), online);
        // Those that are listed twice, or run already, are left alone.
        let running: Vec<u32> = percpu::all().map(|cpu| cpu.apic_id()).collect();
        smp::start_all(running.into_iter(), smp::PATIENCE);
        assert_eq!(percpu::online(), online);
        let ran = AtomicUsize::new(0);
        work::on_all(&|_| {
            ran.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(ran.into_inner(), online);
    }

    /// An id that takes more bits than an xAPIC has is nobody's: cut down to eight, it would be this CPU's or
    /// everybody's.
    fn ids_that_are_too_long_are_left_out() on [smp1, smp4] {
        if !smp::can_start_others() {
            return Outcome::Skip("this machine cannot start other CPUs");
        }
        let online = percpu::online();
        let before = smp::left_out();
        let strangers = [0xff, 0x100, 0x101].map(|low| 0xffff_0000 | low);
        GHOSTS.fetch_add(strangers.len(), Ordering::Relaxed);
        smp::start_all(strangers.into_iter(), 20);
        assert_eq!(smp::left_out(), before + strangers.len());
        assert_eq!(percpu::online(), online);
    }

    /// Numbers, per-CPU structures and stacks are each CPU's own.
    fn cpus_are_apart() on [smp1, smp4, smp32] {
        let seen: SpinMutex<Vec<_>> = SpinMutex::new(Vec::new());
        work::on_all(&|id| {
            let local = 0_u8;
            let here = &raw const local as u64;
            assert_eq!(percpu::id(), id);
            assert_eq!(percpu::current().id(), id);
            assert!(stack::bounds().contains(&here), "CPU {id} runs on its own stack");
            assert_eq!(translate::walk(stack::guard(&stack::bounds()).start), None);
            let this = core::ptr::from_ref(percpu::current()).addr();
            seen.lock().push((id, this, stack::bounds().start));
        });
        let mut seen = seen.into_inner();
        seen.sort_unstable();
        assert_eq!(seen.len(), percpu::online());
        for pair in seen.windows(2) {
            assert!(pair[0].0 < pair[1].0);
            assert_ne!(pair[0].1, pair[1].1);
            assert_ne!(pair[0].2, pair[1].2);
        }
    }

    /// Every CPU interrupts every other, all at once, and each gets its answer.
    fn calls_between_every_pair() on [smp2, smp4, smp8, smp32] {
        /// With more CPUs, each calls those that are a power of two away: all pairs would take minutes.
        const MOST: usize = 64;
        let calls = AtomicU64::new(0);
        let cpus = percpu::online();
        let rounds = if cpus > 8 { 1 } else { 20 };
        let is_called =
            |distance: &usize| cpus <= MOST || *distance == 0 || distance.is_power_of_two();
        work::on_all(&|from| {
            for _ in 0..rounds {
                for distance in (0..cpus).filter(is_called) {
                    let to = (from + distance) % cpus;
                    let answered = work::interrupt(to, &|runs_on| {
                        assert_eq!((runs_on, percpu::id()), (to, to), "called by {from}");
                        calls.fetch_add(1, Ordering::Relaxed);
                    });
                    assert!(answered);
                }
            }
        });
        let distances = (0..cpus).filter(is_called).count();
        assert_eq!(calls.load(Ordering::Relaxed), (rounds * cpus * distances) as u64);
        assert!(!work::interrupt(percpu::MAX_CPUS - 1, &|_| {}), "no such CPU");
    }

    /// The timer of every CPU ticks.
    fn timers_tick_everywhere() on [smp1, smp4, smp32, microvm, pc] {
        let before: Vec<u64> = percpu::all().map(|cpu| cpu.ticks.load(Ordering::Relaxed)).collect();
        for (cpu, before) in percpu::all().zip(before) {
            while cpu.ticks.load(Ordering::Relaxed) < before + 3 {
                spin_loop();
            }
        }
    }

    /// Handlers allocate and free while the code they interrupt does the same.
    fn interrupts_allocate_while_threads_do() on [smp1, smp2, smp4, smp8] {
        const INTERRUPTS: u64 = 2_000;
        if !apic::present() {
            return Outcome::Skip("the CPU has no timer of its own");
        }
        HOOKED.store(0, Ordering::Relaxed);
        storm::during(allocate_in_interrupt, &|id| {
            let mut random = crate::random();
            random.seed(id as u64);
            let mut live: Vec<Box<[usize]>> = Vec::new();
            while HOOKED.load(Ordering::Relaxed) < INTERRUPTS {
                if live.len() > 50 {
                    let gone = live.swap_remove(random.usize(..live.len()));
                    assert!(gone.iter().all(|&word| word == id));
                }
                live.push(alloc::vec![id; random.usize(1..200)].into_boxed_slice());
                let pages = 1 << random.u32(0..4);
                let block = HEAP.alloc_pages(pages, 4096).expect("pages");
                free_pages(block, pages).expect("allocated above");
                storm::progress();
            }
        });
    }

    /// When a storm is over, no CPU is in a handler of it any more.
    fn storms_leave_no_handler_behind() on [smp2, smp4] {
        if !apic::present() {
            return Outcome::Skip("the CPU has no timer of its own");
        }
        for _ in 0..10 {
            storm::during(dawdle, &|_| {
                let end = clock::ticks() + clock::from_ms(10);
                while clock::ticks() < end {
                    spin_loop();
                }
            });
            assert_eq!(DAWDLING.load(Ordering::Relaxed), 0);
        }
    }

    /// What one CPU allocates another frees, for every pair of CPUs.
    fn objects_freed_by_every_other_cpu() on [smp2, smp4, smp8] {
        let cpus = percpu::online();
        let slots: Vec<AtomicPtr<u64>> = (0..cpus).map(|_| AtomicPtr::default()).collect();
        let meeting = Meeting::new(cpus);
        // Meetings of many CPUs on few host cores take milliseconds each.
        let rounds = (3_000 / cpus.pow(3)).max(1) as u64;
        work::on_all(&|id| {
            for distance in 1..cpus {
                for number in 0..rounds {
                    let object = Box::into_raw(Box::new(number << 8 | id as u64));
                    slots[id].store(object, Ordering::Release);
                    meeting.wait();
                    let other = (id + distance) % cpus;
                    let object = slots[other].load(Ordering::Acquire);
                    // SAFETY: its owner put it there for us alone: each CPU has another `other`.
                    let object = unsafe { Box::from_raw(object) };
                    assert_eq!(*object, number << 8 | other as u64);
                    drop(object);
                    meeting.wait();
                }
            }
        });
    }

    /// A page that is unmapped on one CPU is unmapped on all, translations they hold included.
    fn unmapped_pages_are_unmapped_everywhere() on [smp1, smp2, smp8] {
        let rounds = if percpu::online() > 8 { 2 } else { 20 };
        for round in 0..rounds {
            let mapped = Mapped::new(1).expect("a page");
            let address = mapped.range().start;
            // SAFETY: freshly mapped, and ours.
            unsafe { (address as *mut u8).write_volatile(round) };
            work::on_all(&|_| assert_eq!(probe::read(address), Some(round)));
            drop(mapped);
            work::on_all(&|id| assert_eq!(probe::read(address), None, "CPU {id}"));
        }
    }

    /// Mapped pages have the physical addresses that the page tables say, and guards below.
    fn mapped_pages_translate() on [smp1, smp2] {
        let mapped = Mapped::new(4).expect("pages");
        for address in mapped.range().step_by(4096) {
            let phys = translate::walk(address).expect("mapped").phys;
            let virt = usize::try_from(address).expect("64 bits");
            assert_eq!(translate::virt_to_phys(virt), Some(phys));
            // SAFETY: mapped, and ours.
            unsafe { (address as *mut u64).write_volatile(address) };
            let alias = translate::phys_to_virt(phys) as *const u64;
            // SAFETY: the same memory through the direct map.
            assert_eq!(unsafe { alias.read_volatile() }, address);
        }
        assert_eq!(translate::walk(mapped.range().start - 1), None);
        assert_eq!(translate::walk(mapped.range().end), None);
    }
}
