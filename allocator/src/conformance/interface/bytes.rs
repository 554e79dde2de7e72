//! Points of a [`ByteAllocator`].

use core::alloc::Layout;
use core::ptr::NonNull;

use super::candidate::{Point, Trial, Verdict, is_refusal, require};
use super::chain::Chain;
use super::ground::lies_in;
use crate::conformance::random::Random;
use crate::traits::ByteAllocator;
use crate::{AllocError, AllocResult};

pub(super) fn points<A: ByteAllocator>() -> [Point<A>; 15] {
    let point = |name, check| Point { name, check };
    [
        point("empty", empty::<A>),
        point("alignment", alignment),
        point("contents", contents),
        point("recovery", recovery),
        point("exhaustion", exhaustion),
        point("zero size", zero_size),
        point("too large", too_large),
        point("absurd size", absurd),
        point("statistics", statistics),
        point("growth", growth),
        point("growth apart", growth_apart),
        point("overlap", overlap),
        point("free twice", free_twice),
        point("free inside", free_inside),
        point("free elsewhere", free_elsewhere),
    ]
}

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).expect("a valid layout")
}

impl<A: ByteAllocator> Trial<A> {
    fn free(&mut self, block: NonNull<u8>, layout: Layout) -> AllocResult {
        // SAFETY: the checks own what they free and do not use it afterwards, or free what the
        // candidate claims to refuse.
        unsafe { self.allocator.dealloc(block, layout) }
    }

    fn adds_up(&self) -> bool {
        let (used, available) = (
            self.allocator.used_bytes(),
            self.allocator.available_bytes(),
        );
        used + available == self.allocator.total_bytes()
    }
}

/// Without memory there is nothing to have.
fn empty<A: ByteAllocator>(trial: &mut Trial<A>) -> Verdict {
    require!(trial.allocator.total_bytes() == 0, "memory out of nothing");
    let refused = trial.allocator.alloc(layout(8, 8));
    require!(refused == Err(AllocError::NoMemory), "not NoMemory");
    let (start, _) = trial.ground.main;
    let refused = trial.add((start + 1, 6));
    require!(
        refused == Err(AllocError::InvalidParam),
        "takes a range too small for anything"
    );
    Ok(())
}

/// Every block is aligned as asked, and in the memory that was handed over.
fn alignment<A: ByteAllocator>(trial: &mut Trial<A>) -> Verdict {
    trial.begin()?;
    for align in (0..=16).map(|shift| 1 << shift) {
        for size in [1, 7, 8, 24, 100, 1000, 5000, 70_000] {
            let layout = layout(size, align);
            let Ok(block) = trial.allocator.alloc(layout) else {
                return Err("does not serve an alignment");
            };
            let addr = block.addr().get();
            require!(addr.is_multiple_of(align), "a block is not aligned");
            require!(
                lies_in(trial.ground.main, addr, size),
                "a block lies outside"
            );
            require!(trial.free(block, layout) == Ok(()), "a free is refused");
        }
    }
    Ok(())
}

/// Most blocks at once; they are on the stack, which in a kernel is small.
const LIVE: usize = 96;

/// Blocks of random layouts come and go. They are apart and keep what is written to them; all are
/// freed in the end.
fn traffic<A: ByteAllocator>(trial: &mut Trial<A>, seed: u64, steps: usize) -> Verdict {
    let mut random = Random::new(seed);
    let mut blocks = [const { None::<(NonNull<u8>, Layout, u8)> }; LIVE];
    for step in 0..steps + LIVE {
        // In the end every place is visited, to free what is there.
        let slot = if step < steps {
            random.below(LIVE)
        } else {
            step - steps
        };
        if let Some((block, layout, mark)) = blocks[slot].take() {
            // SAFETY: allocated, and filled when it was.
            let bytes = unsafe { core::slice::from_raw_parts(block.as_ptr(), layout.size()) };
            let kept = bytes.iter().all(|byte| *byte == mark);
            require!(kept, "the contents of a block changed");
            require!(trial.free(block, layout) == Ok(()), "a free is refused");
            continue;
        }
        if step >= steps {
            continue;
        }
        let bound = 1 << random.below(15);
        let layout = layout(1 + random.below(bound), 1 << random.below(8));
        match trial.allocator.alloc(layout) {
            Ok(block) => {
                let addr = block.addr().get();
                let apart = blocks.iter().flatten().all(|(other, of, _)| {
                    let other = other.addr().get();
                    other + of.size() <= addr || addr + layout.size() <= other
                });
                require!(apart, "two blocks overlap");
                let mark = u8::try_from(step % 251).unwrap_or(0);
                // SAFETY: allocated just now.
                unsafe { block.write_bytes(mark, layout.size()) };
                blocks[slot] = Some((block, layout, mark));
            }
            Err(AllocError::NoMemory) => {}
            Err(_) => return Err("an error that is not NoMemory"),
        }
    }
    Ok(())
}

fn contents<A: ByteAllocator>(trial: &mut Trial<A>) -> Verdict {
    trial.begin()?;
    traffic(trial, 1, 4000)
}

/// Once all is free, no byte counts as used, and what could be had at first can be had again: the
/// largest block, and as many of a size.
fn recovery<A: ByteAllocator>(trial: &mut Trial<A>) -> Verdict {
    trial.begin()?;
    let large = |trial: &mut Trial<A>| {
        let found = (10..=22)
            .rev()
            .map(|shift| layout(1 << shift, 16))
            .find_map(|layout| Some((trial.allocator.alloc(layout).ok()?, layout)));
        let (block, layout) = found?;
        (trial.free(block, layout) == Ok(())).then_some(layout.size())
    };
    let largest = large(trial).ok_or("no large block")?;
    trial.settle();
    let used = trial.allocator.used_bytes();
    for seed in 1..=4 {
        traffic(trial, seed, 1000)?;
    }
    trial.settle();
    require!(trial.allocator.used_bytes() <= used, "not all came back");
    let again = large(trial) == Some(largest);
    require!(again, "the largest block cannot be had again");
    Ok(())
}

/// The last byte is followed by `NoMemory`, then by everything once more.
fn exhaustion<A: ByteAllocator>(trial: &mut Trial<A>) -> Verdict {
    trial.begin()?;
    for size in [500, 4096, 100_000] {
        let layout = layout(size, 16);
        let mut count = None;
        for _ in 0..2 {
            let (chain, error) = Chain::fill(&mut trial.allocator, layout);
            require!(error == AllocError::NoMemory, "not NoMemory at the end");
            let (_, given) = trial.ground.main;
            require!(chain.len * size >= given / 3, "most of the memory is lost");
            let enough = chain.len >= *count.get_or_insert(chain.len);
            require!(chain.free(&mut trial.allocator), "a free is refused");
            require!(enough, "fewer the second time");
            trial.settle();
        }
    }
    Ok(())
}

/// Nothing is something of its own.
fn zero_size<A: ByteAllocator>(trial: &mut Trial<A>) -> Verdict {
    trial.begin()?;
    for align in [1, 8, 64, 4096] {
        let layout = layout(0, align);
        let (first, second) = (trial.allocator.alloc(layout), trial.allocator.alloc(layout));
        let (Ok(first), Ok(second)) = (first, second) else {
            return Err("a size of 0 is refused");
        };
        require!(first != second, "the same address twice");
        require!(first.addr().get().is_multiple_of(align), "not aligned");
        require!(trial.free(first, layout) == Ok(()), "a free is refused");
        require!(trial.free(second, layout) == Ok(()), "a free is refused");
    }
    Ok(())
}

fn refuses<A: ByteAllocator>(trial: &mut Trial<A>, layouts: &[Layout]) -> Verdict {
    trial.begin()?;
    let used = trial.allocator.used_bytes();
    for layout in layouts {
        let refused = matches!(
            trial.allocator.alloc(*layout),
            Err(AllocError::NoMemory | AllocError::InvalidParam)
        );
        require!(refused, "not an error");
    }
    require!(trial.allocator.used_bytes() == used, "memory is missing");
    Ok(())
}

/// More than there is is an error, and changes nothing.
fn too_large<A: ByteAllocator>(trial: &mut Trial<A>) -> Verdict {
    refuses(trial, &[layout(5 << 20, 8), layout(64 << 20, 4096)])
}

/// So is what can never be, though its end wraps around the address space.
fn absurd<A: ByteAllocator>(trial: &mut Trial<A>) -> Verdict {
    const MOST: usize = isize::MAX.unsigned_abs();
    let layouts = [
        layout(MOST / 2 + 1, 1),
        layout(MOST & !4095, 4096),
        layout(1, 1 << (usize::BITS - 2)),
    ];
    refuses(trial, &layouts)
}

/// What is used and what is available are the whole; what is used covers what is allocated.
fn statistics<A: ByteAllocator>(trial: &mut Trial<A>) -> Verdict {
    trial.begin()?;
    // A CPU that calls for the first time may take memory for its own state, for good.
    if let Ok(block) = trial.allocator.alloc(layout(1, 1)) {
        require!(
            trial.free(block, layout(1, 1)) == Ok(()),
            "a free is refused"
        );
    }
    let total = trial.allocator.total_bytes();
    let (_, given) = trial.ground.main;
    require!(total <= given, "more than was handed over");
    require!(total >= given / 4 * 3, "a quarter is lost");
    require!(trial.adds_up(), "used and available are not the total");
    let sizes = [1, 30, 200, 3000, 20_000, 300_000];
    let mut blocks = [None; 6];
    let mut live = 0;
    for (slot, size) in blocks.iter_mut().zip(sizes) {
        *slot = trial.allocator.alloc(layout(size, 8)).ok();
        live += size;
        require!(slot.is_some(), "memory is short");
        require!(
            trial.allocator.used_bytes() >= live,
            "less used than allocated"
        );
        require!(trial.adds_up(), "used and available are not the total");
    }
    for (block, size) in blocks.into_iter().flatten().zip(sizes) {
        require!(
            trial.free(block, layout(size, 8)) == Ok(()),
            "a free is refused"
        );
        require!(trial.adds_up(), "used and available are not the total");
    }
    trial.settle();
    require!(trial.allocator.used_bytes() < 64 << 10, "still used");
    require!(trial.allocator.total_bytes() == total, "the total changed");
    Ok(())
}

fn grows<A: ByteAllocator>(trial: &mut Trial<A>, range: (usize, usize)) -> Verdict {
    trial.begin()?;
    let total = trial.allocator.total_bytes();
    require!(trial.add(range) == Ok(()), "more memory is refused");
    require!(
        trial.allocator.total_bytes() > total,
        "the total is as before"
    );
    let (chain, _) = Chain::fill(&mut trial.allocator, layout(4096, 16));
    let reached = chain.reaches(range);
    require!(chain.free(&mut trial.allocator), "a free is refused");
    require!(reached, "the added memory is not used");
    Ok(())
}

/// Memory right behind the first can be added.
fn growth<A: ByteAllocator>(trial: &mut Trial<A>) -> Verdict {
    grows(trial, trial.ground.behind)
}

/// Memory anywhere can be added.
fn growth_apart<A: ByteAllocator>(trial: &mut Trial<A>) -> Verdict {
    grows(trial, trial.ground.apart)
}

/// Memory that is managed already is refused.
fn overlap<A: ByteAllocator>(trial: &mut Trial<A>) -> Verdict {
    trial.begin()?;
    let total = trial.allocator.total_bytes();
    let (start, size) = trial.ground.main;
    for range in [(start, size), (start + size / 2, size / 4)] {
        let refused = trial.add(range) == Err(AllocError::MemoryOverlap);
        require!(refused, "the same memory is taken twice");
    }
    require!(trial.allocator.total_bytes() == total, "the total changed");
    Ok(())
}

const SIZES: [usize; 4] = [16, 100, 2000, 20_000];

/// A block that is free already is not freed again.
fn free_twice<A: ByteAllocator>(trial: &mut Trial<A>) -> Verdict {
    trial.begin()?;
    for layout in SIZES.map(|size| layout(size, 8)) {
        let block = trial.allocator.alloc(layout).map_err(|_| "no memory")?;
        require!(trial.free(block, layout) == Ok(()), "a free is refused");
        let used = trial.allocator.used_bytes();
        require!(is_refusal(trial.free(block, layout)), "freed twice");
        require!(
            trial.allocator.used_bytes() == used,
            "a refusal has effects"
        );
    }
    Ok(())
}

/// An address inside of a block is not freed.
fn free_inside<A: ByteAllocator>(trial: &mut Trial<A>) -> Verdict {
    trial.begin()?;
    for layout in SIZES.map(|size| layout(size, 8)) {
        let block = trial.allocator.alloc(layout).map_err(|_| "no memory")?;
        let used = trial.allocator.used_bytes();
        for offset in [1, 8, layout.size() / 2] {
            // SAFETY: inside of the block.
            let inside = unsafe { block.add(offset) };
            let refused = is_refusal(trial.free(inside, layout));
            require!(refused, "the inside of a block is freed");
        }
        require!(
            trial.allocator.used_bytes() == used,
            "a refusal has effects"
        );
        require!(trial.free(block, layout) == Ok(()), "a free is refused");
    }
    Ok(())
}

/// What never was memory of the allocator is not freed.
fn free_elsewhere<A: ByteAllocator>(trial: &mut Trial<A>) -> Verdict {
    trial.begin()?;
    let (apart, _) = trial.ground.apart;
    let used = trial.allocator.used_bytes();
    for layout in SIZES.map(|size| layout(size, 8)) {
        for addr in [apart, apart + 4096, 4096, usize::MAX & !4095] {
            let addr = core::ptr::with_exposed_provenance_mut(addr);
            let block = NonNull::new(addr).ok_or("0 is no address")?;
            require!(is_refusal(trial.free(block, layout)), "freed");
        }
    }
    require!(
        trial.allocator.used_bytes() == used,
        "a refusal has effects"
    );
    Ok(())
}
