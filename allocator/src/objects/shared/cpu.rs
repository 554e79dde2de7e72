//! What belongs to one CPU.
//!
//! The magazines are used in **turns**: the CPU says that it is [inside](crate::percpu::Presence), and
//! then looks where its magazine is. Whoever wants them from elsewhere takes the pointers
//! away (a claim), executes [`Platform::heavy_barrier`], and waits until the CPU is not
//! inside. So the claim is in the pointer that has to be loaded anyway.
//!
//! What usually happens asks for little: a CPU that has no state finds one that is in a turn for ever, and
//! where there are no magazines it finds one that is both empty and full.
//!
//! A handler that interrupted a turn finds the CPU inside and goes to the slabs directly.

use core::ptr::null_mut;
use core::sync::atomic::AtomicUsize;

use super::super::heap::SlabHeap;
use super::super::size_class::SizeClass;
use super::activity::Activity;
use super::atomic::{AtomicPtr, Ordering, fence};
use super::magazine::{Free, Magazine, Magazines};
use super::remote::RemoteQueue;
use crate::Platform;
use crate::pages::{SharedView, SlabView};
use crate::percpu::{Inside, PerCpu, Presence};
use crate::sync::IrqLock;

/// The state of one CPU. It exists from the CPU's first call on.
#[repr(C, align(64))]
pub(super) struct CpuState<P: Platform> {
    /// The CPU is in a turn.
    presence: Presence,
    /// Where slabs were found described at the latest free that had to look for it. Used in turns.
    view: SharedView,
    /// Each of the CPU's magazines, or, while it has none or somebody has claimed them, a [`vacant`] one.
    each: [AtomicPtr<Magazine>; EACH],
    /// All of them; null: none. [`CLAIMED`]: taken by somebody, who will put them back.
    magazines: AtomicPtr<Magazines>,
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

// SAFETY: its presence comes first.
unsafe impl<P: Platform> PerCpu for CpuState<P> {}

const CLAIMED: *mut Magazines = core::ptr::without_provenance_mut(1);

/// Stands where a magazine would be. Never written to.
static VACANT: Magazine = Magazine::empty(0);

const fn vacant() -> *mut Magazine {
    (&raw const VACANT).cast_mut()
}

/// How many magazines are reached one by one: all, but one for the model checker, which would see no end.
const EACH: usize = if cfg!(loom) { 1 } else { SizeClass::COUNT };

/// Leads to no magazine.
#[cfg(not(loom))]
const fn nowhere() -> [AtomicPtr<Magazine>; EACH] {
    [const { AtomicPtr::new(vacant()) }; EACH]
}

#[cfg(loom)]
fn nowhere() -> [AtomicPtr<Magazine>; EACH] {
    [AtomicPtr::new(vacant())]
}

fn is_there(magazines: *mut Magazines) -> bool {
    magazines.addr() > CLAIMED.addr()
}

impl<P: Platform> CpuState<P> {
    pub(super) fn new() -> Self {
        Self {
            presence: Presence::outside(),
            view: SharedView::new(),
            each: nowhere(),
            magazines: AtomicPtr::new(null_mut()),
            patience: AtomicUsize::new(0),
            parked: AtomicPtr::new(null_mut()),
            heap: IrqLock::new(SlabHeap::new()),
            queue: RemoteQueue::new(),
            activity: Activity::new(),
            #[cfg(loom)]
            used: loom::cell::UnsafeCell::new(()),
        }
    }

    /// Begins a turn; `None` in a handler that interrupted one.
    ///
    /// # Safety
    ///
    /// The caller is on the CPU that this state belongs to, and stays there until the turn is over.
    #[inline]
    pub(super) unsafe fn enter(&self) -> Option<Turn<'_>> {
        // SAFETY: the caller's duties are the same.
        unsafe { Self::enter_own(self) }
    }

    /// [`enter`](Self::enter), and `None` for a CPU that has no state.
    ///
    /// # Safety
    ///
    /// As there; `own` is a state that stays, or [`ABSENT`](PerCpu::ABSENT).
    #[inline]
    pub(super) unsafe fn enter_own<'a>(own: *const Self) -> Option<Turn<'a>> {
        // SAFETY: it comes first in a state; the caller's duties are the same.
        let inside = unsafe { Presence::enter(own.cast()) }?;
        // SAFETY: it was not in a turn, so it is not the absent one.
        let cpu = unsafe { &*own };
        Some(Turn {
            view: &cpu.view,
            each: &cpu.each,
            magazines: &cpu.magazines,
            #[cfg(loom)]
            used: &cpu.used,
            #[cfg(loom)]
            using: core::cell::Cell::new(None),
            inside,
        })
    }

    /// Whether the CPU is in a turn; on the CPU itself, whether the caller interrupted one.
    pub(super) fn is_active(&self) -> bool {
        self.presence.is_inside()
    }

    /// Whether it has no magazines, and may be given some.
    pub(super) fn lacks_magazines(&self) -> bool {
        self.magazines.load(Ordering::Relaxed).is_null()
    }

    /// Takes the magazines away, and says whether there were any. One context at a time claims.
    pub(super) fn claim(&self) -> bool {
        let claimed = self.magazines.swap(CLAIMED, Ordering::AcqRel);
        self.parked.store(claimed, Ordering::Relaxed);
        self.vacate();
        !claimed.is_null()
    }

    /// Leads to no magazine any more. Returns whether anything did: a turn that began before the claim may just have
    /// installed them.
    pub(super) fn vacate(&self) -> bool {
        let mut did = false;
        for magazine in &self.each {
            if magazine.load(Ordering::Relaxed) != vacant() {
                magazine.store(vacant(), Ordering::Relaxed);
                did = true;
            }
        }
        // Before the barriers of other CPUs, and before anything that is done with the magazines.
        fence(Ordering::SeqCst);
        did
    }

    /// What was claimed: null if there was nothing. `None` for a CPU that came later.
    pub(super) fn claimed(&self) -> Option<*mut Magazines> {
        let is_claimed = self.magazines.load(Ordering::Relaxed) == CLAIMED;
        is_claimed.then(|| self.parked.load(Ordering::Relaxed))
    }

    /// Ends a claim, with these magazines or with none.
    pub(super) fn release(&self, magazines: *mut Magazines) {
        self.parked.store(null_mut(), Ordering::Relaxed);
        if !magazines.is_null() {
            lead_to(&self.each, magazines);
        }
        self.magazines.store(magazines, Ordering::Release);
    }

    /// Makes the CPU look anew for descriptions of slabs.
    ///
    /// # Safety
    ///
    /// The magazines are claimed, and the CPU is in no turn that has them.
    pub(super) unsafe fn forget_view(&self) {
        // SAFETY: who has no magazines does not look at the view.
        unsafe { self.view.forget() };
    }

    /// The magazines, for a look at their counts from elsewhere.
    ///
    /// # Safety
    ///
    /// No claim ends while the reference is used.
    pub(super) unsafe fn peek(&self) -> Option<&Magazines> {
        let magazines = self.magazines.load(Ordering::Acquire);
        // SAFETY: only a claim ends the life of magazines.
        is_there(magazines).then(|| unsafe { &*magazines })
    }
}

/// Leads to each of the magazines.
fn lead_to(each: &[AtomicPtr<Magazine>; EACH], magazines: *mut Magazines) {
    for (class, at) in SizeClass::ALL.into_iter().zip(each) {
        // SAFETY: there are magazines at that address.
        let one = unsafe { Magazines::one(magazines, class) };
        at.store(one.cast_mut(), Ordering::Release);
    }
}

/// A CPU's use of its magazines, if it has them. A claim that takes them away waits until the turn is over.
pub(super) struct Turn<'a> {
    view: &'a SharedView,
    each: &'a [AtomicPtr<Magazine>; EACH],
    magazines: &'a AtomicPtr<Magazines>,
    #[cfg(loom)]
    used: &'a loom::cell::UnsafeCell<()>,
    #[cfg(loom)]
    using: core::cell::Cell<Option<loom::cell::MutPtr<()>>>,
    // Last: all else is to be gone when the turn is over.
    #[expect(dead_code, reason = "the turn is over when this is gone")]
    inside: Inside<'a>,
}

impl<'a> Turn<'a> {
    /// Gives the CPU magazines, unless it has some or they are claimed.
    pub(super) fn install(&self, magazines: *mut Magazines) -> bool {
        let is_installed = self
            .magazines
            .compare_exchange(null_mut(), magazines, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok();
        if is_installed {
            // Whoever claims them just now does away with this when the turn is over.
            lead_to(self.each, magazines);
        }
        is_installed
    }

    /// The magazine of a class, or a vacant one.
    #[inline]
    fn one(&self, class: SizeClass) -> *const Magazine {
        // The model checker has but one.
        let index = if cfg!(loom) { 0 } else { class.index() };
        let magazine = self.each[index].load(Ordering::Acquire);
        #[cfg(loom)]
        if magazine != vacant() {
            self.begin_use();
        }
        magazine
    }

    /// Takes an object from the magazine.
    #[inline]
    pub(super) fn pop(&self, class: SizeClass) -> Option<usize> {
        // SAFETY: magazines go only after a claim, and a claim waits until the turn is over.
        unsafe { Magazine::pop(self.one(class)) }
    }

    /// A place for another object in the magazine.
    #[inline]
    pub(super) fn place(&self, class: SizeClass) -> Option<Free<'_>> {
        // SAFETY: as above.
        unsafe { Magazine::place(self.one(class)) }
    }

    /// The magazines, if they are there: all that the turn is about.
    pub(super) fn magazines(&self) -> Option<&'a Magazines> {
        let magazines = self.magazines.load(Ordering::Acquire);
        if !is_there(magazines) {
            return None;
        }
        #[cfg(loom)]
        self.begin_use();
        // SAFETY: as above.
        Some(unsafe { &*magazines })
    }

    #[cfg(loom)]
    fn begin_use(&self) {
        let using = self.using.take().unwrap_or_else(|| self.used.get_mut());
        self.using.set(Some(using));
    }

    /// The entry for the slab of `addr`; null if that is not where the CPU has looked lately.
    ///
    /// # Safety
    ///
    /// There are magazines in this turn.
    #[inline]
    pub(super) unsafe fn entry(&self, addr: usize) -> *mut () {
        // SAFETY: who writes the view from elsewhere has claimed the magazines.
        let view = unsafe { self.view.get() };
        // SAFETY: views are forgotten before their section's memory goes, which waits for turns.
        unsafe { view.slab(addr) }
    }

    /// # Safety
    ///
    /// As above.
    pub(super) unsafe fn set_view(&self, view: SlabView) {
        // SAFETY: as above.
        unsafe { self.view.set(view) };
    }
}
