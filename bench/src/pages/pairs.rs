//! One block at a time, and many at once.

use std::hint::black_box;

use super::subjects::{Floor, Locked, Pages, PeerBuddySlab, PeerBuddySystem, Shared, Single};
use super::{MIB, PAGE};
use crate::harness::{Runner, Subject, time};
use crate::memory::Memory;
use crate::report::Unit;
use crate::target::Target;

const PAIRS: usize = 20_000;
const MEMORY: usize = 256 * MIB;

pub(super) fn run(runner: &mut Runner) {
    for order in [0, 3, 9] {
        let case = format!("pages pair order {order}");
        if runner.wants(&case) {
            runner.compare(
                &case,
                Unit::Less("ns/pair"),
                &[Target::Of(Floor::NAME, 1.6), Target::Peer(1.0)],
                vec![
                    pair::<Floor>(order),
                    pair::<Shared>(order),
                    pair::<Single>(order),
                    pair::<PeerBuddySlab>(order),
                    pair::<Locked<PeerBuddySlab>>(order),
                    pair::<PeerBuddySystem>(order),
                    pair::<Locked<PeerBuddySystem>>(order),
                ],
            );
        }
        let case = format!("pages batch order {order}");
        if runner.wants(&case) {
            runner.compare(
                &case,
                Unit::Less("ns/pair"),
                &[Target::Peer(1.0)],
                vec![
                    batch::<Shared>(order),
                    batch::<Single>(order),
                    batch::<PeerBuddySlab>(order),
                    batch::<Locked<PeerBuddySlab>>(order),
                    batch::<PeerBuddySystem>(order),
                    batch::<Locked<PeerBuddySystem>>(order),
                ],
            );
        }
    }
}

fn pair<S: Pages + 'static>(order: usize) -> Subject<'static> {
    let mut pages = S::new(Memory::new(MEMORY, 4 << 30));
    Subject::repeating(S::NAME, PAIRS, move |count| {
        let size = black_box(S::size(order));
        for _ in 0..count {
            let addr = black_box(pages.alloc(size));
            pages.free(addr, size);
        }
    })
}

/// Three quarters of the memory, at most 10,000 blocks, freed in the order they came.
fn batch<S: Pages + 'static>(order: usize) -> Subject<'static> {
    let mut pages = S::new(Memory::new(MEMORY, 4 << 30).touch());
    let count = (MEMORY / (PAGE << order) * 3 / 4).min(10_000);
    let mut live = Vec::with_capacity(count);
    Subject::new(S::NAME, move || {
        time(count, || {
            let size = black_box(S::size(order));
            for _ in 0..count {
                live.push(pages.alloc(size));
            }
            for addr in live.drain(..) {
                pages.free(addr, size);
            }
        })
    })
}
