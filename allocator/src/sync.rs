//! Mutual exclusion that an interrupt handler cannot deadlock.

use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ops::{Deref, DerefMut};

use spin::mutex::{SpinMutex, SpinMutexGuard};

use crate::Platform;

/// A spin lock that is held with interrupts masked: a handler never finds it taken by the code it
/// interrupted on its own CPU.
pub(crate) struct IrqLock<P: Platform, T> {
    inner: SpinMutex<T>,
    platform: PhantomData<fn() -> P>,
}

impl<P: Platform, T> IrqLock<P, T> {
    pub(crate) const fn new(value: T) -> Self {
        Self {
            inner: SpinMutex::new(value),
            platform: PhantomData,
        }
    }

    /// Waits for the lock. Interrupts are masked while it is held, and as they were while it is
    /// waited for: how long that takes is up to other CPUs.
    pub(crate) fn lock(&self) -> IrqGuard<'_, P, T> {
        loop {
            let state = P::irq_save();
            if let Some(inner) = self.inner.try_lock() {
                return IrqGuard {
                    inner: ManuallyDrop::new(inner),
                    state,
                    not_send: PhantomData,
                };
            }
            // SAFETY: `state` comes from the `irq_save` above.
            unsafe { P::irq_restore(state) };
            while self.inner.is_locked() {
                core::hint::spin_loop();
            }
        }
    }
}

impl<P: Platform, T> IrqLock<P, T> {
    /// Takes the lock if nobody has it.
    pub(crate) fn try_lock(&self) -> Option<IrqGuard<'_, P, T>> {
        let state = P::irq_save();
        if let Some(inner) = self.inner.try_lock() {
            return Some(IrqGuard {
                inner: ManuallyDrop::new(inner),
                state,
                not_send: PhantomData,
            });
        }
        // SAFETY: `state` comes from the `irq_save` above.
        unsafe { P::irq_restore(state) };
        None
    }
}

/// Access to the value of an [`IrqLock`]; dropping it releases the lock and then puts the
/// interrupt state back.
pub(crate) struct IrqGuard<'a, P: Platform, T> {
    inner: ManuallyDrop<SpinMutexGuard<'a, T>>,
    state: P::IrqState,
    /// The interrupts of the CPU that took the lock are masked, so no other can release it.
    not_send: PhantomData<*mut ()>,
}

impl<P: Platform, T> Deref for IrqGuard<'_, P, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<P: Platform, T> DerefMut for IrqGuard<'_, P, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

impl<P: Platform, T> Drop for IrqGuard<'_, P, T> {
    fn drop(&mut self) {
        // SAFETY: `inner` is dropped here and nowhere else, and not used afterwards.
        unsafe { ManuallyDrop::drop(&mut self.inner) };
        // SAFETY: `state` comes from the `irq_save` of the `lock` call that made this guard;
        // guards are not `Send`-ed between CPUs because they hold a masked interrupt state.
        unsafe { P::irq_restore(self.state) };
    }
}

/// The caller stays on its CPU as long as this exists.
pub(crate) struct Pinned<P: Platform>(PhantomData<*mut P>);

impl<P: Platform> Pinned<P> {
    #[inline]
    pub(crate) fn new() -> Self {
        P::pin();
        Self(PhantomData)
    }
}

impl<P: Platform> Drop for Pinned<P> {
    #[inline]
    fn drop(&mut self) {
        P::unpin();
    }
}
