//! Which node and which zone serve a demand.

use super::frame::{Order, Pfn};
use super::node::Node;
use super::request::Demand;
use super::section::SectionRef;
use super::zone::Zone;
use super::zone_sections::ZoneSections;
use super::zones::{Zones, highest};
use crate::{AllocError, AllocResult};

impl<const PAGE_SIZE: usize> Zones<PAGE_SIZE> {
    /// Takes pages, from the wanted node as long as it has them, then from the others in order.
    #[inline]
    pub(crate) fn allocate(
        &mut self,
        demand: &Demand,
        wanted: Node,
    ) -> AllocResult<(SectionRef, Pfn)> {
        if self.node_count == 1 {
            return self
                .allocate_on(demand, Node::FIRST)
                .ok_or(AllocError::NoMemory);
        }
        self.allocate_near(demand, wanted)
    }

    #[cold]
    fn allocate_near(&mut self, demand: &Demand, wanted: Node) -> AllocResult<(SectionRef, Pfn)> {
        for node in wanted.then_others(self.node_count) {
            if let Some(taken) = self.allocate_on(demand, node) {
                let info = &mut self.nodes[wanted.index()];
                if node == wanted {
                    info.hits += 1;
                } else {
                    info.misses += 1;
                }
                return Ok(taken);
            }
        }
        Err(AllocError::NoMemory)
    }

    /// Takes pages from the highest zone that has them on a node; in a lower zone than the demand
    /// could have used, only what is there beyond the reserve.
    #[inline]
    fn allocate_on(&mut self, demand: &Demand, node: Node) -> Option<(SectionRef, Pfn)> {
        let highest = highest::<PAGE_SIZE>(demand);
        for zone in Zone::ALL[..=highest.index()].iter().rev() {
            let sections = &mut self.zones[zone.index()];
            let spare = sections
                .free
                .saturating_sub(sections.reserve[highest.index()]);
            if spare < demand.count {
                continue;
            }
            let within = zone.limit::<PAGE_SIZE>() <= demand.limit;
            if let Some(taken) = sections.take(demand, within, node) {
                return Some(taken);
            }
        }
        None
    }

    /// Takes up to `limit` blocks as [`allocate`](Self::allocate) would, one after the other, and
    /// hands each to `taken` with its number; returns how many. A large block that is split for
    /// them is split once.
    pub(crate) fn allocate_many(
        &mut self,
        demand: &Demand,
        wanted: Node,
        limit: usize,
        mut taken: impl FnMut(usize, SectionRef, Pfn),
    ) -> usize {
        let mut done = 0;
        while done < limit {
            let demanded = self.widened(demand, wanted, limit - done);
            let Ok((section, pfn)) = self.allocate(&demanded, wanted) else {
                break;
            };
            for block in (0..demanded.count).step_by(demand.order.pages()) {
                taken(done, section, pfn.add(block));
                done += 1;
            }
        }
        done
    }

    /// The demand for all that is wanted out of the block that would serve `demand`: up to `limit`
    /// such blocks side by side.
    fn widened(&self, demand: &Demand, wanted: Node, limit: usize) -> Demand {
        let on = |node: Node| {
            let highest = highest::<PAGE_SIZE>(demand);
            let mut zones = self.zones[..=highest.index()].iter().rev();
            let spare =
                |zone: &ZoneSections| zone.free.saturating_sub(zone.reserve[highest.index()]);
            let filled = |zone: &ZoneSections| zone.nodes[node.index()].filled != 0;
            let zone = zones.find(|zone| filled(zone) && spare(zone) >= demand.count)?;
            let found = zone.pick(demand.need, node)?.tree().smallest(demand.need)?;
            let useful = Order::within(demand.count * limit)?;
            Some(found.min(useful)).filter(|order| order.pages() <= spare(zone))
        };
        match wanted.then_others(self.node_count).find_map(on) {
            Some(order) if order > demand.need => Demand {
                limit: demand.limit,
                ..Demand::block(order, order)
            },
            _ => *demand,
        }
    }
}
