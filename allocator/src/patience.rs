//! Waiting for another CPU, and for how long.

use crate::Platform;

/// How often a context looks again at what another CPU is to change, before it goes on without that.
///
/// A CPU can be interrupted while others wait for it, by a handler that wants a lock of the kernel's; and whoever waits
/// may hold just that lock, since allocating under a lock is usual. Then neither would go on if the wait had no end. So
/// whoever allocates or frees gives up at last, and does without what that CPU has.
pub(crate) struct Patience {
    looks: usize,
}

impl Patience {
    /// Does not wait: the caller interrupted its own CPU, which may be the one that is waited for.
    pub(crate) const fn none() -> Self {
        Self { looks: 0 }
    }

    /// As long as it takes a CPU that runs to leave what it is inside of.
    pub(crate) const fn little() -> Self {
        Self { looks: 1000 }
    }

    /// Long enough for a CPU that runs handlers meanwhile, or that its host does not run for a while: some hundredths of a
    /// second and more.
    pub(crate) const fn much() -> Self {
        // In a model every wait has its end.
        let looks = if cfg!(loom) { usize::MAX } else { 1 << 22 };
        Self { looks }
    }

    /// For callers that hold no lock which a handler takes.
    pub(crate) const fn endless() -> Self {
        Self { looks: usize::MAX }
    }

    /// Lets a moment pass before the caller looks again; `false` if it is not to look again.
    pub(crate) fn look<P: Platform>(&mut self) -> bool {
        if self.looks == 0 {
            return false;
        }
        if self.looks != usize::MAX {
            self.looks -= 1;
        }
        P::relax();
        true
    }

    /// Waits until `is_over`; says whether it is.
    pub(crate) fn wait<P: Platform>(&mut self, mut is_over: impl FnMut() -> bool) -> bool {
        loop {
            if is_over() {
                return true;
            }
            if !self.look::<P>() {
                return false;
            }
        }
    }
}
