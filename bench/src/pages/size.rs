//! Cost against the amount of memory. Only what is touched of it is there.

use fastrand::Rng;

use super::subjects::{Locked, Pages, PeerBuddySlab, PeerBuddySystem, Shared, Single};
use super::{MIB, PAGE};
use crate::harness::{Runner, Subject, time};
use crate::memory::Memory;
use crate::report::Unit;
use crate::series::Series;
use crate::target::Target;

const STEPS: usize = 20_000;

/// Of the blocks: large enough for no allocator to touch too much of the memory.
const ORDER: usize = 6;

/// Blocks that are freed before as many new ones take their places: one alone would get its own place back.
const GROUP: usize = 16;

pub(super) fn run(runner: &mut Runner) {
    Series {
        name: ("pages replaced at random in", " MiB"),
        points: &[16, 256, 4 << 10, 64 << 10],
        unit: Unit::Less("ns/pair"),
        targets: &[Target::Peer(1.0)],
        growth: &[Target::AtMostOrPeers(1.2)],
    }
    .run(runner, |mib| {
        vec![
            replace::<Shared>(mib),
            replace::<Single>(mib),
            replace::<Locked<PeerBuddySlab>>(mib),
            replace::<Locked<PeerBuddySystem>>(mib),
        ]
    });
}

/// Three quarters of the memory are held; blocks anywhere in it are replaced.
fn replace<S: Pages + 'static>(mib: usize) -> Subject<'static> {
    let memory = Memory::new(mib * MIB, 4 << 30);
    let mut pages = S::new(memory);
    let mut live: Vec<usize> = (0..mib * MIB / (PAGE << ORDER) * 3 / 4)
        .map(|_| pages.alloc(S::size(ORDER)))
        .collect();
    assert!(live.iter().all(|addr| *addr != 0), "too little memory");
    let mut random = Rng::with_seed(9);
    let discard = memory.discard_at_end();
    Subject::new(S::NAME, move || {
        let _ = &discard;
        let steps: Vec<usize> = (0..STEPS).map(|_| random.usize(..live.len())).collect();
        time(STEPS, || {
            for group in steps.chunks(GROUP) {
                for index in group {
                    let addr = std::mem::take(&mut live[*index]);
                    if addr != 0 {
                        pages.free(addr, S::size(ORDER));
                    }
                }
                for index in group {
                    if live[*index] == 0 {
                        live[*index] = pages.alloc(S::size(ORDER));
                    }
                }
            }
        })
    })
}
