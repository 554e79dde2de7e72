//! Low memory beside more and more fragments of other memory.

use std::hint::black_box;

use super::subjects::{Locked, Pages, PeerBuddySlab, Shared, Single};
use super::{MIB, PAGE};
use crate::harness::{Runner, Subject, time};
use crate::memory::Memory;
use crate::report::Unit;
use crate::target::Target;

pub(super) fn run(runner: &mut Runner) {
    for fragments in [1, 100, 10_000, 100_000] {
        let case = format!("pages lowmem beside {fragments} fragments");
        if !runner.wants(&case) {
            continue;
        }
        runner.compare(
            &case,
            Unit::Less("ns/pair"),
            &[Target::Of(ANY, 2.0), Target::Peer(1.0)],
            vec![
                low::<Shared>(ANY, fragments, |pages| Some(pages.alloc(Shared::size(0)))),
                low::<Shared>(Shared::NAME, fragments, Pages::alloc_low),
                low::<Single>(Single::NAME, fragments, Pages::alloc_low),
                low::<PeerBuddySlab>(PeerBuddySlab::NAME, fragments, Pages::alloc_low),
                low::<Locked<PeerBuddySlab>>(PeerBuddySlab::LOCKED, fragments, Pages::alloc_low),
            ],
        );
    }
}

/// Our allocation without the restriction, beside the same fragments.
const ANY: &str = "any memory";

fn low<S: Pages + 'static>(
    name: &'static str,
    fragments: usize,
    alloc: impl Fn(&mut S) -> Option<usize> + 'static,
) -> Subject<'static> {
    let high = Memory::new(1024 * MIB, 4 << 30);
    let mut pages = S::new(high);
    pages.add(Memory::low(16 * MIB, 16 * MIB));
    let mut live: Vec<usize> = Vec::new();
    loop {
        let addr = pages.alloc(S::size(0));
        if addr == 0 {
            break;
        }
        live.push(addr);
    }
    // Every second page of the high memory is a fragment; some low memory is free, too.
    live.sort_unstable();
    let (below, above) = live.split_at(live.partition_point(|addr| *addr < high.addr()));
    for addr in below.iter().take(64) {
        pages.free(*addr, S::size(0));
    }
    for addr in above.iter().step_by(2).take(fragments) {
        pages.free(*addr, S::size(0));
    }
    let pairs = if [PeerBuddySlab::NAME, PeerBuddySlab::LOCKED].contains(&name) {
        20
    } else {
        5_000
    };
    Subject::new(name, move || {
        time(pairs, || {
            for _ in 0..pairs {
                let addr = black_box(alloc(&mut pages).unwrap_or(0));
                assert!(addr != 0 && (name == ANY || addr + PAGE <= 1 << 32));
                pages.free(addr, S::size(0));
            }
        })
    })
}
