//! Asking the callback for memory, and telling it what it is to know.

use core::sync::atomic::{AtomicUsize, Ordering};

use super::reclaim::ReclaimRequest;
use super::request::{Demand, PageRequest};
use super::shared::FrameAllocator;
use super::slow::{DRAINS, Tell};
use crate::patience::Patience;
use crate::sync::Pinned;
use crate::{AllocError, AllocResult, Platform};

/// How often an allocation asks the callback: one that claims success each time must come to an end too.
const ROUNDS: usize = 64;

impl<P: Platform, const PAGE_SIZE: usize> FrameAllocator<P, PAGE_SIZE> {
    /// Like [`allocate`](Self::allocate) for a layer above, without clearing. After each call of the callback it runs
    /// `layer`, which is told what that returned, brings back what was freed into its own caches, and says whether to try
    /// again.
    pub(crate) fn allocate_below(
        &self,
        request: &PageRequest,
        layer: &mut dyn FnMut(usize) -> bool,
    ) -> AllocResult<usize> {
        let demand = request.check::<PAGE_SIZE>()?;
        let result = self.allocate_or_drain(&demand, DRAINS, Tell::All);
        self.reclaim_or_return(&demand, result, layer)
    }

    /// Tells the callback what an allocation is for it to know, and tries again as long as it has freed something, and once
    /// more, if `layer` says so.
    #[cold]
    #[inline(never)]
    pub(super) fn reclaim_or_return(
        &self,
        demand: &Demand,
        mut result: AllocResult<(usize, Option<ReclaimRequest>)>,
        layer: &mut dyn FnMut(usize) -> bool,
    ) -> AllocResult<usize> {
        let request = ReclaimRequest::failed::<PAGE_SIZE>(demand);
        let mut rounds = 0;
        loop {
            match result {
                Ok((addr, pressure)) => {
                    self.tell(pressure);
                    return Ok(addr);
                }
                Err(AllocError::NoMemory) if rounds != ROUNDS && self.has_reclaim() => {
                    let freed = self.call_reclaim(&request);
                    if !layer(freed) {
                        return Err(AllocError::NoMemory);
                    }
                    rounds = if freed == 0 { ROUNDS } else { rounds + 1 };
                }
                Err(error) => return Err(error),
            }
            result = self.allocate_or_drain(demand, DRAINS, Tell::All);
        }
    }

    /// Tells the callback what there is to tell.
    pub(super) fn tell(&self, pressure: Option<ReclaimRequest>) {
        if let Some(request) = pressure
            && self.has_reclaim()
            && !self.is_in_caches(&request)
        {
            self.call_reclaim(&request);
        }
    }

    /// Drains the caches, if as much as a zone lacks may be in there; says whether it was.
    #[cold]
    fn is_in_caches(&self, request: &ReclaimRequest) -> bool {
        if self.cached_pages() < request.pages {
            return false;
        }
        // Nothing fails if some CPU keeps what it has.
        self.drain_together(Patience::little());
        let tree = self.tree.0.lock();
        tree.zones.free(request.zone) >= tree.zones.watermarks(request.zone).high
    }

    /// Calls the callback, unless this CPU is in it; returns what it returned.
    fn call_reclaim(&self, request: &ReclaimRequest) -> usize {
        let Some(reclaim) = self.tree.0.lock().reclaim else {
            return 0;
        };
        // It stays on its CPU: who allocates in there is known by that.
        let _pinned = Pinned::<P>::new();
        let (cpu, strangers) = (P::cpu_id(), &self.shared.reclaiming);
        // A CPU that had no caches at first may get some in there.
        let is_in_there = |place: &AtomicUsize| place.load(Ordering::Relaxed) == cpu + 1;
        if strangers.iter().any(is_in_there) {
            return 0;
        }
        if let Some(own) = self.shared.cpus.get(cpu) {
            if own.reclaiming.swap(true, Ordering::Acquire) {
                return 0;
            }
            let freed = reclaim(request);
            own.reclaiming.store(false, Ordering::Release);
            return freed;
        }
        let take = |place: &&AtomicUsize| {
            place
                .compare_exchange(0, cpu + 1, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
        };
        let Some(place) = strangers.iter().find(take) else {
            return 0;
        };
        let freed = reclaim(request);
        place.store(0, Ordering::Release);
        freed
    }

    /// Is there a callback to ask?
    fn has_reclaim(&self) -> bool {
        self.tree.0.lock().reclaim.is_some()
    }
}
