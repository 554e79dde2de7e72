//! The state of a CPU that calls for the first time, and of the machine when the second one does.

use core::ptr::NonNull;
use core::sync::atomic::Ordering;

use super::allocator::ObjectAllocator;
use super::cpu::CpuState;
use super::depot::Depot;
use super::magazine::Magazines;
use super::slabs::give_pages;
use crate::Platform;
use crate::pages::{FrameAllocator, Node, PageRequest};
use crate::percpu::{CpuTable, offset_in_pages};
use crate::sync::Pinned;

/// How often a CPU that got no memory for magazines does without before it asks again.
const PATIENCE: usize = 1024;

impl<P: Platform, const PAGE_SIZE: usize> ObjectAllocator<P, PAGE_SIZE> {
    /// This CPU's state; made at its first call, with its magazines.
    pub(super) fn cpu(&self, frames: &FrameAllocator<P, PAGE_SIZE>) -> Option<&CpuState<P>> {
        let _pinned = Pinned::<P>::new();
        let id = P::cpu_id();
        let cpu = match self.cpus.get(id) {
            Some(cpu) => cpu,
            None => self.arrive(frames, id)?,
        };
        if cpu.lacks_magazines() {
            self.equip(frames, cpu);
        }
        Some(cpu)
    }

    /// Makes the state of a CPU.
    #[cold]
    #[inline(never)]
    fn arrive(&self, frames: &FrameAllocator<P, PAGE_SIZE>, id: usize) -> Option<&CpuState<P>> {
        if frames.section_count() == 0 {
            return None;
        }
        let _arriving = self.arrivals.lock();
        if self.cpus.get(id).is_some() {
            return self.cpus.get(id);
        }
        if self.cpus.lacks_far(P::MAX_CPUS) {
            let bytes = CpuTable::<CpuState<P>>::far_bytes(P::MAX_CPUS);
            let memory = frames.allocate_internal(bytes)?;
            // SAFETY: it is long enough, page-aligned, for all CPUs, and never freed.
            unsafe { self.cpus.install_far(memory, P::MAX_CPUS) };
        }
        let state = frames.allocate_internal(size_of::<CpuState<P>>())?;
        // SAFETY: the fresh block is whole pages, with room for a state.
        let state = unsafe { state.add(offset_in_pages::<CpuState<P>, PAGE_SIZE>()) }.cast();
        // SAFETY: the block is large enough, and the state aligned there.
        unsafe { fill(state) };
        if self.key.load(Ordering::Relaxed) == 0 {
            self.key.store(key(state.addr().get()), Ordering::Relaxed);
        }
        let node = Node::of_cpu::<P>(id);
        let has_neighbour = self
            .cpus
            .iter(P::MAX_CPUS)
            .any(|(other, _)| Node::of_cpu::<P>(other) == node);
        if has_neighbour && self.depot_of(node).is_none() {
            // Without memory for it, the slabs below do.
            if let Some(memory) = frames.allocate_internal(Depot::BYTES) {
                // SAFETY: the fresh block is long enough, page-aligned, and never freed.
                let depot = unsafe { Depot::create(memory) };
                self.depots[node.index()].store(depot.as_ptr(), Ordering::Release);
            }
        }
        // SAFETY: the block is never freed.
        unsafe { self.cpus.install(id, state) };
        self.cpus.get(id)
    }

    /// Where this CPU and its neighbours on its node exchange batches, if it has some.
    pub(super) fn depot(&self) -> Option<&Depot> {
        self.depot_of(Node::of_cpu::<P>(P::cpu_id()))
    }

    /// The depots of all nodes.
    pub(super) fn depots(&self) -> impl Iterator<Item = &Depot> {
        Node::all().filter_map(|node| self.depot_of(node))
    }

    fn depot_of(&self, node: Node) -> Option<&Depot> {
        // SAFETY: once it is there, it stays.
        unsafe { self.depots[node.index()].load(Ordering::Acquire).as_ref() }
    }

    /// Gives a CPU magazines, if there is memory.
    fn equip(&self, frames: &FrameAllocator<P, PAGE_SIZE>, cpu: &CpuState<P>) {
        // In one step: a handler may count down, too.
        let counted = cpu
            .patience
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            });
        if counted.is_ok() {
            return;
        }
        if cpu.is_active() {
            // A handler that interrupted a turn.
            return;
        }
        let count = Magazines::BYTES.div_ceil(PAGE_SIZE);
        let Ok(addr) = frames.try_allocate_quietly(&PageRequest::new(count).exact()) else {
            cpu.patience.store(PATIENCE, Ordering::Relaxed);
            return;
        };
        let memory = core::ptr::with_exposed_provenance_mut(addr);
        if let Some(memory) = NonNull::new(memory) {
            // SAFETY: the block was just allocated, and is long enough.
            let magazines = unsafe { Magazines::create(memory) };
            let is_installed = {
                let pinned = Pinned::<P>::new();
                let turn = self.own_turn(cpu, &pinned);
                turn.is_some_and(|turn| turn.install(magazines.as_ptr()))
            };
            if !is_installed {
                give_pages(frames, addr, count);
            }
        }
    }
}

/// Makes a state where it is to be. Not inlined: a copy on the stack is to be there no longer than for this.
///
/// # Safety
///
/// `state` is aligned, and the caller's.
#[cold]
#[inline(never)]
unsafe fn fill<P: Platform>(state: NonNull<CpuState<P>>) {
    // SAFETY: the caller says so.
    unsafe { state.write(CpuState::new()) };
}

/// A number that cannot be guessed from one address of the allocator (the finaliser of splitmix64).
#[expect(clippy::cast_possible_truncation, reason = "any bits will do")]
const fn key(seed: usize) -> usize {
    let mut x = (seed as u64).wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    // Not 0, and not such that a mark could be a plausible pointer.
    ((x ^ (x >> 31)) as usize) | 1 << (usize::BITS - 1) | 1
}
