//! What happens to objects in a sequence, and what must be true of it.

use std::alloc::Layout;
use std::collections::BTreeMap;
use std::ptr::NonNull;

use arbitrary::Arbitrary;
use twinframe::{AllocError, GlobalAllocator, Platform};

use crate::memory::Memory;
use crate::platform::set_cpu;

/// Little enough for a sequence to use all of it.
const HEAP: usize = 3 << 20;

/// One call.
#[derive(Arbitrary, Debug)]
pub enum ObjectOp {
    Cpu(u8),
    Allocate { size: u16, align: u8, zeroed: bool },
    AllocateMany { size: u16, count: u8 },
    Free(u8),
    FreeMany { first: u8, count: u8 },
    FreeTwice(u8),
    FreeInside { object: u8, offset: u16 },
    FreeAs { object: u8, size: u16 },
    FreeWild(u32),
    Realloc { object: u8, size: u16 },
    Pages(u8),
    Fail(u8),
    Drain,
    Statistics,
    Validate,
}

/// An allocator with the objects that are live.
struct Machine<P: Platform> {
    heap: GlobalAllocator<P>,
    live: BTreeMap<usize, (Layout, u8)>,
    stamp: u8,
}

/// Plays a sequence.
pub fn play_objects<P: Platform>(ops: Vec<ObjectOp>) {
    let mut machine = Machine {
        heap: GlobalAllocator::<P>::new(),
        live: BTreeMap::new(),
        stamp: 0,
    };
    // SAFETY: the memory is used through this allocator only, while it exists.
    let region = unsafe { Memory::get().part(0x1000, HEAP).as_mut() };
    set_cpu(0);
    // SAFETY: as above.
    unsafe { machine.heap.init(region) }.expect("enough memory");
    for op in ops {
        machine.step(op);
    }
    machine.finish();
}

fn layout(size: u16, align: u8) -> Layout {
    Layout::from_size_align(size.into(), 1 << (align % 14)).expect("a layout")
}

fn pointer(addr: usize) -> NonNull<u8> {
    NonNull::new(std::ptr::with_exposed_provenance_mut(addr)).expect("not null")
}

impl<P: Platform> Machine<P> {
    fn step(&mut self, op: ObjectOp) {
        match op {
            ObjectOp::Cpu(cpu) => set_cpu(usize::from(cpu % 5)),
            ObjectOp::Allocate {
                size,
                align,
                zeroed,
            } => self.allocate(layout(size, align), zeroed),
            ObjectOp::AllocateMany { size, count } => {
                for _ in 0..count {
                    self.allocate(layout(size % 3000, 3), false);
                }
            }
            ObjectOp::Free(object) => {
                if let Some(addr) = self.pick(object) {
                    self.free(addr);
                }
            }
            ObjectOp::FreeMany { first, count } => {
                for _ in 0..count {
                    if let Some(addr) = self.pick(first) {
                        self.free(addr);
                    }
                }
            }
            ObjectOp::FreeTwice(object) => {
                if let Some(addr) = self.pick(object) {
                    let (layout, _) = self.live[&addr];
                    self.free(addr);
                    self.refuse(addr, layout);
                }
            }
            ObjectOp::FreeInside { object, offset } => {
                if let Some(addr) = self.pick(object) {
                    let (layout, _) = self.live[&addr];
                    let inside = addr + usize::from(offset) % layout.size().max(1);
                    if inside != addr {
                        self.refuse(inside, layout);
                    }
                }
            }
            ObjectOp::FreeAs { object, size } => self.free_as(object, layout(size, 3)),
            ObjectOp::FreeWild(offset) => {
                let addr = Memory::get().addr() + offset as usize % (2 * HEAP);
                if addr != 0 && !self.live.contains_key(&addr) {
                    self.refuse(addr, layout(64, 3));
                }
            }
            ObjectOp::Realloc { object, size } => self.realloc(object, usize::from(size)),
            ObjectOp::Pages(count) => {
                let count = usize::from(count % 40) + 1;
                if let Ok(addr) = self.heap.alloc_pages(count, 0) {
                    let bytes = count.next_power_of_two() * 0x1000;
                    let below = self.live.range(..addr + bytes).next_back();
                    assert!(below.is_none_or(|(start, (layout, _))| start + layout.size() <= addr));
                    // SAFETY: allocated just now.
                    unsafe { pointer(addr).write_bytes(0xcc, bytes) };
                    // SAFETY: as above.
                    unsafe { self.heap.dealloc_pages(addr, count) }.expect("a live block");
                }
            }
            ObjectOp::Fail(nth) => self.heap.fail_allocation(nth.into()),
            ObjectOp::Drain => drop(self.heap.drain()),
            ObjectOp::Statistics => self.check_counts(),
            ObjectOp::Validate => self.heap.validate().expect("consistent"),
        }
    }

    fn pick(&self, number: u8) -> Option<usize> {
        let index = usize::from(number) % self.live.len().max(1);
        self.live.keys().nth(index).copied()
    }

    fn allocate(&mut self, layout: Layout, zeroed: bool) {
        let allocated = if zeroed {
            self.heap.alloc_zeroed(layout)
        } else {
            self.heap.alloc(layout)
        };
        match allocated {
            Ok(object) => {
                if zeroed {
                    self.assert_bytes(object.addr().get(), layout.size(), 0);
                }
                self.enter(object, layout);
            }
            Err(error) => assert_eq!(error, AllocError::NoMemory),
        }
    }

    /// Notes an allocation, which overlaps no other one, and fills it.
    fn enter(&mut self, object: NonNull<u8>, layout: Layout) {
        let addr = object.expose_provenance().get();
        assert!(addr.is_multiple_of(layout.align()));
        let end = addr + layout.size().max(1);
        if let Some((below, (other, _))) = self.live.range(..end).next_back() {
            assert!(below + other.size().max(1) <= addr, "objects overlap");
        }
        self.stamp = self.stamp.wrapping_add(1);
        // SAFETY: allocated just now with this layout.
        unsafe { object.write_bytes(self.stamp, layout.size()) };
        self.live.insert(addr, (layout, self.stamp));
    }

    fn assert_bytes(&self, addr: usize, len: usize, stamp: u8) {
        // SAFETY: a live object that is at least that long, and was written.
        let bytes = unsafe { std::slice::from_raw_parts(pointer(addr).as_ptr(), len) };
        assert!(bytes.iter().all(|byte| *byte == stamp));
    }

    fn free(&mut self, addr: usize) {
        let (layout, stamp) = self.live.remove(&addr).expect("a live object");
        self.assert_bytes(addr, layout.size(), stamp);
        // SAFETY: live, and allocated with this layout.
        assert_eq!(unsafe { self.heap.dealloc(pointer(addr), layout) }, Ok(()));
    }

    /// Tries a free that must not be taken.
    fn refuse(&self, addr: usize, layout: Layout) {
        // SAFETY: nothing that is live begins there.
        assert!(unsafe { self.heap.dealloc(pointer(addr), layout) }.is_err());
    }

    /// Frees with a layout that may be another one: then it is taken only where both are served alike.
    fn free_as(&mut self, object: u8, wrong: Layout) {
        let Some(addr) = self.pick(object) else {
            return;
        };
        let (right, stamp) = self.live[&addr];
        self.assert_bytes(addr, right.size(), stamp);
        // SAFETY: live; it is given up if the free is taken.
        if unsafe { self.heap.dealloc(pointer(addr), wrong) }.is_ok() {
            let [right, wrong] = [right, wrong].map(GlobalAllocator::<P>::usable_size);
            // A block of a power of two pages is freed by every count that is rounded up to it.
            let is_block = right > 2048 && right.is_power_of_two();
            let wrong = if is_block {
                wrong.next_power_of_two()
            } else {
                wrong
            };
            assert_eq!(right, wrong);
            self.live.remove(&addr);
        }
    }

    fn realloc(&mut self, object: u8, size: usize) {
        let Some(addr) = self.pick(object) else {
            return;
        };
        let (old, stamp) = self.live[&addr];
        let new = Layout::from_size_align(size, old.align()).expect("a layout");
        // SAFETY: live, and allocated with this layout.
        match unsafe { self.heap.realloc(pointer(addr), old, new) } {
            Ok(moved) => {
                self.live.remove(&addr);
                self.assert_bytes(moved.expose_provenance().get(), old.size().min(size), stamp);
                self.enter(moved, new);
            }
            Err(error) => assert_eq!(error, AllocError::NoMemory),
        }
    }

    /// Allocations and frees of all CPUs differ by what is live.
    fn check_counts(&self) {
        let live = self.heap.slabinfo().live();
        let cpus = (0..5).filter_map(|cpu| self.heap.slabinfo_of_cpu(cpu));
        let balance: usize = cpus
            .flat_map(|info| {
                twinframe::SizeClass::ALL.map(|class| {
                    let stats = info.class(class);
                    stats.allocations.wrapping_sub(stats.frees)
                })
            })
            .fold(0, usize::wrapping_add);
        assert_eq!(balance, live);
        assert!(live <= self.live.len());
    }

    /// Everything comes back.
    fn finish(mut self) {
        self.heap.fail_allocation(0);
        while let Some((addr, _)) = self.live.first_key_value() {
            let addr = *addr;
            set_cpu(self.live.len() % 5);
            self.free(addr);
        }
        self.check_counts();
        self.heap.validate().expect("consistent");
        self.heap.drain();
        assert_eq!(self.heap.allocated_bytes(), 0);
        self.heap.validate().expect("consistent");
    }
}
