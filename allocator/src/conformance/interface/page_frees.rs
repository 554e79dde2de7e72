//! Frees of pages that must be refused.

use super::candidate::{Trial, Verdict, is_refusal, require};
use crate::traits::PageAllocator;

/// Pages that are free already are not freed again.
pub(super) fn free_twice<A: PageAllocator>(trial: &mut Trial<A>) -> Verdict {
    trial.begin()?;
    for count in [1, 5, 64] {
        let Ok(addr) = trial.allocator.alloc_pages(count, A::PAGE_SIZE) else {
            return Err("no memory");
        };
        require!(trial.free_pages(addr, count) == Ok(()), "a free is refused");
        for _ in 0..2 {
            let used = trial.allocator.used_pages();
            require!(is_refusal(trial.free_pages(addr, count)), "freed twice");
            require!(
                trial.allocator.used_pages() == used,
                "a refusal has effects"
            );
            trial.settle();
        }
    }
    Ok(())
}

/// Neither a part of a run is freed, nor more than it.
pub(super) fn free_inside<A: PageAllocator>(trial: &mut Trial<A>) -> Verdict {
    trial.begin()?;
    let Ok(addr) = trial.allocator.alloc_pages(8, A::PAGE_SIZE) else {
        return Err("no memory");
    };
    let Ok(beside) = trial.allocator.alloc_pages(8, A::PAGE_SIZE) else {
        return Err("no memory");
    };
    let used = trial.allocator.used_pages();
    for (page, count) in [(0, 3), (3, 1), (7, 1), (4, 4), (0, 16)] {
        let refused = is_refusal(trial.free_pages(addr + page * A::PAGE_SIZE, count));
        require!(refused, "a part of a run is freed");
    }
    require!(is_refusal(trial.free_pages(addr + 1, 8)), "not a page");
    require!(
        trial.allocator.used_pages() == used,
        "a refusal has effects"
    );
    require!(trial.free_pages(addr, 8) == Ok(()), "a free is refused");
    require!(trial.free_pages(beside, 8) == Ok(()), "a free is refused");
    Ok(())
}

/// What never was memory of the allocator is not freed.
pub(super) fn free_elsewhere<A: PageAllocator>(trial: &mut Trial<A>) -> Verdict {
    trial.begin()?;
    let (apart, _) = trial.ground.apart;
    let used = trial.allocator.used_pages();
    for addr in [apart, 0, usize::MAX & !(A::PAGE_SIZE - 1)] {
        for count in [1, 8, usize::MAX] {
            require!(is_refusal(trial.free_pages(addr, count)), "freed");
        }
    }
    require!(
        trial.allocator.used_pages() == used,
        "a refusal has effects"
    );
    Ok(())
}
