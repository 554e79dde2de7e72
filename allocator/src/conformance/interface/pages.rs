//! Points of a [`PageAllocator`].

use super::candidate::{Point, Trial, Verdict, require};
use super::ground::lies_in;
use super::page_frees::{free_elsewhere, free_inside, free_twice};
use crate::conformance::random::Random;
use crate::traits::PageAllocator;
use crate::{AllocError, AllocResult};

pub(super) fn points<A: PageAllocator>() -> [Point<A>; 14] {
    let point = |name, check| Point { name, check };
    [
        point("empty", empty::<A>),
        point("alignment", alignment),
        point("exact counts", exact_counts),
        point("contents", contents),
        point("exhaustion", exhaustion),
        point("given addresses", given_addresses),
        point("bad requests", bad_requests),
        point("statistics", statistics),
        point("growth", growth),
        point("growth apart", growth_apart),
        point("overlap", overlap),
        point("free twice", free_twice),
        point("free inside", free_inside),
        point("free elsewhere", free_elsewhere),
    ]
}

impl<A: PageAllocator> Trial<A> {
    pub(super) fn free_pages(&mut self, addr: usize, count: usize) -> AllocResult {
        // SAFETY: the checks own what they free and do not use it afterwards, or free what the
        // candidate claims to refuse.
        unsafe { self.allocator.dealloc_pages(addr, count) }
    }

    fn add_up(&self) -> bool {
        let (used, available) = (
            self.allocator.used_pages(),
            self.allocator.available_pages(),
        );
        used + available == self.allocator.total_pages()
    }
}

/// Without memory there is nothing to have.
fn empty<A: PageAllocator>(trial: &mut Trial<A>) -> Verdict {
    require!(trial.allocator.total_pages() == 0, "pages out of nothing");
    let refused = trial.allocator.alloc_pages(1, A::PAGE_SIZE);
    require!(refused == Err(AllocError::NoMemory), "not NoMemory");
    let (start, _) = trial.ground.main;
    let refused = trial.add((start + 1, A::PAGE_SIZE / 2));
    require!(
        refused == Err(AllocError::InvalidParam),
        "takes a range without a page"
    );
    Ok(())
}

/// Alignments are in bytes, and hold for single pages too.
fn alignment<A: PageAllocator>(trial: &mut Trial<A>) -> Verdict {
    trial.begin()?;
    let mut align = A::PAGE_SIZE;
    while align <= 2 << 20 {
        for count in [1, 2, 3, 16] {
            let Ok(addr) = trial.allocator.alloc_pages(count, align) else {
                return Err("does not serve an alignment");
            };
            require!(addr.is_multiple_of(align), "a block is not aligned");
            let bytes = count * A::PAGE_SIZE;
            require!(
                lies_in(trial.ground.main, addr, bytes),
                "a block lies outside"
            );
            require!(trial.free_pages(addr, count) == Ok(()), "a free is refused");
        }
        align *= 2;
    }
    require!(trial.allocator.alloc_pages(1, 0).is_ok(), "0 is a page");
    Ok(())
}

/// A run costs as many pages as it has.
fn exact_counts<A: PageAllocator>(trial: &mut Trial<A>) -> Verdict {
    trial.begin()?;
    trial.settle();
    for count in [1, 3, 5, 13, 100] {
        let used = trial.allocator.used_pages();
        let Ok(addr) = trial.allocator.alloc_pages(count, A::PAGE_SIZE) else {
            return Err("a count is refused");
        };
        let cost = trial.allocator.used_pages() - used;
        require!(cost == count, "another number of pages is used");
        require!(trial.free_pages(addr, count) == Ok(()), "a free is refused");
        trial.settle();
    }
    Ok(())
}

/// Most runs at once; they are on the stack, which in a kernel is small.
const LIVE: usize = 96;

/// Runs of random lengths come and go. They are apart and keep what is written to them; all are free
/// in the end, and the largest run can be had again.
fn contents<A: PageAllocator>(trial: &mut Trial<A>) -> Verdict {
    trial.begin()?;
    trial.settle();
    let before = trial.allocator.used_pages();
    let mut random = Random::new(1);
    let mut runs = [None::<(usize, usize)>; LIVE];
    for step in 0..3000 + LIVE {
        let slot = if step < 3000 {
            random.below(LIVE)
        } else {
            step - 3000
        };
        if let Some((addr, count)) = runs[slot].take() {
            let marks = (0..count).all(|page| {
                let page = core::ptr::with_exposed_provenance::<usize>(addr + page * A::PAGE_SIZE);
                // SAFETY: a page of the run, marked when it was allocated.
                unsafe { page.read() == addr }
            });
            require!(marks, "the contents of a page changed");
            require!(trial.free_pages(addr, count) == Ok(()), "a free is refused");
            continue;
        }
        if step >= 3000 {
            continue;
        }
        let bound = 1 << random.below(6);
        let (count, align) = (1 + random.below(bound), A::PAGE_SIZE << random.below(4));
        match trial.allocator.alloc_pages(count, align) {
            Ok(addr) => {
                let bytes = |count| count * A::PAGE_SIZE;
                let apart = runs
                    .iter()
                    .flatten()
                    .all(|(other, of)| other + bytes(*of) <= addr || addr + bytes(count) <= *other);
                require!(apart, "two runs overlap");
                for page in 0..count {
                    let page = addr + page * A::PAGE_SIZE;
                    let page = core::ptr::with_exposed_provenance_mut::<usize>(page);
                    // SAFETY: allocated just now.
                    unsafe { page.write(addr) };
                }
                runs[slot] = Some((addr, count));
            }
            Err(AllocError::NoMemory) => {}
            Err(_) => return Err("an error that is not NoMemory"),
        }
    }
    trial.settle();
    require!(trial.allocator.used_pages() <= before, "not all came back");
    let half = (2 << 20) / A::PAGE_SIZE;
    let large = trial.allocator.alloc_pages(half, 2 << 20);
    require!(large.is_ok(), "the largest run cannot be had again");
    Ok(())
}

/// Takes single pages to the last one, and returns how many; each holds the address of the one
/// before.
fn fill<A: PageAllocator>(trial: &mut Trial<A>) -> (usize, usize, AllocError) {
    let (mut last, mut count) = (0, 0);
    loop {
        match trial.allocator.alloc_pages(1, A::PAGE_SIZE) {
            Ok(addr) => {
                // SAFETY: a fresh page.
                unsafe { core::ptr::with_exposed_provenance_mut::<usize>(addr).write(last) };
                (last, count) = (addr, count + 1);
            }
            Err(error) => return (last, count, error),
        }
    }
}

/// Frees what [`fill`] took; says whether some page was in the range.
fn empty_again<A: PageAllocator>(
    trial: &mut Trial<A>,
    mut last: usize,
    range: (usize, usize),
) -> Result<bool, &'static str> {
    let mut reached = false;
    while last != 0 {
        reached |= lies_in(range, last, A::PAGE_SIZE);
        // SAFETY: a page of `fill`, which wrote to it.
        let before = unsafe { core::ptr::with_exposed_provenance::<usize>(last).read() };
        require!(trial.free_pages(last, 1) == Ok(()), "a free is refused");
        last = before;
    }
    Ok(reached)
}

/// All pages can be had, then `NoMemory`, then all of them again.
fn exhaustion<A: PageAllocator>(trial: &mut Trial<A>) -> Verdict {
    trial.begin()?;
    trial.settle();
    let available = trial.allocator.available_pages();
    // The page that an allocator of many CPUs takes for the first that calls.
    const OWN: usize = 4;
    for _ in 0..2 {
        let (last, count, error) = fill(trial);
        require!(error == AllocError::NoMemory, "not NoMemory at the end");
        require!(count + OWN >= available, "not every page can be had");
        require!(count <= available, "more pages than there are");
        empty_again(trial, last, trial.ground.main)?;
        trial.settle();
    }
    Ok(())
}

/// A run at an address can be had if it is free.
fn given_addresses<A: PageAllocator>(trial: &mut Trial<A>) -> Verdict {
    trial.begin()?;
    let page = A::PAGE_SIZE;
    let Ok(addr) = trial.allocator.alloc_pages(8, 8 * page) else {
        return Err("no memory");
    };
    let taken = trial.allocator.alloc_pages_at(addr, 1, page);
    require!(taken == Err(AllocError::NoMemory), "allocated twice");
    require!(trial.free_pages(addr, 8) == Ok(()), "a free is refused");
    let inside = addr + 2 * page;
    let given = trial.allocator.alloc_pages_at(inside, 3, page);
    require!(given == Ok(inside), "a free run is refused");
    let taken = trial.allocator.alloc_pages_at(addr, 8, page);
    require!(
        taken == Err(AllocError::NoMemory),
        "a part is allocated twice"
    );
    require!(trial.free_pages(inside, 3) == Ok(()), "a free is refused");
    let given = trial.allocator.alloc_pages_at(addr, 8, 8 * page);
    require!(given == Ok(addr), "a free run is refused");
    require!(trial.free_pages(addr, 8) == Ok(()), "a free is refused");
    for (addr, count, align) in [
        (addr + 1, 1, page),
        (addr + page, 1, 2 * page),
        (addr, 0, page),
        (addr, 1, page / 2),
    ] {
        let refused = trial.allocator.alloc_pages_at(addr, count, align);
        require!(refused == Err(AllocError::InvalidParam), "not InvalidParam");
    }
    let (apart, _) = trial.ground.apart;
    let refused = trial.allocator.alloc_pages_at(apart, 1, page);
    require!(
        refused == Err(AllocError::InvalidParam),
        "an address that is not its own"
    );
    Ok(())
}

/// What makes no sense is refused, and changes nothing.
fn bad_requests<A: PageAllocator>(trial: &mut Trial<A>) -> Verdict {
    trial.begin()?;
    let page = A::PAGE_SIZE;
    let used = trial.allocator.used_pages();
    for (count, align) in [
        (0, page),
        (1, 1),
        (1, page / 2),
        (1, page + 1),
        (1, 3 * page),
        (usize::MAX, page),
    ] {
        let refused = trial.allocator.alloc_pages(count, align);
        require!(refused == Err(AllocError::InvalidParam), "not InvalidParam");
    }
    require!(trial.allocator.used_pages() == used, "pages are missing");
    Ok(())
}

/// What is used and what is available are the whole.
fn statistics<A: PageAllocator>(trial: &mut Trial<A>) -> Verdict {
    trial.begin()?;
    // A CPU that calls for the first time may take a page for its own state, for good.
    if let Ok(addr) = trial.allocator.alloc_pages(1, A::PAGE_SIZE) {
        require!(trial.free_pages(addr, 1) == Ok(()), "a free is refused");
    }
    let total = trial.allocator.total_pages();
    let (_, given) = trial.ground.main;
    require!(total <= given / A::PAGE_SIZE, "more than was handed over");
    require!(total >= given / A::PAGE_SIZE * 19 / 20, "too much is lost");
    require!(trial.add_up(), "used and available are not the total");
    let Ok(addr) = trial.allocator.alloc_pages(16, A::PAGE_SIZE) else {
        return Err("no memory");
    };
    require!(
        trial.allocator.used_pages() >= 16,
        "less used than allocated"
    );
    require!(trial.add_up(), "used and available are not the total");
    require!(trial.free_pages(addr, 16) == Ok(()), "a free is refused");
    require!(trial.add_up(), "used and available are not the total");
    require!(trial.allocator.total_pages() == total, "the total changed");
    Ok(())
}

fn grows<A: PageAllocator>(trial: &mut Trial<A>, range: (usize, usize)) -> Verdict {
    trial.begin()?;
    let total = trial.allocator.total_pages();
    require!(trial.add(range) == Ok(()), "more memory is refused");
    require!(
        trial.allocator.total_pages() > total,
        "the total is as before"
    );
    let (last, _, _) = fill(trial);
    require!(
        empty_again(trial, last, range)?,
        "the added pages are not used"
    );
    Ok(())
}

/// Memory right behind the first can be added.
fn growth<A: PageAllocator>(trial: &mut Trial<A>) -> Verdict {
    grows(trial, trial.ground.behind)
}

/// Memory anywhere can be added.
fn growth_apart<A: PageAllocator>(trial: &mut Trial<A>) -> Verdict {
    grows(trial, trial.ground.apart)
}

/// Memory that is managed already is refused.
fn overlap<A: PageAllocator>(trial: &mut Trial<A>) -> Verdict {
    trial.begin()?;
    let total = trial.allocator.total_pages();
    let (start, size) = trial.ground.main;
    for range in [(start, size), (start + size / 2, size / 4)] {
        let refused = trial.add(range) == Err(AllocError::MemoryOverlap);
        require!(refused, "the same memory is taken twice");
    }
    require!(trial.allocator.total_pages() == total, "the total changed");
    Ok(())
}
