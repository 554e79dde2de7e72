//! The conformance points see what they are for, and a wrong list of exceptions is noticed.

use core::alloc::Layout;
use core::ptr::NonNull;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::string::{String, ToString};

use crate::bittree::BitTree;
use crate::conformance::interface::{Candidate, Exception, Ground, LinkedList};
use crate::pages::tests::Memory;
use crate::traits::{BaseAllocator, ByteAllocator};
use crate::{AllocError, AllocResult};

const MISALIGNS: u8 = 0;
const GIVES_TWICE: u8 = 1;
const LEAKS: u8 = 2;
const MISCOUNTS: u8 = 3;
const REFUSES_NOTHING: u8 = 4;
const TAKES_ANY_FREE: u8 = 5;
const WRITES: u8 = 6;

/// A tree with a fault.
struct Faulty<const FAULT: u8> {
    tree: BitTree,
    latest: Option<(NonNull<u8>, Layout)>,
    calls: usize,
}

impl<const FAULT: u8> Faulty<FAULT> {
    fn new() -> Self {
        Self {
            tree: BitTree::new(),
            latest: None,
            calls: 0,
        }
    }
}

impl<const FAULT: u8> BaseAllocator for Faulty<FAULT> {
    unsafe fn add_memory(&mut self, start: usize, size: usize) -> AllocResult {
        // SAFETY: passed on to the caller.
        unsafe { self.tree.add_memory(start, size) }
    }
}

// SAFETY: it breaks the contract where the checks are to see it, which then ask for no more.
unsafe impl<const FAULT: u8> ByteAllocator for Faulty<FAULT> {
    fn alloc(&mut self, layout: Layout) -> AllocResult<NonNull<u8>> {
        self.calls += 1;
        if let (GIVES_TWICE, 50, Some((block, of))) = (FAULT, self.calls % 100, self.latest)
            && of.size() >= layout.size()
            && of.align() >= layout.align()
        {
            return Ok(block);
        }
        let block = self.tree.alloc(layout);
        if FAULT == REFUSES_NOTHING && layout.size() > 4 << 20 {
            return Ok(NonNull::dangling());
        }
        let block = block?;
        self.latest = Some((block, layout));
        if FAULT == WRITES && self.calls.is_multiple_of(100) {
            let beyond = block
                .as_ptr()
                .wrapping_add(layout.size().next_multiple_of(16));
            // SAFETY: this is the fault; the bytes lie inside the test's memory.
            unsafe { beyond.write_bytes(0xff, 64) };
        }
        if FAULT == MISALIGNS && layout.align() >= 512 {
            // SAFETY: inside the block, which is as large as its alignment.
            return Ok(unsafe { block.add(256) });
        }
        Ok(block)
    }

    unsafe fn dealloc(&mut self, ptr: NonNull<u8>, layout: Layout) -> AllocResult {
        self.calls += 1;
        if FAULT == LEAKS && self.calls.is_multiple_of(100) {
            return Ok(());
        }
        // SAFETY: passed on to the caller.
        match unsafe { self.tree.dealloc(ptr, layout) } {
            Err(_) if FAULT == TAKES_ANY_FREE => Ok(()),
            Err(_) => Err(AllocError::NotAllocated),
            Ok(()) => Ok(()),
        }
    }

    fn total_bytes(&self) -> usize {
        self.tree.total_bytes()
    }

    fn used_bytes(&self) -> usize {
        self.tree.used_bytes() / if FAULT == MISCOUNTS { 2 } else { 1 }
    }

    fn available_bytes(&self) -> usize {
        self.tree.available_bytes()
    }
}

/// What the examination panics with, if it does.
fn complaint<A: ByteAllocator>(
    make: fn() -> A,
    exceptions: &'static [Exception],
) -> Option<String> {
    let memory = Memory::new(Ground::BYTES);
    // SAFETY: the memory outlives the examination and belongs to it.
    let ground = unsafe { Ground::new(memory.whole()) };
    let candidate = Candidate {
        name: "candidate",
        make,
        settle: |_| (),
        exceptions,
    };
    let examine = || candidate.examine_bytes(ground, &mut String::new());
    let panic = catch_unwind(AssertUnwindSafe(examine)).err()?;
    let text = panic.downcast::<String>().expect("a message");
    Some(text.to_string())
}

#[test]
fn every_fault_is_seen() {
    let fails = |complaint: Option<String>, point| {
        let complaint = complaint.expect("the fault is not seen");
        assert!(complaint.starts_with(point), "{complaint}");
    };
    fails(
        complaint(Faulty::<MISALIGNS>::new, &[]),
        "candidate: alignment: a block is not",
    );
    fails(
        complaint(Faulty::<GIVES_TWICE>::new, &[]),
        "candidate: contents: two blocks",
    );
    fails(
        complaint(Faulty::<LEAKS>::new, &[]),
        "candidate: recovery: not all",
    );
    fails(
        complaint(Faulty::<MISCOUNTS>::new, &[]),
        "candidate: statistics: ",
    );
    fails(
        complaint(Faulty::<REFUSES_NOTHING>::new, &[]),
        "candidate: too large: ",
    );
    fails(
        complaint(Faulty::<TAKES_ANY_FREE>::new, &[]),
        "candidate: free twice: ",
    );
    fails(complaint(Faulty::<WRITES>::new, &[]), "candidate: ");
}

#[test]
fn the_list_of_exceptions_must_be_right() {
    const GROWS: Exception = Exception::fails("growth apart", "");
    const HOLDS: Exception = Exception::fails("alignment", "");
    const UNKNOWN: Exception = Exception::fails("no such point", "");
    const TWICE: Exception = Exception::undefined("free twice", "");
    const INSIDE: Exception = Exception::undefined("free inside", "");
    const ELSEWHERE: Exception = Exception::undefined("free elsewhere", "");
    assert_eq!(complaint(BitTree::new, &[]), None);
    let missing = complaint(LinkedList::new, &[TWICE, INSIDE, ELSEWHERE]);
    assert_eq!(
        missing.as_deref(),
        Some("candidate: growth apart: more memory is refused")
    );
    let right = complaint(LinkedList::new, &[GROWS, TWICE, INSIDE, ELSEWHERE]);
    assert_eq!(right, None);
    let superfluous = complaint(BitTree::new, &[HOLDS]);
    assert_eq!(
        superfluous.as_deref(),
        Some("candidate: alignment holds, though it is listed as failing")
    );
    let unknown = complaint(BitTree::new, &[UNKNOWN]);
    assert_eq!(
        unknown.as_deref(),
        Some("candidate: there is no point \"no such point\"")
    );
}
