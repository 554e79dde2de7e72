//! The defects that our regression tests are named after, beside the allocator that has them: each
//! scenario goes well with Twinframe and badly there, so it tells one from the other.

use std::alloc::Layout;
use std::collections::BTreeSet;

use crate::memory::Memory;
use crate::platform::{Host, set_cpu};

const PAGE: usize = 4096;
const MIB: usize = 1 << 20;

/// An allocator of pages.
trait Pages: Sized {
    fn new(memory: &Memory) -> Self;
    fn alloc(&mut self, count: usize, align: usize) -> Option<usize>;
    fn free(&mut self, addr: usize, count: usize);
}

macro_rules! pages {
    ($pages:ty) => {
        impl Pages for $pages {
            fn new(memory: &Memory) -> Self {
                let mut this = <$pages>::new();
                // SAFETY: each scenario has memory of its own, for one allocator.
                let region = unsafe { memory.region().as_mut() };
                // SAFETY: as above; it outlives the allocator.
                unsafe { this.init(region) }.expect("a good region");
                this
            }

            fn alloc(&mut self, count: usize, align: usize) -> Option<usize> {
                self.alloc_pages(count, align).ok()
            }

            fn free(&mut self, addr: usize, count: usize) {
                let _ = self.dealloc_pages(addr, count);
            }
        }
    };
}

type Ours = twinframe::BuddyAllocator;
type Theirs = buddy_slab_allocator::BuddyAllocator<PAGE>;

pages!(Ours);
pages!(Theirs);

/// A page that had merged and is freed again is not handed out twice.
fn d04<A: Pages>() -> bool {
    let memory = Memory::new(16 * MIB, 2 * MIB);
    let mut pages = A::new(&memory);
    let mut all: BTreeSet<_> = core::iter::from_fn(|| pages.alloc(1, PAGE)).collect();
    // Two buddies, the upper one last: it becomes a part of the other one's block.
    let lower = *all.first().expect("free pages");
    let upper = lower + PAGE;
    for addr in [lower, upper, upper] {
        pages.free(addr, 1);
        all.remove(&addr);
    }
    core::iter::from_fn(|| pages.alloc(1, PAGE)).all(|addr| all.insert(addr))
}

/// Alignment is that of the address, and large ones are found in a heap that is empty.
fn d08<A: Pages>() -> bool {
    let memory = Memory::new(256 * MIB, 64 * MIB);
    let mut pages = A::new(&memory);
    (12..=25).all(|shift| {
        let (count, align) = ((1 << shift) / PAGE, 1 << shift);
        let addr = pages.alloc(count, align);
        addr.is_some_and(|addr| {
            pages.free(addr, count);
            addr.is_multiple_of(align)
        })
    })
}

#[test]
fn d04_a_merged_page_is_freed_twice() {
    assert!(d04::<Ours>());
    assert!(!d04::<Theirs>());
}

#[test]
fn d08_large_alignments() {
    assert!(d08::<Ours>());
    assert!(!d08::<Theirs>());
}

/// An allocator of everything. That of the others exists once in a program.
trait Global {
    fn alloc(&self, layout: Layout) -> Option<usize>;
    fn free(&self, addr: usize, layout: Layout);
    fn alloc_pages(&self, count: usize) -> Option<usize>;
    fn free_pages(&self, addr: usize, count: usize);
    fn allocated_bytes(&self) -> usize;
    fn managed_bytes(&self) -> usize;
    fn add(&self, memory: &Memory) -> bool;
}

macro_rules! global {
    ($global:ty) => {
        impl Global for $global {
            fn alloc(&self, layout: Layout) -> Option<usize> {
                let object = self.alloc(layout).ok()?;
                Some(object.as_ptr().expose_provenance())
            }

            fn free(&self, addr: usize, layout: Layout) {
                let object = std::ptr::with_exposed_provenance_mut(addr);
                let object = std::ptr::NonNull::new(object).expect("not null");
                // SAFETY: the scenarios free what they allocated.
                let _ = unsafe { self.dealloc(object, layout) };
            }

            fn alloc_pages(&self, count: usize) -> Option<usize> {
                self.alloc_pages(count, PAGE).ok()
            }

            #[allow(unused_unsafe, reason = "theirs is a safe function")]
            fn free_pages(&self, addr: usize, count: usize) {
                // SAFETY: as above.
                let _ = unsafe { self.dealloc_pages(addr, count) };
            }

            fn allocated_bytes(&self) -> usize {
                self.allocated_bytes()
            }

            fn managed_bytes(&self) -> usize {
                self.managed_bytes()
            }

            fn add(&self, memory: &Memory) -> bool {
                // SAFETY: the memory is never unmapped, and each is for one allocator.
                let region = unsafe { memory.region().as_mut() };
                // SAFETY: as above.
                unsafe { self.add_region(region) }.is_ok()
            }
        }
    };
}

global!(twinframe::GlobalAllocator<Host>);
global!(buddy_slab_allocator::GlobalAllocator<PAGE>);

/// What another CPU has freed becomes pages again.
fn d02(global: &impl Global) -> bool {
    let layout = Layout::new::<[u64; 8]>();
    set_cpu(0);
    let mut objects = Vec::new();
    while let Some(object) = global.alloc(layout) {
        objects.push(object);
    }
    set_cpu(1);
    for object in objects {
        global.free(object, layout);
    }
    let found = [0, 1].map(|cpu| {
        set_cpu(cpu);
        let pages = global.alloc_pages(1024);
        pages
            .inspect(|addr| global.free_pages(*addr, 1024))
            .is_some()
    });
    set_cpu(0);
    found == [true; 2]
}

/// A size of 0 is served for large alignments as for small ones, and five pages cost five.
fn d14(global: &impl Global) -> bool {
    let [small, large] = [8, PAGE].map(|align| {
        let layout = Layout::from_size_align(0, align).expect("a layout");
        global
            .alloc(layout)
            .inspect(|object| global.free(*object, layout))
    });
    let five = Layout::from_size_align(5 * PAGE, 8).expect("a layout");
    let before = global.allocated_bytes();
    let pages = global.alloc(five).expect("enough memory");
    let cost = global.allocated_bytes() - before;
    global.free(pages, five);
    small.is_some() == large.is_some() && cost == 5 * PAGE
}

/// A region that is accepted yields pages.
fn d11(global: &impl Global) -> bool {
    let memory = Memory::new(2 * MIB - PAGE, 2 * MIB);
    let before = global.managed_bytes();
    !global.add(&memory) || global.managed_bytes() != before
}

#[test]
fn d14_d11_d02_sizes_regions_and_stranded_objects() {
    static OURS: twinframe::GlobalAllocator<Host> = twinframe::GlobalAllocator::new();
    static THEIRS: buddy_slab_allocator::GlobalAllocator<PAGE> =
        buddy_slab_allocator::GlobalAllocator::new();
    let memories = [(); 2].map(|()| Box::leak(Box::new(Memory::new(64 * MIB, 2 * MIB))));
    let [ours, theirs] = memories.map(|memory| memory.region());
    // SAFETY: the memory is leaked, and used by one allocator.
    let region = unsafe { { ours }.as_mut() };
    // SAFETY: as above.
    unsafe { OURS.init(region) }.expect("a good region");
    // SAFETY: as above.
    let region = unsafe { { theirs }.as_mut() };
    // SAFETY: as above.
    unsafe { THEIRS.init(region) }.expect("a good region");
    assert!(d14(&OURS));
    assert!(!d14(&THEIRS));
    assert!(d11(&OURS));
    assert!(!d11(&THEIRS));
    assert!(d02(&OURS));
    assert!(!d02(&THEIRS));
}
