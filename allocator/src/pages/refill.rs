//! Filling a CPU's stacks from the tree, and emptying them into it.

use core::sync::atomic::{AtomicUsize, Ordering};

use super::cache::{BATCH, CpuPages, Vacant};
use super::entry::{Entry, allocated, cached, entry};
use super::frame::{Order, Pfn};
use super::held::Held;
use super::node::Node;
use super::request::Demand;
use super::section::SectionRef;
use super::share::Share;
use super::shared::{FrameAllocator, Tree};
use super::stack::Stack;
use super::state::PageState;
use super::zones::Zones;
use crate::{AllocError, AllocResult, Platform};

impl<const PAGE_SIZE: usize> Tree<PAGE_SIZE> {
    /// How much a stack of a CPU may hold now.
    #[inline]
    pub(super) fn share(&self) -> Share {
        let zones = &self.zones;
        self.sharers
            .share(zones.total_free(), zones.total_pages(), zones.high())
    }
}

impl<P: Platform, const PAGE_SIZE: usize> FrameAllocator<P, PAGE_SIZE> {
    /// Puts a block into this CPU's cache where [`push`](Self::push) did not because of the address or the count.
    pub(super) fn free_to_cache(&self, addr: usize, count: usize, stack: Stack) -> bool {
        let pushed = self.with_own(|cpu, held| {
            let is_tried = count == stack.order().pages() && self.usual_group(held, addr).is_some();
            !is_tried && self.push_to(cpu, held, addr, stack)
        });
        pushed.unwrap_or(false)
    }

    /// Puts a block into this CPU's cache after making room there, if that is all it takes.
    pub(super) fn free_with_spill(
        &self,
        tree: &mut Tree<PAGE_SIZE>,
        addr: usize,
        stack: Stack,
    ) -> bool {
        self.ensure_cpu(tree, 0);
        self.with_own(|cpu, held| {
            let Some(group) = self.known_group(held, addr) else {
                return false;
            };
            let stack = stack.within(group);
            if cpu.is_full(held, stack) {
                cpu.set_limit(held, stack, tree.share());
            }
            if cpu.is_full(held, stack) {
                let surplus = cpu.surplus(held, stack);
                // To free one for another takes longer than to free that one.
                if surplus <= 1 {
                    return false;
                }
                count_one(&cpu.drains);
                let going = cpu.to_drain::<PAGE_SIZE>(held, stack, surplus);
                self.spill(tree, cpu, held, stack, going);
            }
            cpu.push_known::<PAGE_SIZE>(held, addr, stack, group)
        })
        .unwrap_or(false)
    }

    /// Gives up to `limit` of the oldest blocks of a stack back to the tree, at most a batch; returns how many.
    pub(super) fn spill(
        &self,
        tree: &mut Tree<PAGE_SIZE>,
        cpu: &CpuPages,
        held: &mut Held,
        stack: Stack,
        limit: usize,
    ) -> usize {
        let moved = cpu.count(stack).min(limit).min(BATCH);
        self.put_back(
            tree,
            cpu.entries(held, stack)[..moved].iter().copied(),
            stack.order(),
        );
        cpu.drop_oldest(held, stack, moved);
        moved
    }

    /// Whether this CPU's caches have the block of `order` at `addr`, and can be had now.
    pub(super) fn has_own(&self, addr: usize, order: Order) -> bool {
        let found = self.with_own(|cpu, held| {
            Stack::both(order).any(|stack| cpu.find(held, stack, addr).is_some())
        });
        found.unwrap_or(false)
    }

    /// Gives the block of `order` at `addr` back to the tree, if this CPU's caches have it.
    pub(super) fn give_back_own(&self, tree: &mut Tree<PAGE_SIZE>, addr: usize, order: Order) {
        let taken = self
            .with_own(|cpu, held| Stack::both(order).find_map(|stack| cpu.take(held, stack, addr)));
        self.put_back(tree, taken.flatten().into_iter(), order);
    }

    /// Frees blocks that are taken out of a cache. Those that follow each other go back as one run, up or down.
    pub(super) fn put_back(
        &self,
        tree: &mut Tree<PAGE_SIZE>,
        entries: impl Iterator<Item = Entry>,
        order: Order,
    ) {
        let bytes = PAGE_SIZE << order.log2();
        let mut run: Option<Run> = None;
        for entry in entries {
            tree.arrivals += 1;
            if !entry.exchange(cached(order), PageState::NOTHING) {
                // Reported by whoever asks: not with the lock held.
                self.count_corrupted();
                continue;
            }
            if run
                .as_mut()
                .is_some_and(|run| run.take_in(entry.addr, bytes))
            {
                continue;
            }
            let next = self.begin_run(tree, entry.addr, bytes);
            if let Some(done) = core::mem::replace(&mut run, next) {
                done.free(tree, order);
            }
        }
        if let Some(done) = run {
            done.free(tree, order);
        }
    }

    /// A run of one block that was in a cache.
    #[inline]
    fn begin_run(&self, tree: &mut Tree<PAGE_SIZE>, addr: usize, bytes: usize) -> Option<Run> {
        let Ok((section, _)) = self.locate(tree, addr) else {
            self.count_corrupted();
            return None;
        };
        tree.recent = Some(section);
        Some(Run {
            section,
            start: addr,
            end: addr + bytes,
        })
    }

    /// Takes a block and fills this CPU's empty stack, if it may have something.
    #[inline]
    pub(super) fn refill(
        &self,
        tree: &mut Tree<PAGE_SIZE>,
        demand: &Demand,
        node: Node,
        stack: Stack,
    ) -> Option<AllocResult<(SectionRef, Pfn)>> {
        let share = tree.share();
        // Interrupts are masked by the lock of the tree, so this CPU is pinned.
        self.with_own(|cpu, held| {
            let free = tree.zones.total_free();
            if held.ebb.is_low(free, share.is_plenty()) && self.trim(tree, cpu, held, share) {
                return None;
            }
            cpu.set_limit(held, stack, share);
            let limit = share.fetched(stack);
            if limit == 0 || cpu.count(stack) != 0 {
                return None;
            }
            count_one(&cpu.refills);
            // One block, and as many more as make that one block of a larger order.
            #[expect(clippy::cast_possible_truncation, reason = "a batch is small")]
            let batch = 1 << (limit / 2 + 1).clamp(2, BATCH as u32).ilog2();
            // Where this is not the first time since blocks went back, many are being allocated. Then no larger one is split for the
            // second half: the rest of that would be in small pieces the next time, and so on.
            let enough = if held.is_drained(stack) { 0 } else { batch / 2 };
            let mut room = cpu.vacant(held, stack, batch - 1);
            let taken = Self::fill(
                &mut tree.zones,
                demand,
                node,
                held,
                &mut room,
                enough as usize,
            );
            cpu.occupy(held, stack, &room);
            // Without others this CPU would get that one again and again, and each time from the tree.
            if let Ok((section, pfn)) = taken
                && cpu.count(stack) != 0
            {
                section.call_back_from_end(pfn, demand.order);
            }
            Some(taken)
        })?
    }

    /// Takes a block, and others for the room in this CPU's cache: a large block that is split for them is
    /// split once, and none when no more than `enough` are missing. The lowest ones are to be taken first, so that memory stays
    /// together at the high end.
    #[inline(never)]
    fn fill(
        zones: &mut Zones<PAGE_SIZE>,
        demand: &Demand,
        node: Node,
        held: &mut Held,
        room: &mut Vacant,
        enough: usize,
    ) -> AllocResult<(SectionRef, Pfn)> {
        let order = demand.order;
        let mut first = None;
        let mut wanted = room.len() + 1;
        let mut put = |section: SectionRef, mut pfn: Pfn, pages: usize| {
            let mut blocks = pages >> order.log2();
            if first.is_none() {
                section.set_state(pfn, allocated(order));
                first = Some((section, pfn));
                pfn = pfn.add(order.pages());
                blocks -= 1;
            }
            if blocks != 0 {
                let next = entry::<PAGE_SIZE>(section, pfn);
                // SAFETY: these blocks are the section's.
                unsafe { room.put_many::<PAGE_SIZE>(held, next, order, blocks) };
            }
        };
        loop {
            let most = Order::within(wanted << order.log2()).unwrap_or(order);
            let (section, pfn, pages) = match zones.allocate_up_to(demand, most, node) {
                Ok(taken) => taken,
                Err(error) => return first.ok_or(error),
            };
            put(section, pfn, pages);
            wanted -= pages >> order.log2();
            wanted = zones.allocate_more(section, demand, wanted, enough, |pfn, pages| {
                put(section, pfn, pages);
            });
            if wanted <= enough {
                return first.ok_or(AllocError::NoMemory);
            }
        }
    }
}

/// Blocks of a section that follow each other, by their addresses.
struct Run {
    section: SectionRef,
    start: usize,
    end: usize,
}

impl Run {
    /// Takes the block of so many bytes in, if it is the one before or behind.
    #[inline]
    fn take_in(&mut self, addr: usize, bytes: usize) -> bool {
        if addr == self.end && addr < self.section.end() {
            self.end += bytes;
            return true;
        }
        if addr + bytes == self.start && self.section.start() <= addr {
            self.start = addr;
            return true;
        }
        false
    }

    /// Gives the pages back, which have no state any more, and were blocks of `order`.
    #[inline]
    fn free<const PAGE_SIZE: usize>(self, tree: &mut Tree<PAGE_SIZE>, order: Order) {
        let first = self.section.pfn::<PAGE_SIZE>(self.start);
        let limit = first.add((self.end - self.start) / PAGE_SIZE);
        tree.zones.free_cached(self.section, first, limit, order);
    }
}

/// Adds one to what only the holder of a CPU's lock writes: no atomic read-modify-write.
#[inline]
fn count_one(counter: &AtomicUsize) {
    counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}
