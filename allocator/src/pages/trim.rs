//! Giving back what a CPU has fetched or kept while much more was free.
//!
//! How much a stack may hold is asked when it is empty or full; what it holds already stays when less is free. Where memory is
//! filled up, what all stacks fetched on the way would add up to much of what is left, and while it lies there, further blocks come out
//! of the largest one. They would go back there whenever they are freed and allocated again (see [`call_back`](super::call_back)).

use super::cache::CpuPages;
use super::held::Held;
use super::share::Share;
use super::shared::{FrameAllocator, Tree};
use super::stack::Stack;
use crate::Platform;

/// When a CPU looks through its stacks.
pub(super) struct Ebb {
    /// The most pages that were free since it began to do so.
    high: usize,
    /// How many stacks it has not looked at since.
    left: usize,
}

impl Ebb {
    pub(super) const fn new() -> Self {
        Self { high: 0, left: 0 }
    }

    /// Is any stack to be looked at, now that so many pages are free? All are, one after the other, once that is less than half of what
    /// it was, and not plenty.
    #[inline]
    pub(super) fn is_low(&mut self, free: usize, is_plenty: bool) -> bool {
        if free >= self.high {
            self.high = free;
        } else if free < self.high / 2 && !is_plenty {
            self.high = free;
            self.left = Stack::COUNT;
        }
        self.left != 0
    }

    /// The stack that is to be looked at next, those of the largest blocks first.
    fn next(&mut self) -> Option<Stack> {
        self.left = self.left.checked_sub(1)?;
        Stack::nth(self.left)
    }
}

impl<P: Platform, const PAGE_SIZE: usize> FrameAllocator<P, PAGE_SIZE> {
    /// Gives back what one of this CPU's stacks has beyond what it may hold now, at most a batch, of those that are still to be
    /// looked at. Returns whether there was something.
    #[cold]
    #[inline(never)]
    pub(super) fn trim(
        &self,
        tree: &mut Tree<PAGE_SIZE>,
        cpu: &CpuPages,
        held: &mut Held,
        share: Share,
    ) -> bool {
        while let Some(stack) = held.ebb.next() {
            cpu.set_limit(held, stack, share);
            let excess = cpu.excess(held, stack);
            if excess != 0 {
                self.spill(tree, cpu, held, stack, excess);
                return true;
            }
        }
        false
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn it_is_time_whenever_half_is_gone() {
        let mut ebb = Ebb::new();
        assert!(!ebb.is_low(100, true));
        assert!(!ebb.is_low(200, true) && !ebb.is_low(50, true));
        assert!(!ebb.is_low(100, false));
        assert!(ebb.is_low(99, false));
        let stacks = core::iter::from_fn(|| ebb.next());
        let orders: std::vec::Vec<usize> = stacks.map(|stack| stack.order().index()).collect();
        assert_eq!(orders.len(), Stack::COUNT);
        assert!(orders.is_sorted_by(|one, next| one >= next));
        assert!(!ebb.is_low(60, false) && !ebb.is_low(50, false));
        assert!(ebb.is_low(48, false));
    }
}
