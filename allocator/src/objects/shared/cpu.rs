//! What belongs to one CPU.
//!
//! The magazines are used in **turns**: the CPU says that it is inside, with a plain store, and
//! then looks whether its magazines are still there. Whoever wants them from elsewhere takes the
//! pointer away (a claim), executes [`Platform::heavy_barrier`], and waits until the CPU is not
//! inside. Either the CPU sees that the pointer is gone, or the claimer sees that it is inside: the
//! asymmetric form of Dekker's algorithm, as in [`percpu`](crate::percpu), with the claim in the
//! pointer that has to be loaded anyway.
//!
//! A handler that interrupted a turn finds the CPU inside and goes to the slabs directly.

use core::ptr::null_mut;
use core::sync::atomic::AtomicUsize;

use super::super::heap::SlabHeap;
use super::activity::Activity;
use super::atomic::{AtomicBool, AtomicPtr, Ordering};
use super::magazine::Magazines;
use super::remote::RemoteQueue;
use crate::Platform;
use crate::pages::{SharedView, SlabView};
use crate::percpu::light_barrier;
use crate::sync::IrqLock;

/// The state of one CPU. It exists from the CPU's first call on.
#[repr(C, align(64))]
pub(super) struct CpuState<P: Platform> {
    /// The CPU is in a turn. Written by it alone.
    active: AtomicBool,
    /// Null: none. [`CLAIMED`]: taken by somebody, who will put them back.
    magazines: AtomicPtr<Magazines>,
    /// Where slabs were found described at the latest free that had to look for it. Used in turns.
    view: SharedView,
    /// How many times to go without magazines before asking for memory for them again.
    pub(super) patience: AtomicUsize,
    /// Magazines that were claimed, while they are.
    parked: AtomicPtr<Magazines>,
    /// The slabs that this CPU fetched.
    pub(super) heap: IrqLock<P, SlabHeap>,
    /// Those of them that other CPUs have freed objects of.
    pub(super) queue: RemoteQueue,
    /// What the CPU did.
    pub(super) activity: Activity,
    /// Written by whoever has the magazines, so that the model checker sees two who do.
    #[cfg(loom)]
    pub(super) used: loom::cell::UnsafeCell<()>,
}

const CLAIMED: *mut Magazines = core::ptr::without_provenance_mut(1);

impl<P: Platform> CpuState<P> {
    pub(super) fn new() -> Self {
        Self {
            active: AtomicBool::new(false),
            magazines: AtomicPtr::new(null_mut()),
            view: SharedView::new(),
            patience: AtomicUsize::new(0),
            parked: AtomicPtr::new(null_mut()),
            heap: IrqLock::new(SlabHeap::new()),
            queue: RemoteQueue::new(),
            activity: Activity::new(),
            #[cfg(loom)]
            used: loom::cell::UnsafeCell::new(()),
        }
    }

    /// Begins a turn; `None` in a handler that interrupted one, and while there are no magazines.
    ///
    /// # Safety
    ///
    /// The caller is on the CPU that this state belongs to, and stays there until the turn is over.
    #[inline]
    pub(super) unsafe fn enter(&self) -> Option<Turn<'_>> {
        if self.active.load(Ordering::Relaxed) {
            return None;
        }
        self.active.store(true, Ordering::Relaxed);
        // The hardware is held by the heavy barrier of whoever claims.
        light_barrier();
        let magazines = self.magazines.load(Ordering::Acquire);
        if magazines.addr() <= CLAIMED.addr() {
            self.active.store(false, Ordering::Release);
            return None;
        }
        // SAFETY: magazines go only after a claim, and a claim waits until the turn is over.
        let magazines = unsafe { &*magazines };
        Some(Turn {
            active: &self.active,
            view: &self.view,
            magazines,
            #[cfg(loom)]
            _used: self.used.get_mut(),
        })
    }

    /// Whether the CPU is in a turn; on the CPU itself, whether the caller interrupted one.
    pub(super) fn is_active(&self) -> bool {
        self.active.load(Ordering::Acquire)
    }

    /// Whether it has no magazines, and may be given some.
    pub(super) fn lacks_magazines(&self) -> bool {
        self.magazines.load(Ordering::Relaxed).is_null()
    }

    /// Gives the CPU magazines, unless it has some or they are claimed.
    pub(super) fn install(&self, magazines: *mut Magazines) -> bool {
        self.magazines
            .compare_exchange(null_mut(), magazines, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// Takes the magazines away, and says whether there were any. One context at a time claims.
    pub(super) fn claim(&self) -> bool {
        let taken = self.magazines.swap(CLAIMED, Ordering::AcqRel);
        self.parked.store(taken, Ordering::Relaxed);
        !taken.is_null()
    }

    /// What was claimed: null if there was nothing. `None` for a CPU that came later.
    pub(super) fn claimed(&self) -> Option<*mut Magazines> {
        let is_claimed = self.magazines.load(Ordering::Relaxed) == CLAIMED;
        is_claimed.then(|| self.parked.load(Ordering::Relaxed))
    }

    /// Ends a claim, with these magazines or with none.
    pub(super) fn release(&self, magazines: *mut Magazines) {
        self.parked.store(null_mut(), Ordering::Relaxed);
        self.magazines.store(magazines, Ordering::Release);
    }

    /// Makes the CPU look anew for descriptions of slabs. The magazines are claimed, or nothing is shared yet.
    pub(super) fn forget_view(&self) {
        self.view.forget();
    }

    /// The magazines, for a look at their counts from elsewhere.
    ///
    /// # Safety
    ///
    /// No claim ends while the reference is used.
    pub(super) unsafe fn peek(&self) -> Option<&Magazines> {
        let magazines = self.magazines.load(Ordering::Acquire);
        if magazines.addr() <= CLAIMED.addr() {
            return None;
        }
        // SAFETY: only a claim ends the life of magazines.
        Some(unsafe { &*magazines })
    }
}

/// A CPU's use of its magazines.
pub(super) struct Turn<'a> {
    active: &'a AtomicBool,
    view: &'a SharedView,
    pub(super) magazines: &'a Magazines,
    #[cfg(loom)]
    _used: loom::cell::MutPtr<()>,
}

impl Turn<'_> {
    /// The entry for the slab of `addr`; null if that is not where the CPU has looked lately.
    #[inline]
    pub(super) fn entry(&self, addr: usize) -> *mut () {
        // SAFETY: views are forgotten before their section's memory goes, which waits for turns.
        unsafe { self.view.get().slab(addr) }
    }

    pub(super) fn set_view(&self, view: SlabView) {
        self.view.set(view);
    }
}

impl Drop for Turn<'_> {
    #[inline]
    fn drop(&mut self) {
        self.active.store(false, Ordering::Release);
    }
}
