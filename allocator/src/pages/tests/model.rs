//! Random operations against a model that knows every page.

use core::ops::Range;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering};
use std::collections::BTreeMap;
use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::{Cpu, GIB, Host, KIB, MIB, Memory, PAGE, assert_recovered};
use crate::{
    AllocError, AllocResult, BuddyAllocator, FrameAllocator, ManagedSection, PageFlags,
    PageRequest, Reclaim, ReclaimRequest, RegionReport, Zone,
};

/// CPUs that take turns.
const CPUS: usize = 4;

#[derive(Debug, Clone)]
enum Op {
    Alloc {
        count: usize,
        align: u32,
        limit: usize,
        exact: bool,
    },
    AllocAt {
        section: usize,
        page: usize,
        count: usize,
    },
    Free(usize),
    FreeWrongly {
        live: usize,
        page: usize,
        count: usize,
    },
    Add(usize),
    Remove(usize),
    Slab(usize),
    Cpu(usize),
    Drain(usize),
    DrainAll,
    Reclaim(bool),
}

fn op() -> impl Strategy<Value = Op> {
    let count = prop_oneof![4 => 1usize..9, 2 => 1usize..100, 1 => 1usize..3000];
    prop_oneof![
        8 => (count, prop_oneof![4 => Just(0), 1 => 12u32..22], 0usize..LIMITS.len(), any::<bool>())
            .prop_map(|(count, align, limit, exact)| Op::Alloc { count, align, limit, exact }),
        1 => (any::<usize>(), any::<usize>(), 1usize..40)
            .prop_map(|(section, page, count)| Op::AllocAt { section, page, count }),
        6 => any::<usize>().prop_map(Op::Free),
        1 => (any::<usize>(), 0usize..9, 0usize..20)
            .prop_map(|(live, page, count)| Op::FreeWrongly { live, page, count }),
        1 => any::<usize>().prop_map(Op::Add),
        1 => any::<usize>().prop_map(Op::Remove),
        1 => any::<usize>().prop_map(Op::Slab),
        2 => (0..CPUS).prop_map(Op::Cpu),
        1 => (0..CPUS).prop_map(Op::Drain),
        1 => Just(Op::DrainAll),
        1 => any::<bool>().prop_map(Op::Reclaim),
    ]
}

/// Physical limits: none, lowmem, ISA, the middle of a zone, below everything.
const LIMITS: [u64; 6] = [
    u64::MAX,
    u64::MAX,
    (4 << 30) - 1,
    (16 << 20) - 1,
    (5 << 30) + 0x12_3456,
    0xfff,
];

/// Offset in the arena, length, physical address.
const REGIONS: [(usize, usize, u64); 6] = [
    (0, 256 * KIB, 15 << 20),
    // Crosses from DMA to DMA32.
    (MIB, 600 * KIB, (16 << 20) - 0x4_0000),
    // Crosses from DMA32 to Normal, ends unaligned.
    (2 * MIB + 0x20, MIB - 0x2020, (4 << 30) - 0x8_0000 + 0x20),
    // More than two chunks, so that most of it is untouched at first.
    (16 * MIB, 40 * MIB, 5 << 30),
    // Only blocks up to 8 pages are aligned virtually.
    (4 * MIB, 512 * KIB, (6 << 30) + 0x8000),
    (5 * MIB, 8 * KIB, 7 << 30),
];

/// What the allocator should know.
#[derive(Default)]
struct Model {
    /// Start address of every section, its description, and which pages are out.
    sections: BTreeMap<usize, (ManagedSection, Vec<bool>)>,
    /// Address and pages.
    live: Vec<(usize, usize)>,
}

impl Model {
    fn read_sections(&mut self, pages: &impl Subject) {
        let mut sections = BTreeMap::new();
        for i in 0..pages.section_count() {
            let section = pages.section(i).unwrap();
            let used = match self.sections.remove(&section.start) {
                Some((_, used)) => used,
                None => std::vec![false; section.total_pages],
            };
            sections.insert(section.start, (section, used));
        }
        self.sections = sections;
    }

    fn set(&mut self, addr: usize, count: usize, out: bool) {
        let (_, (section, used)) = self.sections.range_mut(..=addr).next_back().unwrap();
        let first = (addr - section.start) / PAGE;
        for page in &mut used[first..first + count] {
            assert_ne!(*page, out, "a page was given out or taken back twice");
            *page = out;
        }
    }

    fn free_pages(&self, zone: Zone) -> usize {
        self.of(zone)
            .map(|(_, used)| used.iter().filter(|out| !**out).count())
            .sum()
    }

    fn of(&self, zone: Zone) -> impl Iterator<Item = &(ManagedSection, Vec<bool>)> {
        self.sections
            .values()
            .filter(move |(section, _)| section.zone == zone)
    }

    /// Must this request succeed?
    fn can_serve(&self, count: usize, exact: bool, need: usize, max_phys: u64) -> bool {
        let block = count.next_power_of_two();
        let cost = if exact { count } else { block };
        let managed =
            Zone::ALL.map(|zone| self.of(zone).map(|(section, _)| section.total_pages).sum());
        let highest = Zone::of(max_phys.saturating_sub(PAGE as u64 - 1));
        Zone::ALL
            .into_iter()
            .filter(|zone| *zone <= highest)
            .any(|zone| {
                self.free_pages(zone) >= cost + zone.reserve(highest, &managed)
                    && self.of(zone).any(|(section, used)| {
                        let pages = block_starts(section, need);
                        pages.into_iter().any(|first| {
                            let end = section.phys + ((first + block) * PAGE) as u64 - 1;
                            end <= max_phys && used[first..first + need].iter().all(|out| !out)
                        })
                    })
            })
    }
}

/// Page indices in the section where a block of `pages` can begin.
fn block_starts(section: &ManagedSection, pages: usize) -> Vec<usize> {
    if pages > 1 << section.max_order {
        return Vec::new();
    }
    let pfn = usize::try_from(section.phys).unwrap() / PAGE;
    let first = pfn.next_multiple_of(pages) - pfn;
    (first..section.total_pages)
        .step_by(pages)
        .filter(|at| at + pages <= section.total_pages)
        .collect()
}

fn run(mut pages: impl Subject, ops: Vec<Op>) {
    let memory = Memory::new(64 * MIB);
    let mut model = Model::default();
    // The first region is the one that a CPU's caches are put into.
    for region in [0, 3] {
        add(&mut pages, &memory, region);
    }
    for cpu in (0..CPUS).rev() {
        pages.on_cpu(cpu);
        let addr = pages.alloc(&PageRequest::new(1)).unwrap();
        pages.free(addr, 1).unwrap();
    }
    pages.drain_all();
    model.read_sections(&pages);
    let taken: Vec<usize> = (model.sections.values())
        .flat_map(|(section, used)| (0..used.len()).map(|page| section.start + page * PAGE))
        .filter(|addr| pages.page_flags(*addr) == Ok(PageFlags::Allocated))
        .collect();
    taken.into_iter().for_each(|addr| model.set(addr, 1, true));
    for (step, op) in ops.into_iter().enumerate() {
        apply(&mut pages, &mut model, &memory, op);
        let free: usize = Zone::ALL.iter().map(|zone| model.free_pages(*zone)).sum();
        assert_eq!(pages.free_pages(), free);
        if step % 16 == 0 {
            pages.validate();
        }
    }
    for (addr, count) in model.live.drain(..) {
        pages.free(addr, count).unwrap();
    }
    pages.assert_recovered();
}

fn add(pages: &mut impl Subject, memory: &Memory, region: usize) {
    let (offset, len, phys) = REGIONS[region % REGIONS.len()];
    // SAFETY: the memory outlives the allocator; a region that is managed is refused.
    let result = unsafe { pages.add(memory.part(offset, len), phys) };
    assert!(result.is_ok() || result == Err(AllocError::MemoryOverlap));
}

fn apply(pages: &mut impl Subject, model: &mut Model, memory: &Memory, op: Op) {
    match op {
        Op::Alloc {
            count,
            align,
            limit,
            exact,
        } => {
            let align = if align == 0 { PAGE } else { 1 << align };
            let max_phys = LIMITS[limit];
            let need = count.next_power_of_two().max(align / PAGE);
            let mut request = PageRequest::new(count).align(align).max_phys(max_phys);
            if exact {
                request = request.exact();
            }
            let can = model.can_serve(count, exact, need, max_phys);
            match pages.alloc(&request) {
                Ok(addr) => {
                    // What is in a cache was allocated when the reserve allowed it.
                    assert!(can || !pages.is_exact());
                    let block = count.next_power_of_two();
                    let cost = if exact { count } else { block };
                    assert!(addr.is_multiple_of(align) && addr.is_multiple_of(block * PAGE));
                    model.set(addr, cost, true);
                    model.live.push((addr, cost));
                }
                Err(AllocError::NoMemory) => assert!(!can),
                Err(AllocError::NotInitialized) => assert!(model.sections.is_empty()),
                Err(error) => panic!("{error}"),
            }
        }
        Op::AllocAt {
            section,
            page,
            count,
        } => {
            if model.sections.is_empty() {
                return;
            }
            let (section, used) = model
                .sections
                .values()
                .nth(section % model.sections.len())
                .unwrap();
            let page = page % section.total_pages;
            let addr = section.start + page * PAGE;
            let free = page + count <= section.total_pages
                && used[page..page + count].iter().all(|out| !out);
            match pages.alloc_at(addr, count) {
                Ok(_) => {
                    assert!(free);
                    model.set(addr, count, true);
                    model.live.push((addr, count));
                }
                Err(error) => assert_eq!((error, free), (AllocError::NoMemory, false)),
            }
        }
        Op::Free(i) => {
            if model.live.is_empty() {
                return;
            }
            let (addr, count) = model.live.swap_remove(i % model.live.len());
            pages.free(addr, count).unwrap();
            model.set(addr, count, false);
            assert!(pages.free(addr, count).is_err());
        }
        Op::FreeWrongly { live, page, count } => {
            let Some((addr, pages_out)) = model.live.get(live % model.live.len().max(1)).copied()
            else {
                return;
            };
            let wrong_page = addr + page * PAGE;
            let right = model.live.iter().any(|(addr, _)| *addr == wrong_page);
            if page == 0 {
                // A single block is freed by every count that rounds up to it, also where exactly so many
                // pages were asked for.
                let same = count == pages_out || count.next_power_of_two() == pages_out;
                if !same || count == 0 {
                    assert_eq!(pages.free(addr, count), Err(AllocError::InvalidParam));
                }
            } else if !right {
                assert!(pages.free(wrong_page, count).is_err());
            }
        }
        Op::Add(region) => {
            add(pages, memory, region);
            model.read_sections(pages);
        }
        Op::Remove(i) => {
            if model.sections.is_empty() {
                return;
            }
            let (start, (_, used)) = model.sections.iter().nth(i % model.sections.len()).unwrap();
            let out = used.iter().filter(|out| **out).count();
            match pages.remove(*start) {
                Ok(_) => assert_eq!(out, 0),
                Err(error) => assert_eq!(error, AllocError::Busy(out)),
            }
            model.read_sections(pages);
        }
        Op::Cpu(cpu) => pages.on_cpu(cpu),
        Op::Drain(cpu) => pages.drain(cpu),
        Op::DrainAll => pages.drain_all(),
        Op::Reclaim(on) => pages.set_reclaim(on.then_some(lie)),
        Op::Slab(i) => {
            let Some((addr, count)) = model.live.get(i % model.live.len().max(1)).copied() else {
                return;
            };
            let descriptor = core::ptr::without_provenance_mut(addr);
            // SAFETY: the block is live and the model's.
            if unsafe { pages.set_slab(addr, descriptor) }.is_ok() {
                assert_eq!(
                    pages.slab_of(addr + count * PAGE - 1).unwrap().as_ptr(),
                    descriptor
                );
                assert_eq!(pages.free(addr, count), Err(AllocError::NotAllocated));
                // SAFETY: as above.
                unsafe { pages.set_slab(addr, core::ptr::null_mut()) }.unwrap();
            }
        }
    }
}

/// A callback that frees nothing and says now and then that it did.
fn lie(request: &ReclaimRequest) -> usize {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    assert!(request.pages > 0);
    CALLS.fetch_add(1, Ordering::Relaxed) % 3
}

/// What the model is compared with.
trait Subject {
    fn on_cpu(&mut self, _: usize) {}
    fn drain(&mut self, _: usize) {}
    fn drain_all(&mut self) {}
    fn set_reclaim(&mut self, _: Option<Reclaim>) {}

    /// Does it refuse all that the model refuses?
    fn is_exact(&self) -> bool;

    unsafe fn add(&mut self, region: NonNull<[u8]>, phys: u64) -> AllocResult<RegionReport>;
    fn remove(&mut self, addr: usize) -> AllocResult<Range<usize>>;
    fn alloc(&mut self, request: &PageRequest) -> AllocResult<usize>;
    fn alloc_at(&mut self, addr: usize, count: usize) -> AllocResult<usize>;
    fn free(&mut self, addr: usize, count: usize) -> AllocResult;
    unsafe fn set_slab(&mut self, addr: usize, descriptor: *mut ()) -> AllocResult;
    fn slab_of(&self, addr: usize) -> Option<NonNull<()>>;
    fn page_flags(&self, addr: usize) -> AllocResult<PageFlags>;
    fn section_count(&self) -> usize;
    fn section(&self, i: usize) -> Option<ManagedSection>;
    fn free_pages(&self) -> usize;
    fn validate(&self);
    fn assert_recovered(&self);
}

/// The calls that both allocators have.
macro_rules! subject {
    ($allocator:ty, $($own:item)*) => {
        impl Subject for $allocator {
            $($own)*

            unsafe fn add(&mut self, region: NonNull<[u8]>, phys: u64) -> AllocResult<RegionReport> {
                // SAFETY: passed on to the caller.
                unsafe { self.add_region_at(region, phys) }
            }

            fn remove(&mut self, addr: usize) -> AllocResult<Range<usize>> {
                self.remove_section(addr)
            }

            fn alloc(&mut self, request: &PageRequest) -> AllocResult<usize> {
                self.allocate(request)
            }

            fn alloc_at(&mut self, addr: usize, count: usize) -> AllocResult<usize> {
                self.alloc_pages_at(addr, count, 0)
            }

            unsafe fn set_slab(&mut self, addr: usize, descriptor: *mut ()) -> AllocResult {
                // SAFETY: passed on to the caller.
                unsafe { <$allocator>::set_slab(self, addr, descriptor) }
            }

            fn slab_of(&self, addr: usize) -> Option<NonNull<()>> {
                <$allocator>::slab_of(self, addr)
            }

            fn page_flags(&self, addr: usize) -> AllocResult<PageFlags> {
                <$allocator>::page_flags(self, addr)
            }

            fn section_count(&self) -> usize {
                <$allocator>::section_count(self)
            }

            fn section(&self, i: usize) -> Option<ManagedSection> {
                <$allocator>::section(self, i)
            }

            fn free_pages(&self) -> usize {
                <$allocator>::free_pages(self)
            }

            fn validate(&self) {
                <$allocator>::validate(self).unwrap();
            }
        }
    };
}

subject! {
    BuddyAllocator,

    fn is_exact(&self) -> bool {
        true
    }

    fn free(&mut self, addr: usize, count: usize) -> AllocResult {
        self.dealloc_pages(addr, count)
    }

    fn assert_recovered(&self) {
        assert_recovered(self);
    }
}

subject! {
    FrameAllocator<Host>,

    fn is_exact(&self) -> bool {
        false
    }

    fn free(&mut self, addr: usize, count: usize) -> AllocResult {
        // SAFETY: the model frees what is its own; what else it tries is refused.
        unsafe { self.dealloc_pages(addr, count) }
    }

    fn assert_recovered(&self) {
        super::shared::assert_recovered(self);
    }

    fn on_cpu(&mut self, cpu: usize) {
        Cpu::set(cpu);
    }

    fn drain(&mut self, cpu: usize) {
        self.drain_cpu(cpu);
    }

    fn drain_all(&mut self) {
        FrameAllocator::drain_all(self);
    }

    fn set_reclaim(&mut self, reclaim: Option<Reclaim>) {
        FrameAllocator::set_reclaim(self, reclaim);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_agrees_with_the_model(ops in prop::collection::vec(op(), 1..400)) {
        run(BuddyAllocator::new(), ops);
    }

    #[test]
    fn any_sequence_on_any_cpu_agrees_with_the_model(ops in prop::collection::vec(op(), 1..400)) {
        run(FrameAllocator::new(), ops);
    }
}

#[test]
fn the_regions_of_the_model_reach_every_zone() {
    let memory = Memory::new(64 * MIB);
    let mut pages = BuddyAllocator::<PAGE>::new();
    for region in 0..REGIONS.len() {
        add(&mut pages, &memory, region);
    }
    assert_eq!(pages.section_count(), REGIONS.len() + 2);
    for zone in Zone::ALL {
        assert_ne!(pages.buddyinfo().zone(zone).managed_pages, 0);
    }
    assert!(pages.section(0).unwrap().phys < GIB);
}
