//! Taking pages out of other CPUs' caches, and sections out of their sight.
//!
//! Whoever drains waits for CPUs that are inside their caches, so it holds no lock of the allocator then: an
//! interrupt handler on such a CPU may need it. A handler that interrupted the allocator itself
//! does not wait for long: the CPU it waits for may be waiting for it. And as that CPU may also be in a handler which waits
//! for a lock that the caller holds, nobody waits for ever, except to remove a section and for such a removal.

use core::ops::Range;
use core::sync::atomic::Ordering;

use super::cache::{BATCH, Claimed, CpuPages};
use super::entry::Entry;
use super::held::Held;
use super::pin::{Moving, is_moving};
use super::shared::{FrameAllocator, Tree};
use super::slow::DRAINS;
use super::stack::Stack;
use crate::patience::Patience;
use crate::sync::IrqGuard;
use crate::sync::Pinned;
use crate::{AllocError, AllocResult, Platform};

/// CPUs that are claimed together, for one barrier.
const GROUP: usize = 64;

/// Blocks that were taken out of a cache, to be given back outside of it.
struct Taken {
    entries: [Entry; BATCH],
    len: usize,
    stack: Option<Stack>,
}

impl Taken {
    /// Takes from the first stack that has something.
    fn from(cpu: &CpuPages, held: &mut Held) -> Self {
        let mut taken = Self {
            entries: [Entry::NONE; BATCH],
            len: 0,
            stack: None,
        };
        held.forget();
        for stack in Stack::all() {
            cpu.close(held, stack);
            taken.len = cpu.take_oldest(held, stack, BATCH, &mut taken.entries);
            if taken.len != 0 {
                taken.stack = Some(stack);
                break;
            }
        }
        taken
    }
}

impl<P: Platform, const PAGE_SIZE: usize> FrameAllocator<P, PAGE_SIZE> {
    /// Gives the pages in all CPUs' caches back to the tree; returns how many. Waits for CPUs that are inside
    /// their caches, but not without end, and leaves what it cannot have.
    pub fn drain_all(&self) -> usize {
        let own = self.drain_own();
        own + self.drain_others(|_| true, &mut self.patience())
    }

    /// The same for one CPU's caches; of a number that no CPU has, it gives back nothing.
    pub fn drain_cpu(&self, cpu: usize) -> usize {
        let own = {
            let _pinned = Pinned::<P>::new();
            P::cpu_id() == cpu
        };
        if own {
            return self.drain_own();
        }
        self.drain_others(|other| other == cpu, &mut self.patience())
    }

    /// Does as [`drain_all`](Self::drain_all), together with whoever else wants the same just now.
    pub(super) fn drain_together(&self, mut patience: Patience) {
        let _pinned = Pinned::<P>::new();
        if self.is_nested() {
            self.drain_all();
            return;
        }
        self.drain_own();
        let is_joined = self.shared.passes.join::<P>(&mut patience, |patience| {
            // Again, for those who wait: handlers may have freed since, while another pass was waited for.
            self.drain_own();
            self.drain_others(|_| true, patience);
        });
        if !is_joined {
            self.drain_others(|_| true, &mut Patience::little());
        }
    }

    /// How long the caller may wait for other CPUs.
    fn patience(&self) -> Patience {
        if self.is_nested() {
            Patience::little()
        } else {
            Patience::much()
        }
    }

    /// Did the caller interrupt the allocator on this CPU? Then others may wait for what it
    /// interrupted, and it must not wait for them.
    pub(crate) fn is_nested(&self) -> bool {
        let _pinned = Pinned::<P>::new();
        let cpu = P::cpu_id();
        self.shared.passes.is_at_one(cpu)
            || self.shared.cpus.get(cpu).is_some_and(|cpu| {
                cpu.lock.is_active() || is_moving(cpu.moves.load(Ordering::Relaxed))
            })
    }

    /// What handlers put into the caches meanwhile may stay: else they could keep this going for ever.
    fn drain_own(&self) -> usize {
        let mut pages = 0;
        for stack in Stack::all() {
            let count = self.with_own(|cpu, held| {
                cpu.close(held, stack);
                cpu.count(stack)
            });
            let mut left = count.unwrap_or(0);
            while left != 0 {
                let mut tree = self.tree.0.lock();
                let moved = self.with_own(|cpu, held| {
                    held.forget();
                    self.spill(&mut tree, cpu, held, stack, BATCH)
                });
                match moved {
                    None | Some(0) => break,
                    Some(moved) => {
                        pages += moved << stack.order().log2();
                        left = left.saturating_sub(moved);
                    }
                }
            }
        }
        pages
    }

    /// Drains the CPUs that are chosen, except this one, those that another context drains, and those
    /// that have nothing: what comes to them meanwhile is freed meanwhile.
    fn drain_others(&self, chosen: impl Fn(usize) -> bool, patience: &mut Patience) -> usize {
        let _moving = Moving::new(self);
        let me = P::cpu_id();
        let mut pages = 0;
        let mut others = self
            .shared
            .cpus
            .iter(P::MAX_CPUS)
            .filter(|(cpu, pages)| *cpu != me && chosen(*cpu) && pages.has_pages());
        loop {
            let mut group = [const { None }; GROUP];
            let mut claimed = 0;
            for (_, cpu) in others.by_ref() {
                if let Some(claim) = cpu.lock.claim() {
                    group[claimed] = Some((cpu, claim));
                    claimed += 1;
                    if claimed == GROUP {
                        break;
                    }
                }
            }
            if claimed == 0 {
                break;
            }
            P::heavy_barrier();
            for (cpu, claim) in group.into_iter().flatten() {
                pages += self.drain_claimed(cpu, claim, patience);
            }
        }
        pages
    }

    /// Drains a CPU that is claimed, with a heavy barrier since; leaves it out if it does not come out of its cache.
    fn drain_claimed(
        &self,
        cpu: &CpuPages,
        mut claim: Claimed<'_>,
        patience: &mut Patience,
    ) -> usize {
        let mut pages = 0;
        let mut wait = patience.for_one();
        loop {
            // SAFETY: the callers executed the barrier after the claim.
            let taken = unsafe { claim.access(|held| Taken::from(cpu, held)) };
            match taken {
                Some(taken) => {
                    let Some(stack) = taken.stack else {
                        return pages;
                    };
                    self.put_back(
                        &mut self.tree.0.lock(),
                        taken.entries[..taken.len].iter().copied(),
                        stack.order(),
                    );
                    pages += taken.len << stack.order().log2();
                }
                None if !wait.look::<P>() => return pages,
                None => {}
            }
        }
    }

    /// Waits until every CPU has been out of its cache at least once since the call, and has
    /// forgotten the sections it knew.
    fn quiesce(&self) {
        self.drain_own();
        // A CPU that another context claims is not visited; that context drains it too, but may
        // have begun before this call. So every CPU is claimed here, one after the other.
        for (_, cpu) in self.shared.cpus.iter(P::MAX_CPUS) {
            let claim = loop {
                if let Some(claim) = cpu.lock.claim() {
                    break claim;
                }
                P::relax();
            };
            P::heavy_barrier();
            self.drain_claimed(cpu, claim, &mut Patience::endless());
        }
    }

    /// The lock of the tree, at a time when no section is half removed.
    pub(super) fn settled(&self) -> IrqGuard<'_, P, Tree<PAGE_SIZE>> {
        loop {
            let tree = self.tree.0.lock();
            if tree.closing.is_none() {
                return tree;
            }
            drop(tree);
            P::relax();
        }
    }

    /// Gives up the section that manages `addr`, while other CPUs go on; see
    /// [`BuddyAllocator::remove_section`](super::BuddyAllocator::remove_section).
    ///
    /// Not for interrupt handlers, and not for a caller that holds a lock which an interrupt handler takes: it waits for all
    /// CPUs, for as long as it takes.
    ///
    /// # Errors
    ///
    /// [`NotFound`](AllocError::NotFound): no section has the address; [`Busy`](AllocError::Busy):
    /// the section has pages out, pages in caches not counted. Whoever tries to allocate just then
    /// may wait for the outcome, and does not fail because of it unless that takes longer than it waits for
    /// other CPUs. [`InvalidParam`](AllocError::InvalidParam): these are the pages of a [`GlobalAllocator`](crate::GlobalAllocator), which
    /// [removes](crate::GlobalAllocator::remove_section) sections itself.
    ///
    /// What a CPU needs at its first call lies in the oldest memory for ever, and, if that is full then, in any: such a section
    /// stays busy.
    pub fn remove_section(&self, addr: usize) -> AllocResult<Range<usize>> {
        if self.shared.has_objects {
            return Err(AllocError::InvalidParam);
        }
        self.remove(addr)
    }

    /// The same for whoever knows of everything that refers to the section.
    pub(crate) fn remove(&self, addr: usize) -> AllocResult<Range<usize>> {
        let index = &self.shared.index;
        self.drain_all();
        let is_nested = self.is_nested();
        let (mut looks, mut arrivals) = (0, None);
        let (section, _moving) = loop {
            // What others have in hand is neither free nor in a cache.
            self.wait_for_moving();
            let moving = Moving::new(self);
            let mut tree = self.settled();
            let section = index.find(addr).ok_or(AllocError::NotFound)?;
            let out = section.pages() - section.free_pages();
            let in_caches = self.cached_pages();
            if out <= in_caches && !is_nested {
                // From here on nobody finds the section without the lock.
                index.remove(section);
                tree.zones.close(section);
                tree.recent = None;
                tree.closing = Some(section);
                break (section, moving);
            }
            looks += 1;
            let before = arrivals.replace(tree.arrivals);
            // Nothing has come since the last look: nothing was in hand then.
            if is_nested || looks == DRAINS || before == arrivals {
                return Err(AllocError::Busy(out.saturating_sub(in_caches)));
            }
        };
        self.quiesce();
        let mut tree = self.tree.0.lock();
        let removed = tree.zones.remove(index, section);
        tree.closing = None;
        tree.recent = None;
        if let Err(busy) = removed {
            tree.zones.reopen(section);
            tree.arrivals += 1;
            index.insert(section);
            return Err(busy);
        }
        self.note_memory(&tree);
        Ok(section.memory())
    }
}
