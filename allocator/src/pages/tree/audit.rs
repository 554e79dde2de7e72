//! Whether the summaries of a tree say what its bits say.

use super::super::frame::{Order, Pfn};
use super::super::level::{SUMMARIES, node_log2};
use super::super::place::{FANOUT, Place, Shape};
use super::FreeTree;

impl FreeTree {
    /// Compares every summary and count with the bits for the frames `first..frontier`; returns
    /// the first order that disagrees.
    pub(in crate::pages) fn audit(&self, first: Pfn, frontier: Pfn) -> Result<(), Order> {
        if first == frontier {
            return Ok(());
        }
        for order in Order::all() {
            let lowest = Place::of(first, order).level;
            let mut blocks = 0;
            let mut top = 0;
            let members = self.members(order);
            let is_alone = members.count.get() == 1 && members.top.get() == 0;
            let alone = self.place_alone(order).pfn(order);
            let is_inside = first <= alone && alone < frontier;
            if is_alone && !(is_inside && self.contains(alone, order)) {
                return Err(order);
            }
            for level in lowest..self.depth {
                let nodes = first.number() >> node_log2(level)
                    ..frontier.number().div_ceil(1 << node_log2(level));
                for node in nodes {
                    let free = if level == lowest {
                        let shape = Shape::of(order);
                        let free = self.word(level, node, shape.word).get() & shape.field;
                        blocks += free.count_ones();
                        free
                    } else {
                        self.word(level, node, SUMMARIES + order.index()).get()
                    };
                    let is_shown = free != 0 && !is_alone;
                    let claimed = if level + 1 == self.depth {
                        let bit = 1 << (node - self.top_first);
                        top |= if is_shown { bit } else { 0 };
                        members.top.get() & bit
                    } else {
                        let word = self.word(level + 1, node / FANOUT, SUMMARIES + order.index());
                        word.get() & 1 << (node % FANOUT)
                    };
                    if (claimed != 0) != is_shown {
                        return Err(order);
                    }
                }
            }
            let is_marked = self.nonempty.get() >> order.log2() & 1 != 0;
            if blocks != members.count.get()
                || is_marked != (blocks != 0)
                || members.top.get() != top
            {
                return Err(order);
            }
        }
        Ok(())
    }
}
