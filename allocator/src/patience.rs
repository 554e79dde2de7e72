//! Waiting for another CPU, and for how long.

use crate::Platform;

/// How often a context looks again at what other CPUs are to change, before it goes on without that.
///
/// A CPU can be interrupted while others wait for it, by a handler that wants a lock of the kernel's; and whoever waits
/// may hold just that lock, since allocating under a lock is usual. Then neither would go on if the wait had no end. So
/// whoever allocates or frees gives up at last, and does without what that CPU has.
pub(crate) struct Patience {
    /// For all CPUs together.
    looks: usize,
    /// For each CPU, when those are gone: one that does not come out is not to hide the others.
    each: usize,
}

/// As long as it takes a CPU that runs to leave what it is inside of.
const LITTLE: usize = 1000;

/// Long enough for a CPU that runs handlers meanwhile, or that its host does not run for a while: some hundredths of a
/// second and more.
const MUCH: usize = 1 << 22;

impl Patience {
    /// Does not wait: the caller interrupted its own CPU, which may be the one that is waited for.
    pub(crate) const fn none() -> Self {
        Self { looks: 0, each: 0 }
    }

    /// Waits for CPUs that run: where what they have is not needed badly, or their wait for the caller is likely.
    pub(crate) const fn little() -> Self {
        Self {
            looks: 0,
            each: LITTLE,
        }
    }

    /// Waits for all CPUs that will come out without the caller.
    pub(crate) const fn much() -> Self {
        Self::bounded(MUCH)
    }

    /// Waits for a context that itself waits with [`much`](Self::much).
    pub(crate) const fn more() -> Self {
        Self::bounded(4 * MUCH)
    }

    /// For callers that hold no lock which a handler takes.
    pub(crate) const fn endless() -> Self {
        Self {
            looks: usize::MAX,
            each: LITTLE,
        }
    }

    /// The same, but none for a caller that interrupted what it would wait for.
    pub(crate) const fn unless(self, is_nested: bool) -> Self {
        if is_nested { Self::none() } else { self }
    }

    const fn bounded(looks: usize) -> Self {
        if cfg!(loom) {
            // In a model every wait has its end.
            return Self::endless();
        }
        Self {
            looks,
            each: LITTLE,
        }
    }

    /// What there is of it for one CPU.
    pub(crate) const fn for_one(&mut self) -> Wait<'_> {
        Wait {
            together: &mut self.looks,
            alone: self.each,
        }
    }

    /// Waits for one CPU until `is_over`; says whether it is.
    pub(crate) fn wait<P: Platform>(&mut self, mut is_over: impl FnMut() -> bool) -> bool {
        let mut wait = self.for_one();
        loop {
            if is_over() {
                return true;
            }
            if !wait.look::<P>() {
                return false;
            }
        }
    }
}

/// The wait for one CPU.
pub(crate) struct Wait<'a> {
    together: &'a mut usize,
    alone: usize,
}

impl Wait<'_> {
    /// Lets a moment pass before the caller looks again; `false` if it is not to look again.
    pub(crate) fn look<P: Platform>(&mut self) -> bool {
        match (*self.together, self.alone) {
            (usize::MAX, _) => {}
            (0, 0) => return false,
            (0, _) => self.alone -= 1,
            _ => *self.together -= 1,
        }
        P::relax();
        true
    }
}
