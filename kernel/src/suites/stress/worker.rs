//! A CPU at work for a stress: allocates, marks, checks, frees, and keeps account of it all.

use core::alloc::Layout;
use core::fmt;
use core::panic::Location;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};

use fastrand::Rng;
use twinframe::{AllocError, AllocResult, PageRequest};

use super::block::{Block, Shape};
use super::history::What;
use super::pattern::{Damage, Pattern};
use super::rig::Rig;
use crate::arch::{percpu, storm};
use crate::memory::HEAP;
use crate::whereabouts;

/// One CPU in one stress, or a handler on it.
pub(super) struct Worker<'a> {
    rig: &'a Rig,
    cpu: usize,
    is_handler: bool,
    pub(super) random: Rng,
    /// When the last report was, and after how many operations; for the CPU that reports.
    last: Option<(u64, u64)>,
}

impl<'a> Worker<'a> {
    /// The worker of a CPU. Its choices follow from the run's seed, the stress and the CPU.
    pub(super) fn new(rig: &'a Rig, cpu: usize) -> Self {
        let name = rig.name.bytes().fold(0, |hash: u64, byte| {
            hash.wrapping_mul(31).wrapping_add(u64::from(byte))
        });
        let mut worker = Self::in_interrupt(rig, cpu, rig.seed ^ name ^ (cpu as u64) << 32);
        worker.last = (cpu == 0).then_some((0, 0));
        worker.is_handler = false;
        worker
    }

    /// What a handler on that CPU is.
    pub(super) fn in_interrupt(rig: &'a Rig, cpu: usize, seed: u64) -> Self {
        Self {
            rig,
            cpu,
            is_handler: true,
            random: Rng::with_seed(seed),
            last: None,
        }
    }

    /// Counts an operation, and says whether there is time for another one.
    pub(super) fn goes_on(&mut self) -> bool {
        let count = add_own(&self.rig.place(self.cpu).operations);
        storm::progress();
        // An operation may take long where CPUs wait for each other, so not too seldom.
        if count.is_multiple_of(8) {
            self.rig.look();
            if let Some(last) = &mut self.last {
                self.rig.report(last);
            }
        }
        !self.rig.is_over()
    }

    /// The CPU that it is.
    pub(super) const fn cpu(&self) -> usize {
        self.cpu
    }

    /// How many CPUs take part.
    pub(super) fn cpus(&self) -> usize {
        self.rig.cpus()
    }

    /// True once in `n` times, at random.
    pub(super) fn one_in(&mut self, n: u32) -> bool {
        self.random.u32(..n) == 0
    }

    /// Allocates for a layout. `None` if memory has run out.
    #[track_caller]
    pub(super) fn take(&mut self, layout: Layout) -> Option<Block> {
        let memory = self.unless_exhausted(HEAP.alloc(layout))?;
        Some(self.keep(memory, Shape::Layout(layout), Location::caller()))
    }

    /// The same, with zeroes.
    #[track_caller]
    pub(super) fn take_zeroed(&mut self, layout: Layout) -> Option<Block> {
        let memory = self.unless_exhausted(HEAP.alloc_zeroed(layout))?;
        let dirty = (0..layout.size()).find_map(|offset| {
            // SAFETY: inside of what was just allocated.
            let place = unsafe { memory.add(offset) };
            // SAFETY: as above.
            let byte = unsafe { place.read() };
            (byte != 0).then_some((offset, byte))
        });
        let block = self.keep(memory, Shape::Layout(layout), Location::caller());
        if let Some((offset, byte)) = dirty {
            self.fail(
                &block,
                format_args!("at +{offset:#x} was {byte:#x}, not zero"),
            );
        }
        Some(block)
    }

    /// Allocates `count` pages as `request` says, which is for so many.
    #[track_caller]
    pub(super) fn take_pages(&mut self, count: usize, request: &PageRequest) -> Option<Block> {
        let address = self.unless_exhausted(HEAP.allocate(request))?;
        self.keep_pages(address, count, Location::caller())
    }

    /// Takes pages that the caller has allocated into the account.
    #[track_caller]
    pub(super) fn adopt_pages(&mut self, address: usize, count: usize) -> Option<Block> {
        self.keep_pages(address, count, Location::caller())
    }

    /// Takes memory that the caller has allocated into the account.
    #[track_caller]
    pub(super) fn adopt(&mut self, memory: NonNull<u8>, layout: Layout) -> Block {
        self.keep(memory, Shape::Layout(layout), Location::caller())
    }

    fn keep_pages(
        &mut self,
        address: usize,
        count: usize,
        caller: &'static Location<'static>,
    ) -> Option<Block> {
        let memory = NonNull::new(core::ptr::with_exposed_provenance_mut(address))?;
        Some(self.keep(memory, Shape::Pages(count), caller))
    }

    fn keep(
        &mut self,
        memory: NonNull<u8>,
        shape: Shape,
        caller: &'static Location<'static>,
    ) -> Block {
        let align = match shape {
            Shape::Layout(layout) => layout.align(),
            Shape::Pages(_) => 4096,
        };
        let serial = self
            .rig
            .place(self.cpu)
            .serial
            .fetch_add(1, Ordering::Relaxed);
        let block = Block {
            memory,
            shape,
            pattern: Pattern::new(self.cpu, serial),
            owner: self.cpu,
            site: self.rig.ledger.enter(caller, shape.bytes()),
        };
        self.note(&block, What::Taken);
        if !block.address().is_multiple_of(align) {
            self.fail(&block, format_args!("not aligned to {align:#x}"));
        }
        // SAFETY: freshly allocated, with that size.
        unsafe { block.pattern.fill(memory.as_ptr(), shape.bytes()) };
        block
    }

    fn unless_exhausted<T>(&self, result: AllocResult<T>) -> Option<T> {
        match result {
            Ok(memory) => Some(memory),
            Err(AllocError::NoMemory) => None,
            Err(error) => panic!("{}: {error}", self.rig.title()),
        }
    }

    /// Looks whether a block is as it was left.
    pub(super) fn check(&self, block: &Block) {
        // SAFETY: the block is live, so the memory is its own.
        let intact = unsafe {
            let start = block.memory.as_ptr();
            block.pattern.check(start, block.bytes(), block.bytes())
        };
        if let Err(damage) = intact {
            self.damaged(block, damage);
        }
    }

    /// Checks a block and gives it back.
    pub(super) fn free(&mut self, block: Block) {
        self.check(&block);
        self.let_go(&block);
        let freed = match block.shape {
            // SAFETY: allocated with this layout, and nobody uses it any more.
            Shape::Layout(layout) => unsafe { HEAP.dealloc(block.memory, layout) },
            // SAFETY: allocated with this count, and nobody uses it any more.
            Shape::Pages(count) => unsafe { HEAP.dealloc_pages(block.address(), count) },
        };
        if let Err(error) = freed {
            self.refused(&block, error);
        }
    }

    /// Checks a block, and takes it off the account without freeing it: the caller will.
    pub(super) fn give_up(&mut self, block: Block) -> NonNull<u8> {
        self.check(&block);
        self.let_go(&block);
        block.memory
    }

    /// Before the memory is freed: afterwards it may be somebody else's at once.
    fn let_go(&self, block: &Block) {
        self.note(block, What::Freed);
        self.rig.ledger.leave(block.site, block.bytes());
    }

    /// Makes a block larger or smaller. `None` if memory ran out; then it is free.
    #[track_caller]
    pub(super) fn resize(&mut self, block: Block, layout: Layout) -> Option<Block> {
        let Shape::Layout(old) = block.shape else {
            return Some(block);
        };
        self.check(&block);
        // SAFETY: allocated for `old`, and only the result is used afterwards.
        let moved = match unsafe { HEAP.realloc(block.memory, old, layout) } {
            Ok(moved) => moved,
            Err(AllocError::NoMemory) => {
                self.free(block);
                return None;
            }
            Err(error) => self.refused(&block, error),
        };
        // A block that is marked at its ends only has another end now.
        let kept = if old.size() <= 4096 {
            layout.size().min(old.size())
        } else {
            0
        };
        // SAFETY: this memory is as long as the new layout, and ours.
        let intact = unsafe { block.pattern.check(moved.as_ptr(), kept, old.size()) };
        if let Err(damage) = intact {
            self.damaged(&block, damage);
        }
        self.note(&block, What::Resized);
        self.rig.ledger.leave(block.site, block.bytes());
        Some(self.keep(moved, Shape::Layout(layout), Location::caller()))
    }

    /// Leaves a block at another CPU; frees it if there is no room.
    pub(super) fn post(&mut self, to: usize, block: Block) {
        self.note(&block, What::Passed);
        if let Err(block) = self.rig.boxes.post(to, block) {
            self.free(block);
        }
    }

    /// Frees up to `most` blocks that were left at CPU `at`; says how many.
    pub(super) fn collect(&mut self, at: usize, most: usize) -> usize {
        for done in 0..most {
            let Some(block) = self.rig.boxes.take(at) else {
                return done;
            };
            self.free(block);
        }
        most
    }

    fn note(&self, block: &Block, what: What) {
        if !self.is_handler {
            storm::progress();
        }
        let us = self.rig.now_us();
        let history = &self.rig.history;
        history.note(block.address(), what, self.cpu, block.site, us);
    }

    fn damaged(&self, block: &Block, damage: Damage) -> ! {
        self.fail(block, format_args!("{damage}"))
    }

    pub(super) fn refused(&self, block: &Block, error: AllocError) -> ! {
        self.fail(block, format_args!("refused: {error}"))
    }

    /// Ends everything: this is wrong with the block, and here is all that is known of it.
    pub(super) fn fail(&self, block: &Block, what: fmt::Arguments<'_>) -> ! {
        self.fail_at(block.address(), block.bytes(), block.owner, what)
    }

    /// The same for memory that is nobody's block any more; `owner` is the CPU that had it last.
    pub(super) fn fail_at(
        &self,
        address: usize,
        bytes: usize,
        owner: usize,
        what: fmt::Arguments<'_>,
    ) -> ! {
        panic!(
            "{}: block {address:#x}, {bytes} bytes, of CPU {owner}: {what}; seen by CPU {} after {} us\n\
             there is {}\nhistory of this address:{}\nof the page:{}",
            self.rig.title(),
            percpu::id(),
            self.rig.now_us(),
            whereabouts::Place(address as u64),
            self.rig.history.of(address, &self.rig.ledger),
            self.rig.history.of(address & !0xfff, &self.rig.ledger),
        )
    }
}

/// Counts one up what only this context writes; returns how many there were.
pub(super) fn add_own(counter: &AtomicU64) -> u64 {
    let count = counter.load(Ordering::Relaxed);
    counter.store(count + 1, Ordering::Relaxed);
    count
}
