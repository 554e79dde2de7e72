//! The usual way to a CPU's own pages.

use super::cache::{CpuPages, Lock, Own};
use super::held::Held;
use super::lane::{Bank, Lane};
use super::stack::{STACKS, Slot};
use crate::percpu::Visit;

/// The usual way to a CPU's stacks: not a look at whether somebody has claimed them, for then none has entries or room.
pub(super) struct Turn<'a> {
    cpu: &'a CpuPages,
    visit: Visit<'a, Held, Lane, Bank, STACKS>,
}

impl<'a> Turn<'a> {
    /// Begins on the CPU itself; `None` for a handler that interrupted one, and for a CPU that has no caches.
    ///
    /// # Safety
    ///
    /// As for [`BiasedLock::visit`](crate::percpu::BiasedLock::visit); `own` stays for `'a`, or is
    /// [`ABSENT`](crate::percpu::PerCpu::ABSENT).
    #[inline(always)]
    pub(super) unsafe fn begin(own: *const CpuPages) -> Option<Self> {
        // SAFETY: the caller says so, and the lock comes first.
        let visit = unsafe { Lock::visit(own.cast()) }?;
        // SAFETY: its lock was not held, so it is not the absent one.
        let cpu = unsafe { &*own };
        Some(Self { cpu, visit })
    }

    /// The caches themselves, unless they are claimed.
    #[inline]
    pub(super) fn hold(self) -> Option<(&'a CpuPages, Own<'a>)> {
        let held = self.visit.hold()?;
        Some((self.cpu, held))
    }

    /// Takes a block, if the topmost one is in the right state.
    #[inline(always)]
    pub(super) fn pop(&self, slot: Slot) -> Option<usize> {
        // SAFETY: the index of a slot is below `STACKS`.
        let lane = unsafe { self.visit.gate(slot.index()) };
        let cached = slot.cached();
        // SAFETY: if it has entries, it is not where gates lead while somebody has claimed them.
        let entry = unsafe { lane.pop_if(|entry| entry.exchange(cached, cached.out_of_cache())) }?;
        Some(entry.addr)
    }

    /// Adds a block, if it is allocated, lies where the CPU freed lately in memory of that group, and there is room.
    #[inline(always)]
    pub(super) fn push<const PAGE_SIZE: usize>(&self, addr: usize, slot: Slot) -> bool {
        // SAFETY: the index of a slot is below `STACKS`.
        let lane = unsafe { self.visit.gate(slot.index()) };
        let find = || {
            // SAFETY: there is room, so the gate was open.
            let held = unsafe { self.visit.value() };
            held.recents
                .of(slot.group())
                .take_in::<PAGE_SIZE>(addr, slot.cached())
        };
        // SAFETY: as in `pop`.
        unsafe { lane.push_if(find) }
    }
}
