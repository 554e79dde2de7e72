//! Who is examined, and what is known to fail.

use core::fmt::Write;

use super::candidate::{Candidate, Exception};
use super::ground::Ground;
use super::peers::LinkedList;
use crate::bittree::BitTree;
use crate::traits::{BitmapIdAllocator, BitmapPageAllocator};
use crate::traits::{BuddyByteAllocator, SlabByteAllocator, TlsfByteAllocator};
use crate::{BuddyAllocator, FrameAllocator, GlobalAllocator, Platform};

const FREES_TWICE: Exception = Exception::undefined("free twice", "its frees are not checked");
const FREES_INSIDE: Exception = Exception::undefined("free inside", "its frees are not checked");
const FREES_ELSEWHERE: Exception =
    Exception::undefined("free elsewhere", "its frees are not checked");
const FORGETS: Exception = Exception::fails("overlap", "it does not remember its ranges");

/// What the heaps do not notice that keep no record of ranges and blocks.
const TRUSTING: &[Exception] = &[FORGETS, FREES_TWICE, FREES_INSIDE, FREES_ELSEWHERE];

const LINKED_LIST: &[Exception] = &[
    Exception::undefined(
        "absurd size",
        "it adds sizes to addresses unchecked, which in the upper half of the address space wraps",
    ),
    Exception::fails("growth apart", "it grows at its end only"),
    FREES_TWICE,
    FREES_INSIDE,
    FREES_ELSEWHERE,
];

const BITMAP_PAGES: &[Exception] = &[
    Exception::fails("growth apart", "it has one range"),
    Exception::fails("free inside", "it does not record where a run ends"),
];

const BITMAP_IDS: &[Exception] = &[Exception::fails("growth apart", "it has one range")];

const fn nothing<A>(_: &mut A) {}

const fn plain<A>(
    name: &'static str,
    make: fn() -> A,
    exceptions: &'static [Exception],
) -> Candidate<A> {
    Candidate {
        name,
        make,
        settle: nothing,
        exceptions,
    }
}

fn global<P: Platform>() -> Candidate<GlobalAllocator<P>> {
    Candidate {
        settle: |allocator| {
            allocator.drain();
        },
        ..plain("GlobalAllocator", GlobalAllocator::new, &[])
    }
}

/// Examines every allocator for bytes, and writes down which points do not hold.
///
/// # Panics
///
/// As [`Candidate::examine_bytes`].
pub fn examine_bytes<P: Platform>(ground: Ground, out: &mut dyn Write) {
    global::<P>().examine_bytes(ground, out);
    plain("SlabByteAllocator", SlabByteAllocator::<0x1000>::new, &[]).examine_bytes(ground, out);
    plain("BitTree", BitTree::new, &[]).examine_bytes(ground, out);
    plain(
        "BuddyByteAllocator (buddy_system_allocator)",
        BuddyByteAllocator::new,
        TRUSTING,
    )
    .examine_bytes(ground, out);
    plain("TlsfByteAllocator (rlsf)", TlsfByteAllocator::new, TRUSTING).examine_bytes(ground, out);
    plain("linked_list_allocator", LinkedList::new, LINKED_LIST).examine_bytes(ground, out);
}

/// Examines every allocator for pages, and writes down which points do not hold.
///
/// # Panics
///
/// As [`Candidate::examine_pages`].
pub fn examine_pages<P: Platform>(ground: Ground, out: &mut dyn Write) {
    plain("BuddyAllocator", BuddyAllocator::<0x1000>::new, &[]).examine_pages(ground, out);
    Candidate {
        settle: |allocator: &mut FrameAllocator<P>| {
            allocator.drain_all();
        },
        ..plain("FrameAllocator", FrameAllocator::<P>::new, &[])
    }
    .examine_pages(ground, out);
    global::<P>().examine_pages(ground, out);
    plain(
        "BitmapPageAllocator",
        BitmapPageAllocator::<0x1000, 64>::new,
        BITMAP_PAGES,
    )
    .examine_pages(ground, out);
}

/// Examines every allocator for numbers, and writes down which points do not hold.
///
/// # Panics
///
/// As [`Candidate::examine_ids`].
pub fn examine_ids(out: &mut dyn Write) {
    plain(
        "BitmapIdAllocator",
        BitmapIdAllocator::<64>::new,
        BITMAP_IDS,
    )
    .examine_ids(Ground::NUMBERS, out);
}
