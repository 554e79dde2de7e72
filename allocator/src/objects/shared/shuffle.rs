//! Objects in an order that cannot be foreseen.

use core::sync::atomic::Ordering;

use super::super::size_class::SizeClass;
use super::allocator::ObjectAllocator;
use super::magazine::{MOST_BATCH, Magazines};
use crate::Platform;

impl<P: Platform, const PAGE_SIZE: usize> ObjectAllocator<P, PAGE_SIZE> {
    /// Puts a magazine that was just filled into random order, if the platform wants that.
    pub(super) fn shuffle(&self, magazines: &Magazines, class: SizeClass) {
        if P::HARDENING.random_order {
            let number = self.shuffles.fetch_add(1, Ordering::Relaxed);
            shuffle(magazines, class, self.mark_of(number));
        }
    }
}

/// Puts the objects of a magazine that was just filled into an order that depends on `seed`.
fn shuffle(magazines: &Magazines, class: SizeClass, seed: usize) {
    let mut objects = [0; MOST_BATCH];
    let taken = magazines.take_oldest(class, MOST_BATCH, &mut objects);
    // xorshift (Marsaglia), which must not begin with 0.
    let mut state = seed as u64 | 1 << 63;
    for last in (1..taken).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let other = (state >> 8) as usize % (last + 1);
        objects.swap(last, other);
    }
    let mut room = magazines.room(class);
    for object in &objects[..taken] {
        room.put(*object);
    }
}
