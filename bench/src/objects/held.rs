//! Memory that is held against memory that was asked for.

use std::ptr::null_mut;

use fastrand::Rng;

use super::heaps::{Alone, BuddySystem, LinkedList, Rlsf, Talc};
use super::layout;
#[cfg(feature = "mallocs")]
use super::mallocs::{Jemalloc, Mimalloc, Snmalloc};
use super::mixed::any_size;
use super::subjects::{BuddySlab, Libc, Objects, Ours};
use crate::harness::Runner;
use crate::memory::Memory;
use crate::report::Unit;
use crate::target::Target;

const MEMORY: usize = 256 << 20;
/// What is asked for where there is no end of memory.
const ASKED: usize = 64 << 20;

pub(super) fn run(runner: &mut Runner) {
    for (size, target) in [(64, 98.5), (2048, 98.0)] {
        let case = format!("objects payload of 256 MiB in {size} B");
        if runner.wants(&case) {
            let figures = [
                payload(size, Ours::new),
                payload(size, |memory| BuddySlab::new(|| memory)),
                payload(size, Alone::<LinkedList>::new),
                payload(size, Alone::<Talc>::new),
                payload(size, Alone::<Rlsf>::new),
                payload(size, Alone::<BuddySystem>::new),
            ];
            runner.print(&case, Unit::More("%"), &[Target::AtLeast(target)], &figures);
        }
    }
    for sizes in ["64", "2048", "mixed"] {
        let case = match sizes {
            "mixed" => String::from("objects held for mixed sizes"),
            size => format!("objects held for {size} B"),
        };
        if !runner.wants(&case) {
            continue;
        }
        let measured: Vec<(&'static str, Vec<f64>)> = NAMES
            .iter()
            .map(|name| (*name, in_process_of_its_own(name, sizes)))
            .collect();
        let moments = ["at the peak", "after 90 % at random are free"];
        for (i, moment) in moments.into_iter().enumerate() {
            let held = |(name, held): &(&'static str, Vec<f64>)| Some((*name, *held.get(i)?));
            let figures: Vec<_> = measured.iter().filter_map(held).collect();
            let targets: &[Target] = if sizes == "mixed" {
                &[Target::NoMoreThanPeers]
            } else {
                &[]
            };
            let case = format!("{case}, {moment}");
            runner.print(&case, Unit::Less("% of asked"), targets, &figures);
        }
    }
}

const NAMES: &[&str] = &[
    Ours::NAME,
    BuddySlab::NAME,
    Alone::<LinkedList>::NAME,
    Alone::<Talc>::NAME,
    Alone::<Rlsf>::NAME,
    Alone::<BuddySystem>::NAME,
    Libc::NAME,
    #[cfg(feature = "mallocs")]
    Mimalloc::NAME,
    #[cfg(feature = "mallocs")]
    Snmalloc::NAME,
    #[cfg(feature = "mallocs")]
    Jemalloc::NAME,
];

/// What a process holds says little about an allocator if others were there before.
fn in_process_of_its_own(name: &str, sizes: &str) -> Vec<f64> {
    let program = std::env::current_exe().expect("this program has a path");
    let mut command = std::process::Command::new(program);
    let output = command.args([HELD, name, sizes]).output();
    let text = String::from_utf8(output.expect("it can be run").stdout).unwrap_or_default();
    text.split_whitespace()
        .map_while(|word| word.parse().ok())
        .collect()
}

/// The first argument of such a process; the name and the size follow.
pub(super) const HELD: &str = "--held";

/// What such a process prints: how much is held at the peak, and from allocators that give memory back, how much
/// is after most objects are free.
pub(super) fn report(name: &str, sizes: &str) -> Option<String> {
    let memory = || Memory::new(MEMORY, 2 << 20);
    let [peak, after] = match name {
        Ours::NAME => held(sizes, || Ours::new(memory())),
        BuddySlab::NAME => held(sizes, || BuddySlab::new(memory)),
        Alone::<LinkedList>::NAME => {
            return Some(peak(sizes, || Alone::<LinkedList>::new(memory())));
        }
        Alone::<Talc>::NAME => return Some(peak(sizes, || Alone::<Talc>::new(memory()))),
        Alone::<Rlsf>::NAME => return Some(peak(sizes, || Alone::<Rlsf>::new(memory()))),
        Alone::<BuddySystem>::NAME => {
            return Some(peak(sizes, || Alone::<BuddySystem>::new(memory())));
        }
        Libc::NAME => held(sizes, || Libc),
        #[cfg(feature = "mallocs")]
        Mimalloc::NAME => held(sizes, || Mimalloc),
        #[cfg(feature = "mallocs")]
        Snmalloc::NAME => held(sizes, || Snmalloc),
        #[cfg(feature = "mallocs")]
        Jemalloc::NAME => held(sizes, || Jemalloc),
        _ => return None,
    };
    Some(format!("{peak} {after}"))
}

/// How much of its memory an allocator hands out as objects.
fn payload<S: Objects>(size: usize, new: impl Fn(Memory) -> S) -> (&'static str, f64) {
    let memory = Memory::new(MEMORY, 2 << 20);
    let objects = new(memory);
    let layout = layout(size);
    let mut live = Vec::with_capacity(MEMORY / size);
    loop {
        let object = objects.alloc(layout);
        if object.is_null() {
            break;
        }
        live.push(object);
    }
    let share = (live.len() * size) as f64 * 100.0 / MEMORY as f64;
    // From the last to the first, which all of them do in a reasonable time.
    for object in live.into_iter().rev() {
        // SAFETY: allocated above with that layout.
        unsafe { objects.free(object, layout) };
    }
    drop(objects);
    if S::NAME != BuddySlab::NAME {
        memory.discard();
    }
    (S::NAME, share)
}

/// Objects of the process's own, all of them live.
struct Live<S> {
    objects: S,
    live: Vec<(*mut u8, usize)>,
    /// Bytes that were asked for.
    asked: usize,
    /// Resident bytes before there was any of it.
    before: usize,
}

impl<S: Objects> Live<S> {
    fn new(sizes: &str, new: impl FnOnce() -> S) -> Self {
        let mut random = Rng::with_seed(6);
        let mut asked = 0;
        // Written, so that it is in memory before.
        let mut live = Vec::new();
        while asked < ASKED {
            let size = sizes.parse().unwrap_or_else(|_| any_size(&mut random));
            asked += size;
            live.push((null_mut(), size));
        }
        let before = Memory::resident();
        let objects = new();
        for (slot, size) in &mut live {
            let object = objects.alloc(layout(*size));
            assert!(!object.is_null(), "{} has not enough memory", S::NAME);
            for offset in (0..*size).step_by(64) {
                // SAFETY: inside the object.
                let line = unsafe { object.add(offset) };
                // SAFETY: as above.
                unsafe { line.write_volatile(1) };
            }
            *slot = object;
        }
        Self {
            objects,
            live,
            asked,
            before,
        }
    }

    /// Resident memory, in percent of what was asked for: with all that the allocator needs for itself.
    fn peak(&self) -> f64 {
        percent(Memory::resident().saturating_sub(self.before), self.asked)
    }

    /// Frees nine tenths at random. What is then held is in pages that have no other use until more is freed.
    fn after(&mut self) -> f64 {
        Rng::with_seed(7).shuffle(&mut self.live);
        let count = self.live.len();
        let (freed, rest) = self.live.split_at(count - count / 10);
        for (object, size) in freed {
            // SAFETY: allocated with that layout.
            unsafe { self.objects.free(*object, layout(*size)) };
        }
        self.objects.give_back();
        let resident = || Memory::resident().saturating_sub(self.before);
        let held = self.objects.held().unwrap_or_else(resident);
        percent(held, rest.iter().map(|(_, size)| size).sum())
    }
}

fn percent(held: usize, asked: usize) -> f64 {
    held as f64 * 100.0 / asked as f64
}

fn peak<S: Objects>(sizes: &str, new: impl FnOnce() -> S) -> String {
    Live::new(sizes, new).peak().to_string()
}

fn held<S: Objects>(sizes: &str, new: impl FnOnce() -> S) -> [f64; 2] {
    let mut live = Live::new(sizes, new);
    [live.peak(), live.after()]
}
