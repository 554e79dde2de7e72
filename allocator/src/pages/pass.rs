//! One drain of all caches for everybody who needs one.
//!
//! Where memory has run out, it has run out for all CPUs at about the same time, and each of them wants
//! the caches of all others emptied before it gives up. If everybody did that, every CPU would wait for
//! the barriers of all others, and for the pages that those have in hand, again and again. So one of them
//! does it, as a **pass**, and the others wait for a pass that began after they asked: two passes at most,
//! however many CPUs there are.

#[cfg(all(test, loom))]
mod models;

use core::sync::atomic::Ordering;

use crate::Platform;
use crate::patience::Patience;

#[cfg(loom)]
use self::modelled::AtomicUsize;
#[cfg(not(loom))]
use core::sync::atomic::AtomicUsize;

/// The passes so far, and who is at one.
pub(crate) struct Passes {
    /// Whose the pass is that is going on: 0 is nobody, else it is the number of the CPU and 1.
    holder: AtomicUsize,
    begun: AtomicUsize,
    /// The number of the last one that has ended.
    ended: AtomicUsize,
}

impl Passes {
    pub(crate) const fn new() -> Self {
        Self {
            holder: AtomicUsize::new(0),
            begun: AtomicUsize::new(0),
            ended: AtomicUsize::new(0),
        }
    }

    /// Whether that CPU is at a pass; for a handler on it: whether it interrupted one.
    pub(crate) fn is_at_one(&self, cpu: usize) -> bool {
        self.holder.load(Ordering::Relaxed) == cpu + 1
    }

    /// Runs `pass`, or waits until another CPU has run one that began after this call. Says whether there was one, or
    /// else patience was at its end.
    ///
    /// The caller is pinned, and no handler that interrupted a pass, or what a pass waits for.
    pub(crate) fn join<P: Platform>(
        &self,
        patience: &mut Patience,
        pass: impl FnOnce(&mut Patience),
    ) -> bool {
        // A change that changes nothing: the pass that counts on from here sees what happened before.
        let before = self.begun.fetch_add(0, Ordering::AcqRel);
        loop {
            let taken = self.holder.compare_exchange(
                0,
                P::cpu_id() + 1,
                Ordering::Acquire,
                Ordering::Relaxed,
            );
            if taken.is_ok() {
                let number = self.begun.fetch_add(1, Ordering::AcqRel).wrapping_add(1);
                pass(patience);
                self.ended.store(number, Ordering::Relaxed);
                self.holder.store(0, Ordering::Release);
                return true;
            }
            if !patience.wait::<P>(|| self.holder.load(Ordering::Acquire) == 0) {
                return false;
            }
            let ended = self.ended.load(Ordering::Relaxed);
            // Numbers wrap around. What ended may also be older than what had begun.
            if (1..=usize::MAX / 2).contains(&ended.wrapping_sub(before)) {
                return true;
            }
        }
    }
}

#[cfg(loom)]
mod modelled {
    use core::ops::Deref;
    use std::sync::OnceLock;

    /// The model checker's, which are made while a model runs.
    pub(super) struct AtomicUsize {
        value: OnceLock<loom::sync::atomic::AtomicUsize>,
        first: usize,
    }

    impl AtomicUsize {
        pub(super) const fn new(first: usize) -> Self {
            Self {
                value: OnceLock::new(),
                first,
            }
        }
    }

    impl Deref for AtomicUsize {
        type Target = loom::sync::atomic::AtomicUsize;

        fn deref(&self) -> &Self::Target {
            self.value
                .get_or_init(|| loom::sync::atomic::AtomicUsize::new(self.first))
        }
    }
}
