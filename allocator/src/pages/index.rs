//! From an address to its section.
//!
//! The sections themselves are the nodes of a perfectly balanced binary tree over their addresses,
//! so the index needs no memory of its own and has no capacity. Adding and removing sections is
//! rare: the tree is then built anew from the list in address order.

use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use super::section::{Section, SectionRef};

/// All sections, by address.
pub(crate) struct SectionIndex {
    root: AtomicPtr<Section>,
    lowest: AtomicPtr<Section>,
    count: AtomicUsize,
}

impl SectionIndex {
    pub(crate) const fn new() -> Self {
        Self {
            root: AtomicPtr::new(null_mut()),
            lowest: AtomicPtr::new(null_mut()),
            count: AtomicUsize::new(0),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// The section that manages the address, after `log2(sections)` steps.
    ///
    /// May run while another CPU changes the index: what it finds is right, but it may then find
    /// nothing although there is something.
    #[inline]
    pub(crate) fn find(&self, addr: usize) -> Option<SectionRef> {
        let mut node = SectionRef::from_ptr(self.root.load(Ordering::Acquire));
        // Links that are half old and half new could lead in a circle.
        for _ in 0..usize::BITS {
            let section = node?;
            let child = if addr < section.start() {
                &section.lower
            } else if addr >= section.end() {
                &section.higher
            } else {
                return Some(section);
            };
            node = SectionRef::from_ptr(child.load(Ordering::Acquire));
        }
        None
    }

    /// All sections in address order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = SectionRef> {
        let lowest = SectionRef::from_ptr(self.lowest.load(Ordering::Relaxed));
        core::iter::successors(lowest, |section| {
            SectionRef::from_ptr(section.next_by_address.load(Ordering::Relaxed))
        })
    }

    /// Adds a section that overlaps none of the others.
    pub(super) fn insert(&self, section: SectionRef) {
        let mut link = &self.lowest;
        let mut next = SectionRef::from_ptr(link.load(Ordering::Relaxed));
        let before = self
            .iter()
            .take_while(|other| other.start() < section.start())
            .last();
        if let Some(before) = &before {
            link = &before.next_by_address;
            next = SectionRef::from_ptr(link.load(Ordering::Relaxed));
        }
        let next = next.map_or(null_mut(), SectionRef::as_ptr);
        section.next_by_address.store(next, Ordering::Relaxed);
        link.store(section.as_ptr(), Ordering::Relaxed);
        self.count.store(self.len() + 1, Ordering::Relaxed);
        self.rebuild();
    }

    /// Takes a section out.
    pub(super) fn remove(&self, section: SectionRef) {
        let next = section.next_by_address.load(Ordering::Relaxed);
        let before = self.iter().take_while(|other| *other != section).last();
        match &before {
            Some(before) => before.next_by_address.store(next, Ordering::Relaxed),
            None => self.lowest.store(next, Ordering::Relaxed),
        }
        self.count.store(self.len() - 1, Ordering::Relaxed);
        self.rebuild();
    }

    fn rebuild(&self) {
        let mut next = SectionRef::from_ptr(self.lowest.load(Ordering::Relaxed));
        let root = Self::build(&mut next, self.len());
        self.root.store(root, Ordering::Release);
    }

    /// Makes a balanced tree of the next `count` sections. As deep as the tree itself.
    fn build(next: &mut Option<SectionRef>, count: usize) -> *mut Section {
        if count == 0 {
            return null_mut();
        }
        let below = count / 2;
        let lower = Self::build(next, below);
        let Some(section) = *next else {
            debug_assert!(false, "the list is shorter than the count");
            return lower;
        };
        *next = SectionRef::from_ptr(section.next_by_address.load(Ordering::Relaxed));
        let higher = Self::build(next, count - below - 1);
        section.lower.store(lower, Ordering::Release);
        section.higher.store(higher, Ordering::Release);
        section.as_ptr()
    }
}
