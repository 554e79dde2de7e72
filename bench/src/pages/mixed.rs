//! Blocks of all sizes in memory that is half or nearly full.

use std::cell::Cell;
use std::hint::black_box;
use std::rc::Rc;

use super::subjects::{Harness, Locked, Pages, PeerBuddySlab, PeerBuddySystem, Shared, Single};
use super::{MIB, PAGE};
use crate::harness::{Runner, Subject, time};
use crate::memory::Memory;
use crate::random::Random;
use crate::report::Unit;
use crate::target::Target;

const MEMORY: usize = 256 * MIB;
const STEPS: usize = 20_000;

/// How orders are drawn.
#[derive(Clone, Copy)]
enum Orders {
    /// 0 to 9, all as often.
    Uniform,
    /// Each order half as often as the one below.
    Small,
}

impl Orders {
    fn draw(self, random: &mut Random) -> usize {
        match self {
            Self::Uniform => random.below(10),
            Self::Small => (random.next().trailing_zeros() as usize).min(9),
        }
    }
}

pub(super) fn run(runner: &mut Runner) {
    for (orders, name) in [(Orders::Uniform, "uniform"), (Orders::Small, "small")] {
        for percent in [50, 90] {
            let case = format!("pages mixed {name} orders {percent} % full");
            if !runner.wants(&case) {
                continue;
            }
            let ends: [_; 6] = std::array::from_fn(|_| Rc::new(Cell::new(None)));
            runner.compare(
                &case,
                Unit::Less("ns/call"),
                &[Target::Peer(0.75)],
                vec![
                    mixed::<Harness>(orders, percent, &Rc::default()),
                    mixed::<Shared>(orders, percent, &ends[0]),
                    mixed::<Single>(orders, percent, &ends[1]),
                    mixed::<PeerBuddySlab>(orders, percent, &ends[2]),
                    mixed::<Locked<PeerBuddySlab>>(orders, percent, &ends[3]),
                    mixed::<PeerBuddySystem>(orders, percent, &ends[4]),
                    mixed::<Locked<PeerBuddySystem>>(orders, percent, &ends[5]),
                ],
            );
            let names = [
                Shared::NAME,
                Single::NAME,
                PeerBuddySlab::NAME,
                PeerBuddySlab::LOCKED,
                PeerBuddySystem::NAME,
                PeerBuddySystem::LOCKED,
            ];
            let figures = |value: fn(&End) -> f64| {
                let figure = |(name, end): (_, &Rc<Cell<Option<End>>>)| {
                    (name, end.get().as_ref().map_or(0.0, value))
                };
                names.into_iter().zip(&ends).map(figure).collect::<Vec<_>>()
            };
            let largest = figures(|end| end.largest);
            runner.print(
                &format!("{case}: largest order on average"),
                Unit::More("order"),
                &[Target::NoLessThanPeers],
                &largest,
            );
            let failed = figures(|end| end.failed as f64);
            runner.print(
                &format!("{case}: refused"),
                Unit::Less("calls"),
                &[Target::NoMoreThanPeers],
                &failed,
            );
        }
    }
}

/// The state after all rounds so far.
#[derive(Clone, Copy)]
struct End {
    /// The mean of the largest order that could be had after each round.
    largest: f64,
    failed: usize,
}

/// Keeps the given share of the memory allocated: allocates while that fits, else frees a random
/// block.
fn mixed<S: Pages + 'static>(
    orders: Orders,
    percent: usize,
    end: &Rc<Cell<Option<End>>>,
) -> Subject<'static> {
    let mut pages = S::new(Memory::new(MEMORY, 4 << 30).touch());
    let limit = MEMORY / PAGE * percent / 100;
    let mut live: Vec<(usize, usize)> = Vec::with_capacity(MEMORY / PAGE);
    let mut used = 0;
    let mut failed = 0;
    let (mut orders_sum, mut rounds) = (0.0, 0.0);
    let mut random = Random::new(1);
    let end = Rc::clone(end);
    Subject::new(S::NAME, move || {
        let cost = time(STEPS, || {
            for _ in 0..STEPS {
                let order = orders.draw(&mut random);
                if used + (1 << order) <= limit {
                    let addr = pages.alloc(S::size(black_box(order)));
                    if addr != 0 {
                        live.push((addr, order));
                        used += 1 << order;
                        continue;
                    }
                    failed += 1;
                }
                let (addr, order) = live.swap_remove(random.below(live.len()));
                pages.free(addr, S::size(order));
                used -= 1 << order;
            }
        });
        let largest = (0..=20).rev().find(|order| {
            let addr = pages.alloc(S::size(*order));
            if addr != 0 {
                pages.free(addr, S::size(*order));
            }
            addr != 0
        });
        orders_sum += largest.unwrap_or(0) as f64;
        rounds += 1.0;
        end.set(Some(End {
            largest: orders_sum / rounds,
            failed,
        }));
        cost
    })
}
