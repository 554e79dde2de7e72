//! The last of many regions.

use std::hint::black_box;

use super::subjects::{Locked, Pages, PeerBuddySlab, Shared, Single};
use super::{MIB, PAGE};
use crate::harness::{Runner, Subject, time};
use crate::memory::Memory;
use crate::report::Unit;
use crate::target::Target;

const PAIRS: usize = 5_000;

pub(super) fn run(runner: &mut Runner) {
    for count in [1, 8, 64, 512] {
        let case = format!("pages in last of {count} regions");
        if runner.wants(&case) {
            runner.compare(
                &case,
                Unit::Less("ns/pair"),
                &[Target::Of(FIRST, 1.2), Target::Peer(1.0)],
                vec![
                    pair::<Shared>(FIRST, count, Place::Region(0)),
                    pair::<Shared>(Shared::NAME, count, Place::Region(count - 1)),
                    pair::<Single>(Single::NAME, count, Place::Region(count - 1)),
                    pair::<PeerBuddySlab>(PeerBuddySlab::NAME, count, Place::Region(count - 1)),
                    pair::<Locked<PeerBuddySlab>>(
                        PeerBuddySlab::LOCKED,
                        count,
                        Place::Region(count - 1),
                    ),
                ],
            );
        }
        let case = format!("pages in all of {count} regions");
        if runner.wants(&case) {
            runner.compare(
                &case,
                Unit::Less("ns/pair"),
                &[Target::Peer(1.0)],
                vec![
                    pair::<Shared>(Shared::NAME, count, Place::All),
                    pair::<Single>(Single::NAME, count, Place::All),
                    pair::<PeerBuddySlab>(PeerBuddySlab::NAME, count, Place::All),
                    pair::<Locked<PeerBuddySlab>>(PeerBuddySlab::LOCKED, count, Place::All),
                ],
            );
        }
    }
}

/// Ours in the first region of as many.
const FIRST: &str = "first region";

/// Where the work is.
enum Place {
    /// In one region, with a block of order 4. So little is free that no CPU caches that.
    Region(usize),
    /// In all regions by turns, freeing a page and taking it back.
    All,
}

/// Fills all regions, then works in the given ones.
fn pair<S: Pages + 'static>(name: &'static str, count: usize, place: Place) -> Subject<'static> {
    const LEN: usize = 2 * MIB;
    // Regions do not touch each other, so that they stay as many.
    let memory = Memory::new(count * 2 * LEN, 4 << 30);
    let mut pages = S::new(memory.part(0, LEN));
    for i in 1..count {
        pages.add(memory.part(i * 2 * LEN, LEN));
    }
    let mut live: Vec<usize> = Vec::new();
    loop {
        let addr = pages.alloc(S::size(0));
        if addr == 0 {
            break;
        }
        live.push(addr);
    }
    live.sort_unstable();
    let region = match place {
        Place::Region(region) => region,
        Place::All => return by_turns(name, pages, memory.addr(), 2 * LEN, count, &live),
    };
    let start = memory.addr() + region * 2 * LEN + LEN / 2;
    let block = start..start + 64 * PAGE;
    for addr in live.iter().filter(|addr| block.contains(*addr)) {
        pages.free(*addr, S::size(0));
    }
    Subject::new(name, move || {
        time(PAIRS, || {
            for _ in 0..PAIRS {
                let addr = black_box(pages.alloc(S::size(4)));
                assert!(block.contains(&addr));
                pages.free(addr, S::size(4));
            }
        })
    })
}

/// Frees and takes back one of the pages in each region, where one begins every `stride` bytes.
fn by_turns<S: Pages + 'static>(
    name: &'static str,
    mut pages: S,
    first: usize,
    stride: usize,
    count: usize,
    live: &[usize],
) -> Subject<'static> {
    let in_region = |i: usize| {
        let start = first + i * stride + stride / 4;
        live[live.partition_point(|addr| *addr < start)]
    };
    let mut hands: Vec<usize> = (0..count).map(in_region).collect();
    let mut turn = 0;
    Subject::new(name, move || {
        time(PAIRS, || {
            for _ in 0..PAIRS {
                turn = (turn + 97) % hands.len();
                pages.free(hands[turn], S::size(0));
                hands[turn] = black_box(pages.alloc(S::size(0)));
            }
        })
    })
}
