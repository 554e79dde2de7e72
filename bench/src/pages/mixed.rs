//! Blocks of all sizes in memory that is half or nearly full.

use std::cell::Cell;
use std::hint::black_box;
use std::rc::Rc;

use fastrand::Rng;

use super::subjects::{Harness, Locked, Pages, PeerBuddySlab, PeerBuddySystem, Shared, Single};
use super::{MIB, PAGE};
use crate::harness::{Runner, Subject, time};
use crate::memory::Memory;
use crate::report::Unit;
use crate::target::Target;

const MEMORY: usize = 256 * MIB;
const STEPS: usize = 20_000;

/// Loads and rounds in each of them for the largest order.
const LOADS: u64 = 10;
const ROUNDS: u64 = 100;

/// How orders are drawn.
#[derive(Clone, Copy)]
enum Orders {
    /// 0 to 9, all as often.
    Uniform,
    /// Each order half as often as the one below.
    Small,
}

impl Orders {
    fn draw(self, random: &mut Rng) -> usize {
        match self {
            Self::Uniform => random.usize(..10),
            Self::Small => (random.u64(..).trailing_zeros() as usize).min(9),
        }
    }
}

pub(super) fn run(runner: &mut Runner) {
    // For one allocator after the other.
    let memory = Memory::new(MEMORY, 4 << 30);
    for (orders, name) in [(Orders::Uniform, "uniform"), (Orders::Small, "small")] {
        for percent in [50, 90] {
            let case = format!("pages mixed {name} orders {percent} % full");
            if !runner.wants(&case) {
                continue;
            }
            let refused: [_; 6] = std::array::from_fn(|_| Rc::new(Cell::new(0)));
            runner.compare(
                &case,
                Unit::Less("ns/call"),
                &[Target::Peer(0.75)],
                vec![
                    mixed::<Harness>(orders, percent, &Rc::default()),
                    mixed::<Shared>(orders, percent, &refused[0]),
                    mixed::<Single>(orders, percent, &refused[1]),
                    mixed::<PeerBuddySlab>(orders, percent, &refused[2]),
                    mixed::<Locked<PeerBuddySlab>>(orders, percent, &refused[3]),
                    mixed::<PeerBuddySystem>(orders, percent, &refused[4]),
                    mixed::<Locked<PeerBuddySystem>>(orders, percent, &refused[5]),
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
            let shared = largest::<Shared>(memory, orders, percent);
            let single = largest::<Single>(memory, orders, percent);
            let slab = largest::<PeerBuddySlab>(memory, orders, percent);
            let system = largest::<PeerBuddySystem>(memory, orders, percent);
            // A lock makes no difference.
            let largest = [shared, single, slab, slab, system, system];
            runner.print(
                &format!("{case}: largest order on average"),
                Unit::More("order"),
                &[Target::NoLessThanPeers],
                &names.into_iter().zip(largest).collect::<Vec<_>>(),
            );
            let refused = names.into_iter().zip(&refused);
            let refused: Vec<_> = refused
                .map(|(name, calls)| (name, calls.get() as f64))
                .collect();
            runner.print(
                &format!("{case}: refused"),
                Unit::Less("calls"),
                &[Target::NoMoreThanPeers],
                &refused,
            );
        }
    }
}

/// Keeps the given share of the memory allocated: allocates while that fits, else frees a random
/// block.
struct Load<S> {
    pages: S,
    orders: Orders,
    limit: usize,
    used: usize,
    live: Vec<(usize, usize)>,
    random: Rng,
    /// Calls that failed.
    refused: usize,
}

impl<S: Pages> Load<S> {
    fn new(memory: Memory, orders: Orders, percent: usize, seed: u64) -> Self {
        Self {
            pages: S::new(memory),
            orders,
            limit: MEMORY / PAGE * percent / 100,
            used: 0,
            live: Vec::with_capacity(MEMORY / PAGE),
            random: Rng::with_seed(seed),
            refused: 0,
        }
    }

    #[inline]
    fn run(&mut self) {
        for _ in 0..STEPS {
            let order = self.orders.draw(&mut self.random);
            if self.used + (1 << order) <= self.limit {
                let addr = self.pages.alloc(S::size(black_box(order)));
                if addr != 0 {
                    self.live.push((addr, order));
                    self.used += 1 << order;
                    continue;
                }
                self.refused += 1;
            }
            let (addr, order) = self.live.swap_remove(self.random.usize(..self.live.len()));
            self.pages.free(addr, S::size(order));
            self.used -= 1 << order;
        }
    }

    /// The largest order that can be had.
    fn largest(&mut self) -> usize {
        let largest = (0..=20).rev().find(|order| {
            let addr = self.pages.alloc(S::size(*order));
            if addr != 0 {
                self.pages.free(addr, S::size(*order));
            }
            addr != 0
        });
        largest.unwrap_or(0)
    }
}

fn mixed<S: Pages + 'static>(
    orders: Orders,
    percent: usize,
    refused: &Rc<Cell<usize>>,
) -> Subject<'static> {
    let mut load = Load::<S>::new(Memory::new(MEMORY, 4 << 30).touch(), orders, percent, 1);
    let refused = Rc::clone(refused);
    Subject::new(S::NAME, move || {
        let cost = time(STEPS, || load.run());
        // Empties caches, as every demand for a large block does.
        load.largest();
        refused.set(load.refused);
        cost
    })
}

/// The mean of the largest order that could be had after each round. In a single load that is a tenth or two of an order more or
/// less by chance, as the largest blocks stay or go for many rounds: hence several.
fn largest<S: Pages>(memory: Memory, orders: Orders, percent: usize) -> f64 {
    let mut sum = 0;
    for seed in 1..=LOADS {
        let mut load = Load::<S>::new(memory, orders, percent, seed);
        for _ in 0..ROUNDS {
            load.run();
            sum += load.largest();
        }
    }
    sum as f64 / (LOADS * ROUNDS) as f64
}
