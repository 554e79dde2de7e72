//! A lock that is biased to one CPU.
//!
//! [`BiasedLock`] costs its owner two stores and two loads, none of them ordered by hardware or
//! read-modify-write. Whoever else wants in pays for both sides with
//! [`Platform::heavy_barrier`](crate::Platform::heavy_barrier): that idea is Dice, Huang and
//! Yang's "asymmetric Dekker synchronisation" and what `membarrier(2)` was made for.
//!
//! An interrupt handler on the owner's CPU that finds the lock held by the code it interrupted is
//! turned away at once, and uses the structures behind the per-CPU state instead.

use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::Ordering;

#[cfg(loom)]
pub(crate) use self::modelled::light_barrier;
#[cfg(loom)]
use self::modelled::{AtomicBool, UnsafeCell};
#[cfg(not(loom))]
pub(crate) use self::real::light_barrier;
#[cfg(not(loom))]
use self::real::{AtomicBool, UnsafeCell};

/// Why the owner was turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The caller is an interrupt handler and interrupted the holder. Until it returns, nobody
    /// else can get the value.
    Nested,
    /// Another CPU has claimed the value.
    Claimed,
}

/// A lock that is cheap for one CPU and possible for the others.
///
/// The owner must not wait for anything while it holds the lock: whoever claims it spins until the
/// owner is out.
#[repr(C)]
pub(crate) struct BiasedLock<T> {
    /// The owner is inside. Written by the owner only.
    active: AtomicBool,
    /// Another CPU wants to be, or is, inside.
    claimed: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: the protocol lets one context at a time have the value; nothing about it refers to a
// thread.
unsafe impl<T: Send> Sync for BiasedLock<T> {}

impl<T> BiasedLock<T> {
    #[cfg(any(test, loom))]
    pub(crate) fn new(value: T) -> Self {
        Self {
            active: AtomicBool::new(false),
            claimed: AtomicBool::new(false),
            value: UnsafeCell::new(value),
        }
    }

    /// The value of a lock that nobody else knows.
    #[cfg(not(loom))]
    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }

    /// Takes the lock on the owner's CPU, or says at once why that cannot be.
    ///
    /// # Safety
    ///
    /// The caller runs on the CPU that owns this lock and is not moved to another one, and no
    /// context but interrupt handlers runs on this CPU, until the guard is gone.
    #[inline]
    pub(crate) unsafe fn enter(&self) -> Result<OwnerGuard<'_, T>, Refused> {
        // Where the owner is inside, this changes nothing. One look at both flags instead of two.
        let is_nested = self.active.load(Ordering::Relaxed);
        self.active.store(true, Ordering::Relaxed);
        // Either this CPU sees the claim below, or the claimer, behind its heavy barrier, sees
        // `active`.
        light_barrier();
        if is_nested | self.claimed.load(Ordering::Acquire) {
            return Err(self.refuse(is_nested));
        }
        Ok(OwnerGuard {
            lock: self,
            #[cfg(loom)]
            value: self.value.get_mut(),
            not_send: PhantomData,
        })
    }

    /// Says why the owner is turned away.
    #[inline]
    fn refuse(&self, is_nested: bool) -> Refused {
        if is_nested {
            return Refused::Nested;
        }
        self.active.store(false, Ordering::Release);
        Refused::Claimed
    }

    /// Is the owner inside? On the owner's CPU: did the caller interrupt it?
    #[inline]
    pub(crate) fn is_active(&self) -> bool {
        self.active.load(Ordering::Acquire)
    }

    /// Keeps the owner out from its next visit on; `None` if another claim exists.
    pub(crate) fn claim(&self) -> Option<Claim<'_, T>> {
        self.claimed
            .compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed)
            .ok()?;
        Some(Claim { lock: self })
    }
}

/// The owner's access. Gone, the lock is free.
pub(crate) struct OwnerGuard<'a, T> {
    lock: &'a BiasedLock<T>,
    #[cfg(loom)]
    value: loom::cell::MutPtr<T>,
    not_send: PhantomData<*mut ()>,
}

impl<T> OwnerGuard<'_, T> {
    fn ptr(&self) -> *mut T {
        #[cfg(not(loom))]
        return self.lock.value.get();
        #[cfg(loom)]
        return self.value.with(|value| value);
    }
}

impl<T> Deref for OwnerGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: `active` keeps claimers waiting, and handlers are turned away.
        unsafe { &*self.ptr() }
    }
}

impl<T> DerefMut for OwnerGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as for `deref`.
        unsafe { &mut *self.ptr() }
    }
}

impl<T> Drop for OwnerGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.active.store(false, Ordering::Release);
    }
}

/// A claim on another CPU's value. Gone, the owner may enter again.
pub(crate) struct Claim<'a, T> {
    lock: &'a BiasedLock<T>,
}

impl<T> Claim<'_, T> {
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

impl<T> Drop for Claim<'_, T> {
    fn drop(&mut self) {
        self.lock.claimed.store(false, Ordering::Release);
    }
}

#[cfg(not(loom))]
mod real {
    pub(super) use core::cell::UnsafeCell;
    pub(super) use core::sync::atomic::AtomicBool;
    use core::sync::atomic::Ordering;

    /// Keeps the compiler from moving accesses across; the hardware is held by the heavy barrier.
    #[inline]
    pub(crate) fn light_barrier() {
        core::sync::atomic::compiler_fence(Ordering::SeqCst);
    }
}

/// The same, under the model checker. It has no barrier that one thread executes on behalf of
/// another, so both sides have a full one: the pair orders the same accesses.
#[cfg(loom)]
mod modelled {
    pub(super) use loom::cell::UnsafeCell;
    pub(super) use loom::sync::atomic::AtomicBool;
    use loom::sync::atomic::Ordering;

    pub(crate) fn light_barrier() {
        loom::sync::atomic::fence(Ordering::SeqCst);
    }
}

#[cfg(all(test, loom))]
mod models {
    use loom::sync::Arc;
    use loom::sync::atomic::fence;
    use loom::thread;

    use super::*;

    fn enter(lock: &BiasedLock<usize>) -> bool {
        // SAFETY: one thread of a model is the owner.
        match unsafe { lock.enter() } {
            Ok(mut value) => {
                *value += 1;
                // SAFETY: as above; this is the interrupt.
                assert!(matches!(unsafe { lock.enter() }, Err(Refused::Nested)));
                true
            }
            Err(refused) => {
                assert_eq!(refused, Refused::Claimed);
                false
            }
        }
    }

    fn claim(lock: &BiasedLock<usize>) -> bool {
        let Some(mut claim) = lock.claim() else {
            return false;
        };
        fence(Ordering::SeqCst);
        // SAFETY: the barrier was just executed.
        while unsafe { claim.access(|value| *value += 1) }.is_none() {
            thread::yield_now();
        }
        true
    }

    fn model(claimers: usize, visits: usize) {
        loom::model(move || {
            let lock = Arc::new(BiasedLock::new(0));
            let others: std::vec::Vec<_> = (0..claimers)
                .map(|_| {
                    let lock = Arc::clone(&lock);
                    thread::spawn(move || usize::from(claim(&lock)))
                })
                .collect();
            let mut expected: usize = (0..visits).map(|_| usize::from(enter(&lock))).sum();
            for other in others {
                expected += other.join().unwrap();
            }
            let mut last = lock.claim().expect("all claims are gone");
            fence(Ordering::SeqCst);
            // SAFETY: the barrier was just executed.
            assert_eq!(unsafe { last.access(|value| *value) }, Some(expected));
        });
    }

    #[test]
    fn loom_owner_and_claimer_exclude_each_other() {
        model(1, 2);
    }

    #[test]
    fn loom_two_claimers_exclude_each_other() {
        model(2, 1);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_handler_is_turned_away_and_a_claim_keeps_the_owner_out() {
        let lock = BiasedLock::new(1);
        // SAFETY: this thread is the owner, here and below.
        let guard = unsafe { lock.enter() };
        // SAFETY: as above.
        assert!(matches!(unsafe { lock.enter() }, Err(Refused::Nested)));
        let mut claim = lock.claim().unwrap();
        assert!(lock.claim().is_none());
        // SAFETY: on one thread the program order is the barrier.
        assert_eq!(unsafe { claim.access(|value| *value) }, None);
        drop(guard);
        // SAFETY: as above.
        let replaced = unsafe { claim.access(|value| core::mem::replace(value, 7)) };
        assert_eq!(replaced, Some(1));
        // SAFETY: as above.
        assert!(matches!(unsafe { lock.enter() }, Err(Refused::Claimed)));
        drop(claim);
        // SAFETY: as above.
        assert_eq!(*unsafe { lock.enter() }.ok().unwrap(), 7);
        assert!(!lock.is_active());
    }
}
