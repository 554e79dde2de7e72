//! A model that knows every page.

use std::collections::BTreeMap;
use std::vec;
use std::vec::Vec;

use super::PAGE;
use super::subject::Subject;
use crate::{ManagedSection, Zone};

/// What the allocator should know.
#[derive(Default)]
pub(super) struct Model {
    /// Start address of every section, its description, and which pages are out.
    pub(super) sections: BTreeMap<usize, (ManagedSection, Vec<bool>)>,
    /// Address and pages.
    pub(super) live: Vec<(usize, usize)>,
}

impl Model {
    pub(super) fn read_sections(&mut self, pages: &impl Subject) {
        let mut sections = BTreeMap::new();
        for i in 0..pages.section_count() {
            let section = pages.section(i).unwrap();
            let used = match self.sections.remove(&section.start) {
                Some((_, used)) => used,
                None => vec![false; section.total_pages],
            };
            sections.insert(section.start, (section, used));
        }
        self.sections = sections;
    }

    pub(super) fn set(&mut self, addr: usize, count: usize, out: bool) {
        let (_, (section, used)) = self.sections.range_mut(..=addr).next_back().unwrap();
        let first = (addr - section.start) / PAGE;
        for page in &mut used[first..first + count] {
            assert_ne!(*page, out, "a page was given out or taken back twice");
            *page = out;
        }
    }

    pub(super) fn free_pages(&self, zone: Zone) -> usize {
        self.of(zone)
            .map(|(_, used)| used.iter().filter(|out| !**out).count())
            .sum()
    }

    fn of(&self, zone: Zone) -> impl Iterator<Item = &(ManagedSection, Vec<bool>)> {
        self.sections
            .values()
            .filter(move |(section, _)| section.zone == zone)
    }

    /// Must a live allocation of `count` pages become one of `new_count` where it is, if nothing is in
    /// a cache?
    pub(super) fn can_grow(&self, addr: usize, count: usize, new_count: usize) -> bool {
        let (_, (section, used)) = self.sections.range(..=addr).next_back().unwrap();
        let zone = section.zone;
        let reserve = zone.reserve(Zone::Normal, &self.managed());
        let first = (addr - section.start) / PAGE;
        self.free_pages(zone) >= new_count - count + reserve
            && used
                .get(first + count..first + new_count)
                .is_some_and(|behind| behind.iter().all(|out| !out))
    }

    fn managed(&self) -> [usize; 3] {
        Zone::ALL.map(|zone| self.of(zone).map(|(section, _)| section.total_pages).sum())
    }

    /// Must this request succeed?
    pub(super) fn can_serve(&self, count: usize, exact: bool, need: usize, max_phys: u64) -> bool {
        let block = count.next_power_of_two();
        let cost = if exact { count } else { block };
        let managed = self.managed();
        let highest = Zone::of(max_phys.saturating_sub(PAGE as u64 - 1));
        Zone::ALL
            .into_iter()
            .filter(|zone| *zone <= highest)
            .any(|zone| {
                self.free_pages(zone) >= cost + zone.reserve(highest, &managed)
                    && self.of(zone).any(|(section, used)| {
                        let pages = block_starts(section, need);
                        pages.into_iter().any(|first| {
                            let end = section.phys + ((first + block) * PAGE) as u64 - 1;
                            end <= max_phys && used[first..first + need].iter().all(|out| !out)
                        })
                    })
            })
    }
}

/// Page indices in the section where a block of `pages` can begin.
fn block_starts(section: &ManagedSection, pages: usize) -> Vec<usize> {
    if pages > 1 << section.max_order {
        return Vec::new();
    }
    let pfn = usize::try_from(section.phys).unwrap() / PAGE;
    let first = pfn.next_multiple_of(pages) - pfn;
    (first..section.total_pages)
        .step_by(pages)
        .filter(|at| at + pages <= section.total_pages)
        .collect()
}
