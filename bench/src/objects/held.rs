//! Memory that is held against memory that was asked for.

use super::heaps::{Alone, BuddySystem, LinkedList, Rlsf, Talc};
use super::layout;
#[cfg(feature = "mallocs")]
use super::mallocs::{Jemalloc, Mimalloc, Snmalloc};
use super::subjects::{BuddySlab, Libc, Objects, Ours};
use crate::harness::{Random, Runner};
use crate::memory::Memory;
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
            runner.print(&case, "%", &[Target::AtLeast(target)], &figures);
        }
        let case = format!("objects held for {size} B");
        if runner.wants(&case) {
            let figures: Vec<(&str, [f64; 2])> = NAMES
                .iter()
                .filter_map(|name| Some((*name, in_process_of_its_own(name, size)?)))
                .collect();
            for (i, when) in ["at the peak", "after 90 % at random are free"]
                .iter()
                .enumerate()
            {
                let figures: Vec<_> = figures
                    .iter()
                    .map(|(name, held)| (*name, held[i]))
                    .collect();
                runner.print(&format!("{case}, {when}"), "% of asked", &[], &figures);
            }
        }
    }
}

/// Those that give memory back, or say what they hold.
const NAMES: &[&str] = &[
    Ours::NAME,
    BuddySlab::NAME,
    Libc::NAME,
    #[cfg(feature = "mallocs")]
    Mimalloc::NAME,
    #[cfg(feature = "mallocs")]
    Snmalloc::NAME,
    #[cfg(feature = "mallocs")]
    Jemalloc::NAME,
];

/// What a process holds says little about an allocator if others were there before.
fn in_process_of_its_own(name: &str, size: usize) -> Option<[f64; 2]> {
    let program = std::env::current_exe().ok()?;
    let mut command = std::process::Command::new(program);
    command.args([HELD, name, &size.to_string()]);
    let output = command.output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let mut figures = text.split_whitespace().map_while(|word| word.parse().ok());
    Some([figures.next()?, figures.next()?])
}

/// The first argument of such a process; the name and the size follow.
pub(super) const HELD: &str = "--held";

/// What such a process prints.
pub(super) fn report(name: &str, size: usize) -> Option<String> {
    let memory = || Memory::new(MEMORY, 2 << 20);
    let [peak, after] = match name {
        Ours::NAME => held(size, &Ours::new(memory())),
        BuddySlab::NAME => held(size, &BuddySlab::new(memory)),
        Libc::NAME => held(size, &Libc),
        #[cfg(feature = "mallocs")]
        Mimalloc::NAME => held(size, &Mimalloc),
        #[cfg(feature = "mallocs")]
        Snmalloc::NAME => held(size, &Snmalloc),
        #[cfg(feature = "mallocs")]
        Jemalloc::NAME => held(size, &Jemalloc),
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

/// Held against asked for: with all objects live, and with a tenth of them.
fn held<S: Objects>(size: usize, objects: &S) -> [f64; 2] {
    let layout = layout(size);
    let count = ASKED / size;
    // Written, so that it is in memory before.
    let mut live = vec![std::ptr::without_provenance_mut::<u8>(1); count];
    let mut random = Random::new(6);
    let in_use = || objects.held().unwrap_or_else(Memory::resident);
    let before = in_use();
    for slot in &mut live {
        *slot = objects.alloc(layout);
        assert!(!slot.is_null(), "{} has not enough memory", S::NAME);
        for offset in (0..size).step_by(64) {
            // SAFETY: inside the object.
            let line = unsafe { slot.add(offset) };
            // SAFETY: as above.
            unsafe { line.write_volatile(1) };
        }
    }
    let share =
        |before: usize, asked: usize| in_use().saturating_sub(before) as f64 * 100.0 / asked as f64;
    let peak = share(before, count * size);
    for i in (1..count).rev() {
        live.swap(i, random.below(i + 1));
    }
    let rest = live.split_off(count - count / 10);
    for object in live {
        // SAFETY: allocated above with that layout.
        unsafe { objects.free(object, layout) };
    }
    let after = share(before, rest.len() * size);
    for object in rest {
        // SAFETY: as above.
        unsafe { objects.free(object, layout) };
    }
    [peak, after]
}
