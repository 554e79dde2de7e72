//! The last of many regions.

use std::hint::black_box;

use super::subjects::{Locked, Pages, PeerBuddySlab, Shared, Single};
use super::{MIB, PAGE};
use crate::harness::{Runner, Subject, time};
use crate::memory::Memory;

const PAIRS: usize = 5_000;

pub(super) fn run(runner: &mut Runner) {
    for count in [1, 8, 64, 512] {
        for (what, spread) in [("last", false), ("all", true)] {
            let case = format!("pages in {what} of {count} regions");
            if !runner.wants(&case) {
                continue;
            }
            runner.compare(
                &case,
                "ns/pair",
                vec![
                    pair::<Shared>(count, spread),
                    pair::<Single>(count, spread),
                    pair::<PeerBuddySlab>(count, spread),
                    pair::<Locked<PeerBuddySlab>>(count, spread),
                ],
            );
        }
    }
}

/// Fills all regions, then works with a block of order 4, which nobody caches, in the last of
/// them; or, spread, frees and takes back one page in each region by turns.
fn pair<S: Pages + 'static>(count: usize, spread: bool) -> Subject<'static> {
    const LEN: usize = 2 * MIB;
    // Regions do not touch each other, so that they stay as many.
    let memory = Memory::new(count * 2 * LEN, 4 << 30);
    let mut pages = S::new(memory.part(0, LEN));
    for i in 1..count {
        pages.add(memory.part(i * 2 * LEN, LEN));
    }
    let mut live: Vec<usize> = Vec::new();
    loop {
        let addr = pages.alloc(0);
        if addr == 0 {
            break;
        }
        live.push(addr);
    }
    live.sort_unstable();
    if spread {
        let mut hands: Vec<usize> = (0..count)
            .map(|i| {
                let start = memory.addr() + i * 2 * LEN + LEN / 2;
                live[live.partition_point(|addr| *addr < start)]
            })
            .collect();
        let mut turn = 0;
        return Subject::new(S::NAME, move || {
            time(PAIRS, || {
                for _ in 0..PAIRS {
                    turn = (turn + 97) % hands.len();
                    pages.free(hands[turn], 0);
                    hands[turn] = black_box(pages.alloc(0));
                }
            })
        });
    }
    let last = memory.addr() + (count - 1) * 2 * LEN + LEN / 2;
    for addr in live
        .iter()
        .filter(|addr| (last..last + 64 * PAGE).contains(*addr))
    {
        pages.free(*addr, 0);
    }
    Subject::new(S::NAME, move || {
        time(PAIRS, || {
            for _ in 0..PAIRS {
                let addr = black_box(pages.alloc(4));
                assert!(addr >= last);
                pages.free(addr, 4);
            }
        })
    })
}
