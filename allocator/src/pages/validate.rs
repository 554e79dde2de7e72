//! Walking everything and checking that it agrees.

use core::fmt;

use super::frame::{Order, Pfn};
use super::index::SectionIndex;
use super::section::SectionRef;
use super::state::{Kind, PageState};
use super::zone::Zone;
use super::zones::Zones;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The index does not find the section, or its sections are not in address order.
    Index,
    /// The section is in the wrong list of its zone, or in none.
    Bucket,
    /// A list mark of the zone is wrong.
    ZoneMark,
    /// The zone's counts are not the sums over its sections.
    ZoneCount,
    /// The section's count of free pages is wrong.
    FreeCount,
    /// A summary or count of the free blocks of this order disagrees with the blocks.
    Summary {
        /// The order.
        order: usize,
    },
    /// Pages are in use whose metadata was not set up.
    Frontier,
    /// A page is neither in an allocated nor in a free block, or in both.
    Page,
    /// A block begins where its size does not allow it.
    Misaligned,
    /// Two free buddies are not merged.
    Unmerged,
    /// A later block of a run without the block before it.
    Run,
    /// A block in a CPU's cache is not in the state of a cached block.
    Cache,
}

/// A broken invariant, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Violation {
    /// What is wrong.
    pub fault: Fault,
    /// The page, or the start of the section, or for faults of a zone its last physical address.
    pub at: u64,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at {:#x}", self.fault, self.at)
    }
}

impl core::error::Error for Violation {}

pub(super) fn validate<const PAGE_SIZE: usize>(
    index: &SectionIndex,
    zones: &Zones<PAGE_SIZE>,
) -> Result<(), Violation> {
    let mut managed = Zone::ALL.map(|_| 0);
    let mut free = managed;
    let mut count = 0;
    let mut end = 0;
    for section in index.iter() {
        let fail = |fault| Violation {
            fault,
            at: section.start() as u64,
        };
        count += 1;
        if count > index.len()
            || section.hold() < end
            || index.find(section.start()) != Some(section)
            || index.find(section.end() - 1) != Some(section)
        {
            return Err(fail(Fault::Index));
        }
        end = section.end();
        managed[section.zone().index()] += section.pages();
        free[section.zone().index()] += section.free_pages();
        if !zones.is_settled(section) {
            return Err(fail(Fault::Bucket));
        }
        walk::<PAGE_SIZE>(section)?;
    }
    if count != index.len() {
        return Err(Violation {
            fault: Fault::Index,
            at: 0,
        });
    }
    for zone in Zone::ALL {
        let fail = |fault| Violation {
            fault,
            at: zone.last(),
        };
        let sums = (managed[zone.index()], free[zone.index()]);
        if sums != (zones.managed(zone), zones.free(zone)) {
            return Err(fail(Fault::ZoneCount));
        }
        if !zones.marks_agree(zone) {
            return Err(fail(Fault::ZoneMark));
        }
    }
    Ok(())
}

/// Goes through the section block by block.
fn walk<const PAGE_SIZE: usize>(section: SectionRef) -> Result<(), Violation> {
    let frontier = section.frontier();
    let fail = |fault, pfn| Violation {
        fault,
        at: section.addr::<PAGE_SIZE>(pfn) as u64,
    };
    if section.prepared() < frontier {
        return Err(fail(Fault::Frontier, section.first()));
    }
    if let Err(order) = section.tree().audit(section.first(), frontier) {
        let order = order.index();
        return Err(fail(Fault::Summary { order }, section.first()));
    }
    let mut blocks = [0; Order::MAX.index() + 1];
    let mut free = section.limit().since(frontier);
    let mut at = section.first();
    let mut in_run = false;
    while at < frontier {
        let state = section.state(at);
        let free_order = free_block(section, at);
        let order = match (state.kind(), free_order) {
            (Kind::Nothing, Some(order)) => {
                blocks[order.index()] += 1;
                free += order.pages();
                let buddy = at.buddy(order);
                if order < section.max_order() && section.tree().contains(buddy, order) {
                    return Err(fail(Fault::Unmerged, at));
                }
                order
            }
            (Kind::Nothing, None) | (_, Some(_)) => return Err(fail(Fault::Page, at)),
            (_, None) => state.order(),
        };
        if state.kind() == Kind::RunTail && !in_run {
            return Err(fail(Fault::Run, at));
        }
        in_run = matches!(state.kind(), Kind::Run | Kind::RunTail);
        let end = at.add(order.pages());
        if order > section.max_order() || !at.is_aligned(order) || end > frontier {
            return Err(fail(Fault::Misaligned, at));
        }
        let inside = (1..order.pages()).map(|page| at.add(page));
        for page in inside {
            if section.state(page) != PageState::NOTHING {
                return Err(fail(Fault::Page, page));
            }
        }
        at = end;
    }
    // Blocks that the walk did not come across would lie inside others.
    for order in Order::all() {
        if section.tree().count(order) != blocks[order.index()] {
            let order = order.index();
            return Err(fail(Fault::Summary { order }, section.first()));
        }
    }
    if free != section.free_pages() {
        return Err(fail(Fault::FreeCount, section.first()));
    }
    Ok(())
}

/// The order of the free block that begins at `pfn`.
fn free_block(section: SectionRef, pfn: Pfn) -> Option<Order> {
    Order::all()
        .filter(|order| *order <= section.max_order() && pfn.is_aligned(*order))
        .find(|order| section.tree().contains(pfn, *order))
}
