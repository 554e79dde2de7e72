//! Points of an [`IdAllocator`].

use super::candidate::{Point, Trial, Verdict, require};
use super::ground::lies_in;
use crate::AllocError;
use crate::traits::IdAllocator;

pub(super) fn points<A: IdAllocator>() -> [Point<A>; 9] {
    let point = |name, check| Point { name, check };
    [
        point("empty", empty::<A>),
        point("alignment", alignment),
        point("exhaustion", exhaustion),
        point("fixed numbers", fixed),
        point("bad requests", bad_requests),
        point("growth", growth),
        point("growth apart", growth_apart),
        point("overlap", overlap),
        point("free twice", free_twice),
    ]
}

impl<A: IdAllocator> Trial<A> {
    fn sums_up(&self) -> bool {
        self.allocator.used() + self.allocator.available() == self.allocator.size()
    }
}

/// Without numbers there is nothing to have.
fn empty<A: IdAllocator>(trial: &mut Trial<A>) -> Verdict {
    require!(trial.allocator.size() == 0, "numbers out of nothing");
    let refused = trial.allocator.alloc_id(1, 1);
    require!(refused == Err(AllocError::NoMemory), "not NoMemory");
    require!(!trial.allocator.is_allocated(33), "allocated by nobody");
    Ok(())
}

/// A number is a multiple of its alignment, whatever the first number is; runs are apart.
fn alignment<A: IdAllocator>(trial: &mut Trial<A>) -> Verdict {
    trial.begin()?;
    let mut used = 0;
    for align in [1, 2, 8, 32] {
        for count in [1, 3, 17] {
            let free_before = |id| !trial.allocator.is_allocated(id);
            let expected = (trial.ground.main.0..)
                .filter(|id| id % align == 0)
                .find(|id| (*id..id + count).all(free_before));
            let given = trial.allocator.alloc_id(count, align).ok();
            require!(given.is_some(), "a run is refused");
            require!(given == expected, "not the first that fits");
            used += count;
            require!(trial.allocator.used() == used, "miscounted");
            require!(trial.sums_up(), "used and available are not all");
        }
    }
    Ok(())
}

/// Every number is given once, then `NoMemory`, then every one again.
fn exhaustion<A: IdAllocator>(trial: &mut Trial<A>) -> Verdict {
    trial.begin()?;
    let (first, size) = trial.ground.main;
    require!(trial.allocator.size() == size, "another number of numbers");
    for _ in 0..2 {
        for _ in 0..size {
            let Ok(id) = trial.allocator.alloc_id(1, 1) else {
                return Err("not every number can be had");
            };
            require!(lies_in(trial.ground.main, id, 1), "a number outside");
        }
        // As many as there are, and each allocated: so each was given once.
        let all = (first..first + size).all(|id| trial.allocator.is_allocated(id));
        require!(all, "a number was given twice");
        let refused = trial.allocator.alloc_id(1, 1);
        require!(refused == Err(AllocError::NoMemory), "not NoMemory");
        require!(trial.allocator.available() == 0, "miscounted");
        let freed = trial.allocator.dealloc_id(first, size);
        require!(freed == Ok(()), "a free is refused");
        require!(trial.allocator.used() == 0, "miscounted");
    }
    Ok(())
}

/// A number can be had by name, once.
fn fixed<A: IdAllocator>(trial: &mut Trial<A>) -> Verdict {
    trial.begin()?;
    let (first, size) = trial.ground.main;
    for id in [first, first + 40, first + size - 1] {
        require!(trial.allocator.alloc_fixed_id(id) == Ok(()), "refused");
        require!(trial.allocator.is_allocated(id), "not allocated");
        let again = trial.allocator.alloc_fixed_id(id);
        require!(again == Err(AllocError::NoMemory), "given twice");
    }
    for id in [0, first - 1, first + size, usize::MAX] {
        let refused = trial.allocator.alloc_fixed_id(id);
        require!(refused == Err(AllocError::InvalidParam), "a number outside");
    }
    let next = trial.allocator.alloc_id(1, 1);
    require!(next == Ok(first + 1), "not the first that is free");
    Ok(())
}

/// What makes no sense is refused, and changes nothing.
fn bad_requests<A: IdAllocator>(trial: &mut Trial<A>) -> Verdict {
    trial.begin()?;
    for (count, align) in [(0, 1), (1, 0), (1, 3)] {
        let refused = trial.allocator.alloc_id(count, align);
        require!(refused == Err(AllocError::InvalidParam), "not InvalidParam");
    }
    for (count, align) in [(usize::MAX, 1), (1, 1 << (usize::BITS - 1)), (401, 1)] {
        let refused = trial.allocator.alloc_id(count, align);
        require!(refused == Err(AllocError::NoMemory), "not NoMemory");
    }
    let (first, _) = trial.ground.main;
    let refused = trial.allocator.dealloc_id(first, 0);
    require!(refused == Err(AllocError::InvalidParam), "not InvalidParam");
    require!(trial.allocator.used() == 0, "a refusal has effects");
    Ok(())
}

fn grows<A: IdAllocator>(trial: &mut Trial<A>, range: (usize, usize)) -> Verdict {
    trial.begin()?;
    require!(trial.add(range) == Ok(()), "more numbers are refused");
    let (_, size) = trial.ground.main;
    require!(trial.allocator.size() == size + range.1, "miscounted");
    let added = trial.allocator.alloc_fixed_id(range.0);
    require!(added == Ok(()), "an added number is refused");
    Ok(())
}

/// Numbers right behind the first ones can be added.
fn growth<A: IdAllocator>(trial: &mut Trial<A>) -> Verdict {
    grows(trial, trial.ground.behind)
}

/// Any numbers can be added.
fn growth_apart<A: IdAllocator>(trial: &mut Trial<A>) -> Verdict {
    grows(trial, trial.ground.apart)
}

/// Numbers that are there already are refused.
fn overlap<A: IdAllocator>(trial: &mut Trial<A>) -> Verdict {
    trial.begin()?;
    let (first, size) = trial.ground.main;
    for range in [(first, size), (first + size - 1, 10), (first - 1, 2)] {
        let refused = trial.add(range);
        let refused = refused == Err(AllocError::MemoryOverlap);
        require!(refused, "the same numbers are taken twice");
    }
    require!(trial.allocator.size() == size, "a refusal has effects");
    Ok(())
}

/// What is not allocated is not freed, not even in part.
fn free_twice<A: IdAllocator>(trial: &mut Trial<A>) -> Verdict {
    trial.begin()?;
    let (first, size) = trial.ground.main;
    let Ok(id) = trial.allocator.alloc_id(10, 1) else {
        return Err("no numbers");
    };
    for (start, count) in [
        (id, 11),
        (id + 9, 2),
        (id + 10, 1),
        (first - 1, 2),
        (first + size, 1),
        (id, usize::MAX),
    ] {
        let refused = trial.allocator.dealloc_id(start, count);
        require!(refused == Err(AllocError::NotAllocated), "freed");
    }
    require!(trial.allocator.used() == 10, "a refusal has effects");
    require!(trial.allocator.dealloc_id(id, 10) == Ok(()), "refused");
    let refused = trial.allocator.dealloc_id(id, 10);
    require!(refused == Err(AllocError::NotAllocated), "freed twice");
    Ok(())
}
