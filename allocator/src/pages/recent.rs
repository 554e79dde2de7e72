//! Where a CPU has freed pages lately.

use core::sync::atomic::AtomicU8;

use super::entry::Entry;
use super::section::SectionRef;
use super::stack::Group;
use super::state::PageState;
use super::zone::Zone;

/// The part of a section that a CPU has freed pages in lately, with what a free needs to know.
#[derive(Clone, Copy)]
pub(super) struct Recent {
    start: usize,
    /// Pages from `start` up to the frontier, as far as that had come.
    pages: usize,
    states: *const AtomicU8,
}

impl Recent {
    /// Contains nothing.
    pub(super) const NONE: Self = Self {
        start: 0,
        pages: 0,
        states: core::ptr::null(),
    };

    fn new(section: SectionRef) -> Self {
        Self {
            start: section.start(),
            pages: section.frontier().since(section.first()),
            states: section.states().as_ptr(),
        }
    }

    /// Makes an allocated block one that is in a cache in that state, if it is one of this part.
    #[inline(always)]
    pub(super) fn take_in<const PAGE_SIZE: usize>(
        &self,
        addr: usize,
        cached: PageState,
    ) -> Option<Entry> {
        let entry = Entry::new(addr, self.state::<PAGE_SIZE>(addr)?);
        entry.put_in_cache(cached).then_some(entry)
    }

    /// The state of the page at `addr`, if that is a page of this part.
    #[inline]
    fn state<const PAGE_SIZE: usize>(&self, addr: usize) -> Option<&AtomicU8> {
        // What is no multiple of the page size becomes a huge number.
        let page = addr
            .wrapping_sub(self.start)
            .rotate_right(PAGE_SIZE.trailing_zeros());
        // There is a byte for every page.
        let state = self.states.wrapping_add(page);
        if page >= self.pages {
            return None;
        }
        // SAFETY: it is initialised below the frontier, and the section is there as long as its
        // CPU has not been made to forget it.
        Some(unsafe { &*state })
    }
}

/// The parts of two sections, one for each group of stacks: whose blocks go where is not asked, but tried.
pub(super) struct Recents {
    any: Recent,
    low: Recent,
}

impl Recents {
    /// Contain nothing.
    pub(super) const NONE: Self = Self {
        any: Recent::NONE,
        low: Recent::NONE,
    };

    /// The part whose blocks belong on the stacks of `group`.
    #[inline]
    pub(super) fn of(&self, group: Group) -> &Recent {
        match group {
            Group::Any => &self.any,
            Group::Low => &self.low,
        }
    }

    /// Which stacks the block at `addr` belongs on, if it lies in one of the parts.
    #[inline]
    pub(super) fn group_of<const PAGE_SIZE: usize>(&self, addr: usize) -> Option<Group> {
        Group::ALL
            .into_iter()
            .find(|group| self.of(*group).state::<PAGE_SIZE>(addr).is_some())
    }

    /// Makes what is in use of a section the part for its group, which is returned. `has_normal` says whether low memory is
    /// worth keeping apart.
    pub(super) fn learn(&mut self, section: SectionRef, has_normal: bool) -> Group {
        let group = Group::of_low(has_normal && section.zone() != Zone::Normal);
        *match group {
            Group::Any => &mut self.any,
            Group::Low => &mut self.low,
        } = Recent::new(section);
        group
    }
}
