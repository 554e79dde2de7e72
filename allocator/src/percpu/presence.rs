//! Whether a CPU is inside what is its own.
//!
//! A CPU says so with a plain store, and then looks whether it may: at a pointer or a flag that whoever wants in from
//! elsewhere has changed, before they executed [`Platform::heavy_barrier`](crate::Platform::heavy_barrier) and waited
//! for the CPU to be outside. Either the CPU sees that change, or the other one sees that it is inside: Dekker's
//! algorithm, where one side pays for both (Dice, Huang and Yang, "Asymmetric Dekker Synchronization"; `membarrier(2)`).

use core::marker::PhantomData;
use core::sync::atomic::Ordering;

#[cfg(loom)]
use self::modelled::{AtomicBool, light_barrier, read_own};
#[cfg(not(loom))]
use self::real::{AtomicBool, light_barrier, read_own};

/// The flag of a CPU, which comes first in what is its own. Written by that CPU only.
#[repr(transparent)]
pub(crate) struct Presence(AtomicBool);

/// As much of what is a CPU's own as [`Presence::enter`] looks at, where there is no more: the CPU is inside for ever.
/// Never written to.
#[cfg(not(loom))]
static ABSENT: Presence = Presence(AtomicBool::new(true));

impl Presence {
    /// Stands for that of a CPU that has nothing.
    #[cfg(not(loom))]
    pub(crate) const ABSENT: *const Self = &raw const ABSENT;

    /// The model checker's atomics cannot be static.
    #[cfg(loom)]
    pub(crate) const ABSENT: *const Self = core::ptr::null();

    pub(crate) fn outside() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Goes inside; `None` in a handler that interrupted the CPU inside, and for [`ABSENT`](Self::ABSENT).
    ///
    /// # Safety
    ///
    /// The caller runs on the CPU whose flag this is and is not moved to another one, and no context but
    /// interrupt handlers runs on this CPU, until the result is gone. `own` stays for `'a`, or is absent.
    #[inline]
    pub(crate) unsafe fn enter<'a>(own: *const Self) -> Option<Inside<'a>> {
        #[cfg(loom)]
        if own.is_null() {
            return None;
        }
        // SAFETY: the caller says that it stays; and so does what is absent.
        let Self(flag) = unsafe { &*own };
        // SAFETY: only this CPU writes it, and a handler leaves it as it found it.
        if unsafe { read_own(flag) } {
            return None;
        }
        flag.store(true, Ordering::Relaxed);
        // The hardware is held by the heavy barrier of whoever wants in.
        light_barrier();
        Some(Inside {
            flag,
            not_send: PhantomData,
        })
    }

    /// Is the CPU inside? On that CPU: did the caller interrupt it?
    #[inline]
    pub(crate) fn is_inside(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// The CPU is inside. Gone, it is not.
pub(crate) struct Inside<'a> {
    flag: &'a AtomicBool,
    not_send: PhantomData<*mut ()>,
}

impl Drop for Inside<'_> {
    #[inline]
    fn drop(&mut self) {
        self.flag.store(false, Ordering::Release);
    }
}

#[cfg(not(loom))]
mod real {
    pub(super) use core::sync::atomic::AtomicBool;
    use core::sync::atomic::Ordering;

    /// Reads a flag that others only read: no access that the compiler has to keep apart from what is done
    /// with the value.
    ///
    /// # Safety
    ///
    /// Only the caller's CPU writes the flag, and its handlers leave it as they found it.
    #[inline]
    pub(super) unsafe fn read_own(flag: &AtomicBool) -> bool {
        // SAFETY: nobody else writes it, and others read it atomically only.
        unsafe { flag.as_ptr().read() }
    }

    /// Keeps the compiler from moving accesses across.
    #[inline]
    pub(super) fn light_barrier() {
        core::sync::atomic::compiler_fence(Ordering::SeqCst);
    }
}

/// The same, under the model checker. It has no barrier that one thread executes on behalf of
/// another, so both sides have a full one: the pair orders the same accesses.
#[cfg(loom)]
mod modelled {
    pub(super) use crate::modelled::atomics::AtomicBool;
    use crate::modelled::atomics::{Ordering, fence};

    pub(super) unsafe fn read_own(flag: &AtomicBool) -> bool {
        flag.load(Ordering::Relaxed)
    }

    pub(super) fn light_barrier() {
        fence(Ordering::SeqCst);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_handler_is_turned_away_and_what_is_absent_is_held_for_ever() {
        let presence = Presence::outside();
        // SAFETY: this thread is the CPU.
        let enter = || unsafe { Presence::enter(&raw const presence) };
        let inside = enter().expect("nobody is inside");
        assert!(presence.is_inside() && enter().is_none());
        drop(inside);
        assert!(!presence.is_inside() && enter().is_some());
        // SAFETY: it is absent.
        assert!(unsafe { Presence::enter(Presence::ABSENT) }.is_none());
    }
}
