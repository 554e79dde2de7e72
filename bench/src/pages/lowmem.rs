//! Low memory beside more and more fragments of other memory.

use std::hint::black_box;

use super::subjects::{Locked, Pages, PeerBuddySlab, Shared, Single};
use super::{MIB, PAGE};
use crate::harness::{Runner, Subject, time};
use crate::memory::Memory;

pub(super) fn run(runner: &mut Runner) {
    for fragments in [1, 100, 10_000, 100_000] {
        let case = format!("pages lowmem beside {fragments} fragments");
        if !runner.wants(&case) {
            continue;
        }
        runner.compare(
            &case,
            "ns/pair",
            vec![
                low::<Shared>(fragments),
                low::<Single>(fragments),
                low::<PeerBuddySlab>(fragments),
                low::<Locked<PeerBuddySlab>>(fragments),
            ],
        );
    }
}

fn low<S: Pages + 'static>(fragments: usize) -> Subject<'static> {
    let high = Memory::new(1024 * MIB, 4 << 30);
    let mut pages = S::new(high);
    pages.add(Memory::low(16 * MIB, 16 * MIB));
    let mut live: Vec<usize> = Vec::new();
    loop {
        let addr = pages.alloc(0);
        if addr == 0 {
            break;
        }
        live.push(addr);
    }
    // Every second page of the high memory is a fragment; some low memory is free, too.
    live.sort_unstable();
    let (below, above) = live.split_at(live.partition_point(|addr| *addr < high.addr()));
    for addr in below.iter().take(64) {
        pages.free(*addr, 0);
    }
    for addr in above.iter().step_by(2).take(fragments) {
        pages.free(*addr, 0);
    }
    let pairs = if S::NAME.starts_with(PeerBuddySlab::NAME) {
        20
    } else {
        5_000
    };
    Subject::new(S::NAME, move || {
        time(pairs, || {
            for _ in 0..pairs {
                let addr = black_box(pages.alloc_low().unwrap_or(0));
                assert!(addr != 0 && addr + PAGE <= 1 << 32);
                pages.free(addr, 0);
            }
        })
    })
}
