//! The right to claim magazines, which one context at a time has.
//!
//! It is held with interrupts on, so a handler may find that it interrupted the holder. Such a handler
//! must not wait, and knows it by the holder's CPU: who holds the right stays on its CPU.

#[cfg(all(test, loom))]
mod models;

use super::allocator::ObjectAllocator;
use super::atomic::{Ordering, StaticUsize};
use super::cpu::CpuState;
use crate::Platform;
use crate::patience::Patience;
use crate::sync::Pinned;

/// Who has the right: 0 is nobody, else it is the number of the CPU and 1.
pub(super) struct Claimant(StaticUsize);

impl Claimant {
    pub(super) const fn nobody() -> Self {
        Self(StaticUsize::new(0))
    }
}

/// While this exists, nobody else claims.
pub(super) struct Exclusive<'a, P: Platform> {
    claimant: &'a Claimant,
    _pinned: Pinned<P>,
}

impl<P: Platform> Drop for Exclusive<'_, P> {
    fn drop(&mut self) {
        self.claimant.0.store(0, Ordering::Release);
    }
}

impl<P: Platform, const PAGE_SIZE: usize> ObjectAllocator<P, PAGE_SIZE> {
    /// Takes the right to claim, if nobody has it.
    pub(super) fn try_exclusive(&self) -> Option<Exclusive<'_, P>> {
        let pinned = Pinned::<P>::new();
        let me = P::cpu_id() + 1;
        let claimant = &self.claimant;
        let taken = claimant
            .0
            .compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed);
        taken.ok().map(|_| Exclusive {
            claimant,
            _pinned: pinned,
        })
    }

    /// Takes the right to claim as soon as nobody else has it; `None` when patience is at its end.
    pub(super) fn exclusive(&self, patience: &mut Patience) -> Option<Exclusive<'_, P>> {
        let mut exclusive = None;
        patience.wait::<P>(|| {
            exclusive = self.try_exclusive();
            exclusive.is_some()
        });
        exclusive
    }

    /// Whether the caller is a handler that interrupted a turn, a drain, or who has the right to claim.
    pub(super) fn is_nested(&self) -> bool {
        let _pinned = Pinned::<P>::new();
        let id = P::cpu_id();
        self.claimant.0.load(Ordering::Relaxed) == id + 1
            || self.passes.is_at_one(id)
            || self.cpus.get(id).is_some_and(CpuState::is_active)
    }
}
