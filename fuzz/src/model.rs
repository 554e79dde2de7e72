//! What happens in a sequence, and what must be true of it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::ptr::NonNull;

use arbitrary::Arbitrary;
use twinframe::{AllocError, AllocResult, ManagedSection, PageRequest, RegionReport};

use crate::memory::Memory;
use crate::platform::set_cpu;

const PAGE: usize = 0x1000;

/// An allocator of pages, as the sequences call it.
pub trait Pages {
    fn add(&mut self, region: NonNull<[u8]>, phys: u64) -> AllocResult<RegionReport>;
    fn remove(&mut self, addr: usize) -> AllocResult<Range<usize>>;
    fn allocate(&mut self, request: &PageRequest) -> AllocResult<usize>;
    fn allocate_at(&mut self, addr: usize, count: usize) -> AllocResult<usize>;
    fn allocate_bulk(&mut self, count: usize, out: &mut [usize]) -> AllocResult<usize>;
    fn free(&mut self, addr: usize, count: usize) -> AllocResult;
    /// Shrinks or grows an allocation where it is; `None` if this allocator does not.
    fn resize(&mut self, _addr: usize, _count: usize, _new_count: usize) -> Option<AllocResult> {
        None
    }
    fn set_slab(&mut self, addr: usize, descriptor: *mut ()) -> AllocResult;
    fn slab_of(&self, addr: usize) -> Option<NonNull<()>>;
    fn drain(&mut self, cpu: usize);
    fn drain_all(&mut self);
    fn section(&self, i: usize) -> Option<ManagedSection>;
    fn total_pages(&self) -> usize;
    fn free_pages(&self) -> usize;
    fn validate(&self);
}

/// One call.
#[derive(Arbitrary, Debug)]
pub enum Op {
    Cpu(u8),
    Allocate {
        count: u16,
        align: u8,
        limit: u8,
        exact: bool,
        zeroed: bool,
    },
    AllocateAt {
        page: u16,
        count: u8,
    },
    AllocateBulk {
        count: u8,
        blocks: u8,
    },
    Free(u8),
    FreeWith {
        block: u8,
        count: u16,
    },
    FreeWild {
        offset: u32,
        count: u16,
    },
    Resize {
        block: u8,
        count: u16,
    },
    Slab(u8),
    Add {
        offset: u32,
        len: u32,
        zone: u8,
    },
    Remove(u32),
    Drain(u8),
    DrainAll,
    Validate,
}

/// The last physical addresses that requests may use.
const LIMITS: [u64; 6] = [
    u64::MAX,
    (4 << 30) - 1,
    (16 << 20) - 1,
    (4 << 30) + (7 << 20) + 5,
    (8 << 30) + 0x1234,
    0x10,
];

/// What is added to an offset in the memory to get a physical address: across 16 MiB, across 4 GiB,
/// above, and above with a distance that is no multiple of a large block.
const ZONES: [u64; 4] = [
    8 << 20,
    (4 << 30) - (16 << 20),
    8 << 30,
    (16 << 30) + 0x8000,
];

/// A live allocation.
#[derive(Clone, Copy)]
struct Live {
    pages: usize,
    exact: bool,
    slab: bool,
}

/// Plays a sequence.
pub fn play(pages: &mut impl Pages, ops: Vec<Op>) {
    let memory = Memory::get();
    let mut live = BTreeMap::new();
    set_cpu(0);
    let _ = pages.add(memory.part(0x3000, 20 << 20), ZONES[0] + 0x3000);
    for op in ops {
        step(pages, memory, &mut live, op);
        let out: usize = live.values().map(|live| live.pages).sum();
        assert_eq!(pages.total_pages() - pages.free_pages(), out);
    }
    for (addr, live) in live {
        if live.slab {
            pages.set_slab(addr, std::ptr::null_mut()).expect("a slab");
        }
        pages.free(addr, live.pages).expect("a live block");
    }
    pages.drain_all();
    pages.validate();
    assert_eq!(pages.free_pages(), pages.total_pages());
}

fn step(pages: &mut impl Pages, memory: Memory, live: &mut BTreeMap<usize, Live>, op: Op) {
    let pick = |live: &BTreeMap<usize, Live>, i: u8| {
        live.iter()
            .nth(usize::from(i) % live.len().max(1))
            .map(|(addr, live)| (*addr, *live))
    };
    match op {
        Op::Cpu(cpu) => set_cpu(usize::from(cpu)),
        Op::Allocate {
            count,
            align,
            limit,
            exact,
            zeroed,
        } => {
            let align = 1_usize.checked_shl(u32::from(align)).unwrap_or(3);
            let mut request = PageRequest::new(usize::from(count)).align(align);
            request = request.max_phys(LIMITS[usize::from(limit) % LIMITS.len()]);
            if exact {
                request = request.exact();
            }
            if zeroed {
                request = request.zeroed();
            }
            match pages.allocate(&request) {
                Ok(addr) => {
                    assert!(count != 0 && addr.is_multiple_of(align) && addr.is_multiple_of(PAGE));
                    let count = usize::from(count);
                    let block = count.next_power_of_two();
                    assert!(addr.is_multiple_of(block * PAGE));
                    let size = if exact { count } else { block };
                    if zeroed {
                        let byte = std::ptr::with_exposed_provenance::<u8>(addr + size * PAGE - 1);
                        // SAFETY: allocated just now.
                        assert_eq!(unsafe { byte.read() }, 0);
                    }
                    insert(pages, live, addr, size, exact && size != block);
                }
                Err(error) => assert!(matches!(
                    error,
                    AllocError::NoMemory | AllocError::InvalidParam | AllocError::NotInitialized
                )),
            }
        }
        Op::AllocateAt { page, count } => {
            let addr = memory.addr() + usize::from(page) * PAGE;
            if pages.allocate_at(addr, usize::from(count)) == Ok(addr) {
                insert(pages, live, addr, usize::from(count), true);
            }
        }
        Op::AllocateBulk { count, blocks } => {
            let mut out = [0; 255];
            let out = &mut out[..usize::from(blocks)];
            if let Ok(taken) = pages.allocate_bulk(usize::from(count), out) {
                for addr in &out[..taken] {
                    insert(
                        pages,
                        live,
                        *addr,
                        usize::from(count).next_power_of_two(),
                        false,
                    );
                }
            }
        }
        Op::Free(i) => {
            let Some((addr, block)) = pick(live, i) else {
                return;
            };
            let freed = pages.free(addr, block.pages);
            if block.slab {
                assert_eq!(freed, Err(AllocError::NotAllocated));
            } else {
                assert_eq!(freed, Ok(()));
                live.remove(&addr);
                assert!(pages.free(addr, block.pages).is_err());
            }
        }
        Op::FreeWith { block: i, count } => {
            let Some((addr, block)) = pick(live, i) else {
                return;
            };
            let count = usize::from(count);
            let rounds = count != 0 && count.next_power_of_two() == block.pages.next_power_of_two();
            // What was asked for exactly may still be a single block, for which every count goes that
            // rounds up to it.
            let whole = count == block.pages || block.pages.is_power_of_two();
            match pages.free(addr, count) {
                Ok(()) => {
                    assert!(rounds && !block.slab && (whole || !block.exact));
                    live.remove(&addr);
                }
                Err(_) => {
                    assert!(!rounds || block.slab || block.exact && count != block.pages);
                }
            }
        }
        Op::FreeWild { offset, count } => {
            let addr = memory.addr() + offset as usize % (2 * Memory::LEN);
            if !live.contains_key(&addr) {
                assert!(pages.free(addr, usize::from(count)).is_err());
            }
        }
        Op::Resize { block: i, count } => {
            let Some((addr, block)) = pick(live, i) else {
                return;
            };
            let count = usize::from(count);
            match pages.resize(addr, block.pages, count) {
                None => {}
                Some(Ok(())) => {
                    assert!(count != 0 && !block.slab);
                    live.remove(&addr);
                    insert(pages, live, addr, count, true);
                }
                Some(Err(AllocError::NoMemory)) => assert!(count > block.pages && !block.slab),
                Some(Err(_)) => assert!(count == 0 || block.slab),
            }
        }
        Op::Slab(i) => {
            let Some((addr, block)) = pick(live, i) else {
                return;
            };
            let descriptor = match block.slab {
                true => std::ptr::null_mut(),
                false => std::ptr::without_provenance_mut(addr),
            };
            if pages.set_slab(addr, descriptor).is_ok() {
                let last = addr + block.pages * PAGE - 1;
                assert_eq!(pages.slab_of(last).is_some(), !block.slab);
                live.insert(
                    addr,
                    Live {
                        slab: !block.slab,
                        ..block
                    },
                );
            }
        }
        Op::Add { offset, len, zone } => {
            let offset = offset as usize % Memory::LEN;
            let len = len as usize % (Memory::LEN - offset + 1);
            let phys = ZONES[usize::from(zone) % ZONES.len()] + offset as u64;
            if let Ok(report) = pages.add(memory.part(offset, len), phys) {
                assert_eq!(report.managed + report.metadata + report.lost, len);
            }
        }
        Op::Remove(offset) => {
            let addr = memory.addr() + offset as usize % Memory::LEN;
            if let Ok(range) = pages.remove(addr) {
                assert!(
                    live.range(range).next().is_none(),
                    "live pages were removed"
                );
            }
        }
        Op::Drain(cpu) => pages.drain(usize::from(cpu) % 100),
        Op::DrainAll => pages.drain_all(),
        Op::Validate => pages.validate(),
    }
}

/// Notes an allocation, which must overlap no other one and lie in one section.
fn insert(
    pages: &impl Pages,
    live: &mut BTreeMap<usize, Live>,
    addr: usize,
    count: usize,
    exact: bool,
) {
    let end = addr + count * PAGE;
    if let Some((below, other)) = live.range(..end).next_back() {
        assert!(below + other.pages * PAGE <= addr, "allocations overlap");
    }
    let sections = (0..).map_while(|i| pages.section(i));
    let inside =
        |section: ManagedSection| section.start <= addr && end <= section.start + section.size;
    assert!(sections.into_iter().any(inside));
    let block = Live {
        pages: count,
        exact,
        slab: false,
    };
    live.insert(addr, block);
}
