//! A lock that is biased to one CPU.
//!
//! [`BiasedLock`] costs its owner two stores and a load, none of them ordered by hardware or
//! read-modify-write. Whoever else wants in pays for both sides with
//! [`Platform::heavy_barrier`](crate::Platform::heavy_barrier) (see [`presence`](super::presence)).
//!
//! The owner's usual way leads through **gates**: pointers to parts of what is locked. A claim closes them, so a
//! pointer that has to be loaded anyway tells the owner whether it may go on.
//!
//! An interrupt handler on the owner's CPU that finds the lock held by the code it interrupted is
//! turned away at once, and uses the structures behind the per-CPU state instead.

use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;
use core::sync::atomic::Ordering;

#[cfg(all(test, loom))]
mod models;
#[cfg(all(test, not(loom)))]
mod tests;

#[cfg(not(loom))]
use core::cell::UnsafeCell;
#[cfg(not(loom))]
use core::sync::atomic::{AtomicBool, AtomicPtr, fence};
#[cfg(loom)]
use loom::cell::UnsafeCell;
#[cfg(loom)]
use loom::sync::atomic::{AtomicBool, AtomicPtr, fence};

use super::presence::{Inside, Presence};

/// A pointer to a part of what is locked, or, while there is a claim, to one that is nobody's.
type Gate<G> = AtomicPtr<G>;

/// Why the owner was turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The caller is an interrupt handler and interrupted the holder. Until it returns, nobody
    /// else can get the value.
    Nested,
    /// Another CPU has claimed the value.
    Claimed,
}

/// A lock that is cheap for one CPU and possible for the others, around a `T` and all that the gates lead to.
///
/// The owner must not wait for anything while it holds the lock: whoever claims it spins until the
/// owner is out.
#[repr(C)]
pub(crate) struct BiasedLock<T, G, S, const N: usize> {
    /// The owner's.
    presence: Presence,
    /// Another CPU wants to be, or is, inside.
    claimed: AtomicBool,
    /// What is to lie on the cache line of these flags, for whoever makes the gates lead there.
    beside: S,
    value: UnsafeCell<T>,
    /// While there is no claim, each leads to a part of its own.
    gates: [Gate<G>; N],
    /// Where each gate leads when it is open.
    open: [*const G; N],
    /// Where all lead while there is a claim.
    closed: *const G,
}

// SAFETY: the protocol lets one context at a time have the value and the parts; nothing about it refers to a
// thread.
unsafe impl<T: Send, G: Send, S: Send, const N: usize> Sync for BiasedLock<T, G, S, N> {}

impl<T, G, S, const N: usize> BiasedLock<T, G, S, N> {
    /// Makes a lock where it is to be. Its gates lead to the `parts`, which are told where `beside` then is, and while there
    /// is a claim to one that is `closed`.
    ///
    /// # Safety
    ///
    /// `memory` is aligned, long enough, and the caller's. The parts are there as long as the lock is used, and nobody
    /// changes the closed one.
    pub(crate) unsafe fn create(
        mut memory: NonNull<Self>,
        value: T,
        beside: S,
        parts: impl FnOnce(*const S) -> ([*const G; N], *const G),
    ) {
        let lock = Self {
            presence: Presence::outside(),
            claimed: AtomicBool::new(false),
            beside,
            value: UnsafeCell::new(value),
            gates: core::array::from_fn(|_| Gate::new(core::ptr::null_mut())),
            open: [core::ptr::null(); N],
            closed: core::ptr::null(),
        };
        // SAFETY: the caller says that there is room.
        unsafe { memory.write(lock) };
        // SAFETY: it was just written, and is the caller's.
        let lock = unsafe { memory.as_mut() };
        (lock.open, lock.closed) = parts(&raw const lock.beside);
        lock.open_gates();
    }

    fn open_gates(&self) {
        for (gate, part) in self.gates.iter().zip(self.open) {
            gate.store(part.cast_mut(), Ordering::Release);
        }
    }

    /// Goes inside on the owner's CPU, claimed or not; `None` in a handler that interrupted the owner inside, and for a
    /// lock of which there is but [a presence](Presence::ABSENT).
    ///
    /// # Safety
    ///
    /// As for [`Presence::enter`].
    #[inline]
    pub(crate) unsafe fn visit<'a>(own: *const Self) -> Option<Visit<'a, T, G, S, N>> {
        // SAFETY: it comes first in a lock; the caller's duties are the same.
        let inside = unsafe { Presence::enter(own.cast()) }?;
        // SAFETY: it was not held, so there is all of it.
        let lock = unsafe { &*own };
        Some(Visit { lock, inside })
    }

    /// Takes the lock on the owner's CPU, or says at once why that cannot be.
    ///
    /// # Safety
    ///
    /// As for [`visit`](Self::visit).
    #[inline]
    pub(crate) unsafe fn enter(&self) -> Result<OwnerGuard<'_, T, G, S, N>, Refused> {
        // SAFETY: the caller's duties are the same.
        let visit = unsafe { Self::visit(self) }.ok_or(Refused::Nested)?;
        visit.hold().ok_or(Refused::Claimed)
    }

    /// Where a gate leads while there is no claim.
    ///
    /// # Safety
    ///
    /// `index` is below `N`.
    #[inline]
    pub(crate) unsafe fn part(&self, index: usize) -> &G {
        // SAFETY: the caller says so.
        let part = *unsafe { self.open.get_unchecked(index) };
        // SAFETY: `create` was promised that all parts are there.
        unsafe { &*part }
    }

    /// Is the owner inside? On the owner's CPU: did the caller interrupt it?
    #[inline]
    pub(crate) fn is_active(&self) -> bool {
        self.presence.is_inside()
    }

    /// Keeps the owner out from its next visit on; `None` if another claim exists.
    pub(crate) fn claim(&self) -> Option<Claim<'_, T, G, S, N>> {
        self.claimed
            .compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed)
            .ok()?;
        for gate in &self.gates {
            gate.store(self.closed.cast_mut(), Ordering::Relaxed);
        }
        // Before the barriers of other CPUs, and before anything that is done with what is claimed.
        fence(Ordering::SeqCst);
        Some(Claim { lock: self })
    }
}

/// The owner is inside. What is claimed already is not its own, what is not stays its own until the visit is over.
pub(crate) struct Visit<'a, T, G, S, const N: usize> {
    lock: &'a BiasedLock<T, G, S, N>,
    #[expect(dead_code, reason = "the visit is over when this is gone")]
    inside: Inside<'a>,
}

impl<'a, T, G, S, const N: usize> Visit<'a, T, G, S, N> {
    /// Where a gate leads. If that is not where all lead while there is a claim, it is this CPU's own for the visit.
    ///
    /// # Safety
    ///
    /// `index` is below `N`.
    #[inline]
    pub(crate) unsafe fn gate(&self, index: usize) -> &'a G {
        // SAFETY: the caller says so.
        let gate = unsafe { self.lock.gates.get_unchecked(index) };
        // SAFETY: `create` was promised that all parts are there, and the closed one.
        unsafe { &*gate.load(Ordering::Acquire) }
    }

    /// The value.
    ///
    /// # Safety
    ///
    /// A gate was found open in this visit.
    #[inline]
    pub(crate) unsafe fn value(&self) -> &T {
        let value = self.lock.value.get();
        #[cfg(loom)]
        let value = value.with(|value| value);
        // SAFETY: there was no claim when this CPU was inside, so whoever claims waits until it is out; handlers are
        // turned away.
        unsafe { &*value }
    }

    /// All that is locked, unless it is claimed.
    #[inline]
    pub(crate) fn hold(self) -> Option<OwnerGuard<'a, T, G, S, N>> {
        if self.lock.claimed.load(Ordering::Acquire) {
            return None;
        }
        Some(OwnerGuard {
            #[cfg(loom)]
            value: self.lock.value.get_mut(),
            visit: self,
        })
    }
}

/// The owner's access. Gone, the lock is free.
pub(crate) struct OwnerGuard<'a, T, G, S, const N: usize> {
    // Before the visit: it is to be gone when that is over.
    #[cfg(loom)]
    value: loom::cell::MutPtr<T>,
    #[cfg_attr(loom, expect(dead_code, reason = "held, not read"))]
    visit: Visit<'a, T, G, S, N>,
}

impl<T, G, S, const N: usize> OwnerGuard<'_, T, G, S, N> {
    fn ptr(&self) -> *mut T {
        #[cfg(not(loom))]
        return self.visit.lock.value.get();
        #[cfg(loom)]
        return self.value.with(|value| value);
    }
}

impl<T, G, S, const N: usize> Deref for OwnerGuard<'_, T, G, S, N> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the presence keeps claimers waiting, and handlers are turned away.
        unsafe { &*self.ptr() }
    }
}

impl<T, G, S, const N: usize> DerefMut for OwnerGuard<'_, T, G, S, N> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as for `deref`.
        unsafe { &mut *self.ptr() }
    }
}

/// A claim on another CPU's value. Gone, the owner may enter again.
pub(crate) struct Claim<'a, T, G, S, const N: usize> {
    lock: &'a BiasedLock<T, G, S, N>,
}

impl<T, G, S, const N: usize> Claim<'_, T, G, S, N> {
    /// Runs `with` on the value, unless the owner is still inside from before the claim: then
    /// `None`.
    ///
    /// # Safety
    ///
    /// A heavy barrier has been executed since the claim was made.
    pub(crate) unsafe fn access<R>(&mut self, with: impl FnOnce(&mut T) -> R) -> Option<R> {
        if self.lock.is_active() {
            return None;
        }
        #[cfg(not(loom))]
        let value = self.lock.value.get();
        #[cfg(loom)]
        let tracked = self.lock.value.get_mut();
        #[cfg(loom)]
        let value = tracked.with(|value| value);
        // SAFETY: the owner is out, and because of the barrier it sees the claim before it comes
        // in again; there is one claim at a time, and this borrows it.
        Some(with(unsafe { &mut *value }))
    }
}

impl<T, G, S, const N: usize> Drop for Claim<'_, T, G, S, N> {
    fn drop(&mut self) {
        self.lock.open_gates();
        self.lock.claimed.store(false, Ordering::Release);
    }
}
