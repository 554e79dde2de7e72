//! What a magazine cannot serve.

use core::ptr::NonNull;
use core::sync::atomic::Ordering;

use super::super::heap::SlabHeap;
use super::super::size_class::SizeClass;
use super::super::slab::{Arena, SlabRef};
use super::allocator::{Entry, ObjectAllocator, Pinned, hand_out};
use super::cpu::CpuState;
use super::depot::Depot;
use super::descriptor::{Owned, SharedRef};
use super::magazine::{MOST_BATCH, Magazines, batch, capacity};
use super::remote::{self, RemoteBatch};
use crate::pages::{FrameAllocator, PageRequest};
use crate::percpu::CpuTable;
use crate::{AllocError, AllocResult, Misuse, Platform};

/// How often a CPU that got no memory for magazines does without before it asks again.
const PATIENCE: usize = 1024;

impl<P: Platform, const PAGE_SIZE: usize> ObjectAllocator<P, PAGE_SIZE> {
    /// An allocation that the magazine could not serve.
    #[cold]
    #[inline(never)]
    pub(super) fn alloc_slowly(
        &self,
        frames: &FrameAllocator<P, PAGE_SIZE>,
        class: SizeClass,
    ) -> AllocResult<NonNull<u8>> {
        /// What a drain finds may be taken by others before this CPU comes to it.
        const ROUNDS: usize = 64;
        let slab = PageRequest::new(class.slab_pages(PAGE_SIZE));
        for _ in 0..ROUNDS {
            let added = match self.cpu(frames) {
                Some(cpu) => {
                    if let Some(object) = self.refill(frames, cpu, class) {
                        return Ok(hand_out(object));
                    }
                    frames
                        .try_allocate(&slab)
                        .and_then(|base| self.add_slab(frames, class, base))
                }
                None => Err(AllocError::NoMemory),
            };
            match added {
                Ok(()) => {}
                Err(AllocError::NoMemory) if frames.section_count() == 0 => {
                    return Err(AllocError::NotInitialized);
                }
                Err(AllocError::NoMemory) => {
                    let given = self.drain(frames, true);
                    if let Some(object) = self.take_anywhere(frames, class) {
                        return Ok(hand_out(object));
                    }
                    if given == 0 && self.moving.load(Ordering::SeqCst) == 0 {
                        break;
                    }
                }
                Err(error) => return Err(error),
            }
        }
        // The last resort: the owner of the pages asks its reclaim callback.
        let base = frames.allocate(&slab)?;
        self.add_slab(frames, class, base)?;
        self.take_anywhere(frames, class)
            .map(hand_out)
            .ok_or(AllocError::NoMemory)
    }

    /// This CPU's state; made at its first call, with its magazines.
    fn cpu(&self, frames: &FrameAllocator<P, PAGE_SIZE>) -> Option<&CpuState<P>> {
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
    fn arrive(&self, frames: &FrameAllocator<P, PAGE_SIZE>, id: usize) -> Option<&CpuState<P>> {
        if frames.section_count() == 0 {
            return None;
        }
        let _arriving = self.arrivals.lock();
        if self.cpus.get(id).is_some() {
            return self.cpus.get(id);
        }
        if self.cpus.lacks_far(id) {
            let bytes = CpuTable::<CpuState<P>>::far_bytes(P::MAX_CPUS);
            let memory = frames.allocate_internal(bytes)?;
            // SAFETY: the fresh block has at least that many bytes.
            unsafe { memory.write_bytes(0, bytes) };
            // SAFETY: it is zeroed, page-aligned, for all CPUs, and never freed.
            unsafe { self.cpus.install_far(memory) };
        }
        let state = frames
            .allocate_internal(size_of::<CpuState<P>>())?
            .cast::<CpuState<P>>();
        // SAFETY: the fresh block is large enough and page-aligned.
        unsafe { state.write(CpuState::new()) };
        if self.key.load(Ordering::Relaxed) == 0 {
            self.key.store(key(state.addr().get()), Ordering::Relaxed);
        }
        let is_alone = self.cpus.iter(P::MAX_CPUS).next().is_none();
        if !is_alone && self.depot().is_none() {
            // Without memory for it, the slabs below do.
            if let Some(memory) = frames.allocate_internal(Depot::BYTES) {
                // SAFETY: the fresh block is long enough, page-aligned, and never freed.
                let depot = unsafe { Depot::create(memory) };
                self.depot.store(depot.as_ptr(), Ordering::Release);
            }
        }
        // SAFETY: the block is never freed.
        unsafe { self.cpus.install(id, state) };
        self.cpus.get(id)
    }

    /// Where CPUs exchange batches, if there are several.
    pub(super) fn depot(&self) -> Option<&Depot> {
        // SAFETY: once it is there, it stays.
        unsafe { self.depot.load(Ordering::Acquire).as_ref() }
    }

    /// Gives a CPU magazines, if there is memory.
    fn equip(&self, frames: &FrameAllocator<P, PAGE_SIZE>, cpu: &CpuState<P>) {
        if cpu.patience.load(Ordering::Relaxed) != 0 {
            cpu.patience.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        let count = Magazines::BYTES.div_ceil(PAGE_SIZE);
        let Ok(addr) = frames.try_allocate(&PageRequest::new(count).exact()) else {
            cpu.patience.store(PATIENCE, Ordering::Relaxed);
            return;
        };
        let memory = core::ptr::with_exposed_provenance_mut(addr);
        if let Some(memory) = NonNull::new(memory) {
            // SAFETY: the block was just allocated, and is long enough.
            let magazines = unsafe { Magazines::create(memory) };
            if !cpu.install(magazines.as_ptr()) {
                give_pages(frames, addr, count);
            }
        }
    }

    /// Fills this CPU's magazine from the depot, else from its slabs, and takes one object more than is
    /// left in it. In a handler that interrupted the magazines, takes just one, from the slabs.
    fn refill(
        &self,
        frames: &FrameAllocator<P, PAGE_SIZE>,
        cpu: &CpuState<P>,
        class: SizeClass,
    ) -> Option<usize> {
        let _pinned = Pinned::<P>::new();
        let is_own = self
            .cpus
            .get(P::cpu_id())
            .is_some_and(|own| core::ptr::eq(own, cpu));
        if is_own
            && let Some(depot) = self.depot()
            // SAFETY: this is the CPU of that state, and it is pinned.
            && let Some(turn) = unsafe { cpu.enter() }
        {
            let magazines = turn.magazines;
            let room = capacity(class) - magazines.len(class);
            if room >= batch(class) && depot.take(class, |object| magazines.push(class, object)) {
                return magazines.pop(class);
            }
        }
        let mut heap = cpu.heap.lock();
        // SAFETY: this is the heap's lock.
        let mut owned = unsafe { Owned::<PAGE_SIZE>::new() };
        self.collect(frames, cpu, &mut heap, &mut owned);
        let turn = is_own.then(|| {
            // SAFETY: this is the CPU of that state, with interrupts masked.
            unsafe { cpu.enter() }
        });
        if let Some(turn) = turn.flatten() {
            let magazines = turn.magazines;
            let room = capacity(class) - magazines.len(class);
            let limit = batch(class).min(room);
            heap.take(&mut owned, class, limit, |addr| magazines.push(class, addr));
            magazines.pop(class)
        } else {
            let mut object = None;
            heap.take(&mut owned, class, 1, |addr| object = Some(addr));
            object
        }
    }

    /// Makes the block at `base`, which was allocated for this, a slab of this CPU. If there is no
    /// memory for a descriptor, the block is given back.
    fn add_slab(
        &self,
        frames: &FrameAllocator<P, PAGE_SIZE>,
        class: SizeClass,
        base: usize,
    ) -> AllocResult {
        let _pinned = Pinned::<P>::new();
        let count = class.slab_pages(PAGE_SIZE);
        let id = P::cpu_id();
        let Some(cpu) = self.cpus.get(id) else {
            give_pages(frames, base, count);
            return Err(AllocError::NoMemory);
        };
        let descriptor = loop {
            if let Some(descriptor) = self.descriptors.lock().take(class, base, id) {
                break descriptor;
            }
            match frames.try_allocate(&PageRequest::new(1)) {
                // SAFETY: the page was just allocated for this.
                Ok(page) => unsafe { self.descriptors.lock().add_page(class, page) },
                Err(error) => {
                    give_pages(frames, base, count);
                    return Err(error);
                }
            }
        };
        // The free of an object that was never handed out is a double free, too.
        for index in 0..class.objects_in(count * PAGE_SIZE) {
            self.mark(base + index * class.size());
        }
        let mut heap = cpu.heap.lock();
        // SAFETY: this is the heap's lock.
        let mut owned = unsafe { Owned::<PAGE_SIZE>::new() };
        heap.add(&mut owned, descriptor.slab_ref());
        // SAFETY: the block is allocated and stays a slab until `retire`.
        let marked = unsafe { frames.set_slab(base, Entry::new(descriptor, class).0) };
        debug_assert_eq!(marked, Ok(()));
        Ok(())
    }

    /// Gives the pages of a slab back that is on no list and empty. Returns how many.
    pub(super) fn retire(&self, frames: &FrameAllocator<P, PAGE_SIZE>, slab: SlabRef) -> usize {
        let descriptor = SharedRef::from_slab_ref(slab);
        let base = descriptor.base();
        let count = descriptor.class().slab_pages(PAGE_SIZE);
        // SAFETY: nothing of the slab is in use.
        let unmarked = unsafe { frames.set_slab(base, core::ptr::null_mut()) };
        debug_assert_eq!(unmarked, Ok(()));
        // SAFETY: the slab is empty, so no other CPU is about to touch it (see `remote`).
        unsafe { self.descriptors.lock().give(descriptor) };
        give_pages(frames, base, count);
        count
    }

    /// Takes in what other CPUs have freed of this heap's objects. Returns how many pages that gave back.
    pub(super) fn collect(
        &self,
        frames: &FrameAllocator<P, PAGE_SIZE>,
        cpu: &CpuState<P>,
        heap: &mut SlabHeap,
        owned: &mut Owned<PAGE_SIZE>,
    ) -> usize {
        if cpu.queue.is_empty() {
            return 0;
        }
        let mut given = 0;
        cpu.queue.take_all(|descriptor| {
            let slab = owned.slab(descriptor.slab_ref());
            let freed = remote::absorb::<PAGE_SIZE>(descriptor, slab);
            if let Some(emptied) = heap.settle(owned, descriptor.slab_ref(), freed) {
                given += self.retire(frames, emptied);
            }
        });
        given
    }

    /// A free that the magazine did not take.
    #[cold]
    #[inline(never)]
    pub(super) fn free_slowly(
        &self,
        frames: &FrameAllocator<P, PAGE_SIZE>,
        addr: usize,
        class: SizeClass,
    ) -> AllocResult {
        let entry = frames.slab_of(addr).ok_or(AllocError::NotFound)?;
        Entry(entry.as_ptr()).check::<PAGE_SIZE>(addr, class)?;
        if self.is_marked(addr) {
            return Err(AllocError::NotAllocated);
        }
        if let Some(cpu) = self.cpu(frames) {
            let mut objects = [0; MOST_BATCH];
            let moving = Moving::new(self);
            let moved = {
                let _pinned = Pinned::<P>::new();
                let own = self
                    .cpus
                    .get(P::cpu_id())
                    .filter(|own| core::ptr::eq(*own, cpu));
                // SAFETY: this is the CPU of that state, and it is pinned.
                own.and_then(|own| unsafe { own.enter() })
                    .map_or(0, |turn| {
                        // SAFETY: it is kept for turns only; see `ObjectAllocator::forget_windows`.
                        if let Some(window) = unsafe { frames.slab_window(addr) } {
                            turn.set_window(window);
                        }
                        if !turn.magazines.is_full(class) {
                            return 0;
                        }
                        let moved = turn
                            .magazines
                            .take_oldest(class, batch(class), &mut objects);
                        match self.depot() {
                            Some(depot) if depot.put(class, &objects[..moved]) => 0,
                            _ => moved,
                        }
                    })
            };
            self.give_back(frames, &objects[..moved], class);
            drop(moving);
            if self.push(addr, class) {
                return Ok(());
            }
        }
        self.mark(addr);
        self.give_back(frames, &[addr], class);
        Ok(())
    }

    /// Brings free objects back to their slabs. Waits for nobody: what the own heap's lock does
    /// not admit goes the way of a remote free.
    pub(super) fn give_back(
        &self,
        frames: &FrameAllocator<P, PAGE_SIZE>,
        objects: &[usize],
        class: SizeClass,
    ) {
        if objects.is_empty() {
            return;
        }
        let _pinned = Pinned::<P>::new();
        let id = P::cpu_id();
        let cpu = self.cpus.get(id);
        let mut heap = cpu.and_then(|cpu| cpu.heap.try_lock());
        // SAFETY: used for slabs of this CPU only, and only while its heap's lock is held.
        let mut owned = unsafe { Owned::<PAGE_SIZE>::new() };
        let mut batch = RemoteBatch::<PAGE_SIZE, _>::new(|slab| {
            if let Some(owner) = self.cpus.get(slab.owner()) {
                owner.queue.push(slab);
            }
        });
        let mut twice = None;
        for addr in objects {
            let entry = frames.slab_of(*addr).map(|entry| Entry(entry.as_ptr()));
            let Some(descriptor) = entry.and_then(Entry::descriptor) else {
                twice = Some(*addr);
                continue;
            };
            match &mut heap {
                Some(heap) if descriptor.owner() == id => {
                    match heap.put(&mut owned, descriptor.slab_ref(), class, *addr) {
                        Ok(Some(emptied)) => {
                            self.retire(frames, emptied);
                        }
                        Ok(None) => {}
                        Err(_) => twice = Some(*addr),
                    }
                }
                _ => {
                    if !batch.add(descriptor, Entry::index::<PAGE_SIZE>(*addr, class)) {
                        twice = Some(*addr);
                    }
                }
            }
        }
        drop(heap);
        batch.finish();
        if let Some(addr) = twice {
            P::misuse(&Misuse::Free {
                addr,
                size: class.size(),
                align: 1,
                error: AllocError::NotAllocated,
            });
        }
    }

    /// Takes one object from any CPU's slabs.
    pub(super) fn take_anywhere(
        &self,
        frames: &FrameAllocator<P, PAGE_SIZE>,
        class: SizeClass,
    ) -> Option<usize> {
        self.cpus.iter(P::MAX_CPUS).find_map(|(_, cpu)| {
            let mut heap = cpu.heap.lock();
            // SAFETY: this is the heap's lock.
            let mut owned = unsafe { Owned::<PAGE_SIZE>::new() };
            self.collect(frames, cpu, &mut heap, &mut owned);
            let mut object = None;
            heap.take(&mut owned, class, 1, |addr| object = Some(addr));
            object
        })
    }
}

/// While this exists, free objects may be in the caller's hands only, so nobody gives up for want
/// of them.
pub(super) struct Moving<'a>(&'a core::sync::atomic::AtomicUsize);

impl<'a> Moving<'a> {
    pub(super) fn new<P: Platform, const PAGE_SIZE: usize>(
        objects: &'a ObjectAllocator<P, PAGE_SIZE>,
    ) -> Self {
        objects.moving.fetch_add(1, Ordering::SeqCst);
        Self(&objects.moving)
    }
}

impl Drop for Moving<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Frees pages of the object layer.
pub(super) fn give_pages<P: Platform, const PAGE_SIZE: usize>(
    frames: &FrameAllocator<P, PAGE_SIZE>,
    base: usize,
    count: usize,
) {
    // SAFETY: the object layer allocated them, and nothing in them is in use.
    let given = unsafe { frames.dealloc_pages(base, count) };
    debug_assert_eq!(given, Ok(()));
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
