//! Random operations against the model.

use core::sync::atomic::{AtomicUsize, Ordering};
use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::model::Model;
use super::subject::Subject;
use super::{GIB, KIB, MIB, Memory, PAGE};
use crate::{
    AllocError, BuddyAllocator, FrameAllocator, PageFlags, PageRequest, ReclaimRequest, Zone,
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
    Resize {
        live: usize,
        new_count: usize,
        drain: bool,
    },
    ResizeWrongly {
        live: usize,
        page: usize,
        count: usize,
        new_count: usize,
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
        8 => (count, prop_oneof![4 => Just(0), 1 => 12u32..27], 0usize..LIMITS.len(), any::<bool>())
            .prop_map(|(count, align, limit, exact)| Op::Alloc { count, align, limit, exact }),
        1 => (any::<usize>(), any::<usize>(), 1usize..40)
            .prop_map(|(section, page, count)| Op::AllocAt { section, page, count }),
        6 => any::<usize>().prop_map(Op::Free),
        1 => (any::<usize>(), 0usize..9, 0usize..20)
            .prop_map(|(live, page, count)| Op::FreeWrongly { live, page, count }),
        4 => (any::<usize>(), prop_oneof![4 => 1usize..20, 1 => 1usize..3000], any::<bool>())
            .prop_map(|(live, new_count, drain)| Op::Resize { live, new_count, drain }),
        1 => (any::<usize>(), 0usize..9, 0usize..20, prop_oneof![4 => 0usize..20, 1 => any::<usize>()])
            .prop_map(|(live, page, count, new_count)| {
                Op::ResizeWrongly { live, page, count, new_count }
            }),
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
    // More than six chunks, so that most of it is untouched at first, and some of it far.
    (16 * MIB, 104 * MIB, 5 << 30),
    // Only blocks up to 8 pages are aligned virtually.
    (4 * MIB, 512 * KIB, (6 << 30) + 0x8000),
    (5 * MIB, 8 * KIB, 7 << 30),
];

fn run(mut pages: impl Subject, ops: Vec<Op>) {
    let memory = Memory::new(128 * MIB);
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
        Op::Resize {
            live,
            new_count,
            drain,
        } => resize(pages, model, live, new_count, drain),
        Op::ResizeWrongly {
            live,
            page,
            count,
            new_count,
        } => {
            let Some((addr, pages_out)) = model.live.get(live % model.live.len().max(1)).copied()
            else {
                return;
            };
            let wrong_page = addr + page * PAGE;
            let is_live = model.live.iter().any(|(addr, _)| *addr == wrong_page);
            let fits = count == pages_out || count.next_power_of_two() == pages_out;
            let is_wrong = match page {
                0 => count == 0 || !fits,
                _ => !is_live,
            };
            if is_wrong {
                // However much memory there is: it is the call that is wrong.
                let refused = pages.resize(wrong_page, count, new_count);
                assert!(!matches!(refused, Some(Ok(()) | Err(AllocError::NoMemory))));
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

/// Makes a live allocation shorter or longer.
fn resize(pages: &mut impl Subject, model: &mut Model, live: usize, new_count: usize, drain: bool) {
    if model.live.is_empty() {
        return;
    }
    let live = live % model.live.len();
    let (addr, count) = model.live[live];
    if drain {
        pages.drain_all();
    }
    let can = new_count <= count || model.can_grow(addr, count, new_count);
    match pages.resize(addr, count, new_count) {
        None => return,
        Some(Ok(())) => assert!(can),
        // What is in another CPU's cache is not free for this.
        Some(Err(error)) => {
            assert_eq!((error, can && drain), (AllocError::NoMemory, false));
            return;
        }
    }
    let (kept, end) = (count.min(new_count), count.max(new_count));
    model.set(addr + kept * PAGE, end - kept, new_count > count);
    model.live[live].1 = new_count;
}

/// A callback that frees nothing and says now and then that it did.
fn lie(request: &ReclaimRequest) -> usize {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    assert!(request.pages > 0);
    CALLS.fetch_add(1, Ordering::Relaxed) % 3
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
    let memory = Memory::new(128 * MIB);
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
