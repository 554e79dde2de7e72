//! Which node and which zone serve a demand.

use super::frame::{Order, Pfn};
use super::frontier::Refusal;
use super::node::Node;
use super::request::Demand;
use super::section::SectionRef;
use super::zone::Zone;
use super::zones::{Zones, highest};
use crate::{AllocError, AllocResult};

impl<const PAGE_SIZE: usize> Zones<PAGE_SIZE> {
    /// Takes pages, from the wanted node as long as it has them, then from the others in order. After an error,
    /// [`advance`](Self::advance) knows whether to try again, if the demand is for more than a chunk.
    #[inline]
    pub(crate) fn allocate(
        &mut self,
        demand: &Demand,
        wanted: Node,
    ) -> AllocResult<(SectionRef, Pfn)> {
        let (section, pfn, _) = self.allocate_up_to(demand, demand.order, wanted)?;
        Ok((section, pfn))
    }

    /// The same for a demand of one block, and takes more where the block that serves it is larger, up
    /// to `most`: returns how many pages.
    #[inline]
    pub(crate) fn allocate_up_to(
        &mut self,
        demand: &Demand,
        most: Order,
        wanted: Node,
    ) -> AllocResult<(SectionRef, Pfn, usize)> {
        if self.node_count == 1 {
            return self
                .allocate_on(demand, most, Node::FIRST)
                .ok_or(AllocError::NoMemory);
        }
        self.allocate_near(demand, most, wanted)
    }

    #[cold]
    fn allocate_near(
        &mut self,
        demand: &Demand,
        most: Order,
        wanted: Node,
    ) -> AllocResult<(SectionRef, Pfn, usize)> {
        for node in wanted.then_others(self.node_count) {
            if self.far.is_some() {
                break;
            }
            if let Some(taken) = self.allocate_on(demand, most, node) {
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
    fn allocate_on(
        &mut self,
        demand: &Demand,
        most: Order,
        node: Node,
    ) -> Option<(SectionRef, Pfn, usize)> {
        let highest = highest::<PAGE_SIZE>(demand);
        for zone in Zone::ALL[..=highest.index()].iter().rev() {
            let sections = &mut self.zones[zone.index()];
            let spare = sections
                .free
                .saturating_sub(sections.reserve[highest.index()]);
            if spare < demand.count {
                continue;
            }
            let most = if most.pages() <= spare {
                most
            } else {
                demand.order
            };
            let within = zone.limit::<PAGE_SIZE>() <= demand.limit;
            // Two ways out: what comes of the usual one stays in registers.
            if within && let Some(section) = sections.pick(demand.need, node) {
                match section.take(demand, most) {
                    Ok((pfn, pages)) => {
                        sections.debit(section, pages);
                        return Some((section, pfn, pages));
                    }
                    Err(Refusal::Far) => {
                        self.far = Some(section);
                        return None;
                    }
                    Err(Refusal::Taken) => {}
                }
            } else if let Some((section, found)) = sections.find(demand, within, node) {
                let Some((pfn, pages)) = found else {
                    self.far = Some(section);
                    return None;
                };
                sections.debit(section, pages);
                return Some((section, pfn, pages));
            }
        }
        None
    }

    /// Takes up to `wanted` more blocks from a section that a demand was just served from, as pieces of one or several that
    /// `put` gets the pages of; splits larger blocks for more than `enough` only. Returns how many are still wanted: what the section
    /// cannot give at once, it does not.
    ///
    /// What is to be asked and to be written down for a section is so only once for all of them.
    #[inline]
    pub(crate) fn allocate_more(
        &mut self,
        section: SectionRef,
        demand: &Demand,
        mut wanted: usize,
        enough: usize,
        mut put: impl FnMut(Pfn, usize),
    ) -> usize {
        if section.limit() > demand.limit {
            return wanted;
        }
        let highest = highest::<PAGE_SIZE>(demand);
        let sections = &mut self.zones[section.zone().index()];
        let reserve = sections.reserve[highest.index()];
        let mut spare = sections.free.saturating_sub(reserve);
        let before = spare;
        while wanted != 0
            && let Some(most) = Order::within(spare.min(wanted << demand.order.log2()))
            && most >= demand.order
            && (wanted > enough
                || section
                    .tree()
                    .smallest(demand.need)
                    .is_some_and(|found| found <= most))
            && let Ok((pfn, pages)) = section.take(demand, most)
        {
            spare -= pages;
            wanted -= pages >> demand.order.log2();
            put(pfn, pages);
        }
        sections.debit(section, before - spare);
        wanted
    }
}
