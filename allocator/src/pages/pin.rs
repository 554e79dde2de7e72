//! Having pages in hand, on one CPU.

use core::sync::atomic::Ordering;

use super::cache::CpuPages;
use super::shared::{FrameAllocator, Shared};
use crate::Platform;
use crate::sync::Pinned;

/// While this exists, free memory may be in the caller's hands only, so nobody gives up for want
/// of it; and an interrupt handler on this CPU knows that it must not wait for it.
pub(super) struct Moving<'a, P: Platform> {
    shared: &'a Shared,
    own: Option<&'a CpuPages>,
    was_moving: bool,
    _pinned: Pinned<P>,
}

impl<'a, P: Platform> Moving<'a, P> {
    pub(super) fn new<const PAGE_SIZE: usize>(frames: &'a FrameAllocator<P, PAGE_SIZE>) -> Self {
        let pinned = Pinned::new();
        let shared = &frames.shared;
        let own = shared.cpus.get(P::cpu_id());
        let was_moving = own.is_some_and(|cpu| cpu.moving.swap(true, Ordering::Relaxed));
        shared.moving.fetch_add(1, Ordering::SeqCst);
        Self {
            shared,
            own,
            was_moving,
            _pinned: pinned,
        }
    }
}

impl<P: Platform> Drop for Moving<'_, P> {
    fn drop(&mut self) {
        self.shared.moving.fetch_sub(1, Ordering::SeqCst);
        if let Some(cpu) = self.own {
            cpu.moving.store(self.was_moving, Ordering::Relaxed);
        }
    }
}
