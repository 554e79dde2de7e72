//! Every allocator behind the traits, ours and others', on real memory.

use core::fmt::{self, Write};
use core::ptr::NonNull;

use twinframe::conformance::interface::{self, Ground};

use crate::console::print;
use crate::harness::{Outcome, kernel_tests};
use crate::memory::HEAP;
use crate::platform::Machine;
use crate::suites::free_pages;

/// The report of an examination, as part of the console's text.
struct Report;

impl Write for Report {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        print(format_args!("{text}"));
        Ok(())
    }
}

/// Runs an examination on memory from the heap.
fn on_pages(examine: impl FnOnce(Ground, &mut Report)) -> Outcome {
    const PAGES: usize = Ground::BYTES / 4096;
    let Ok(address) = HEAP.alloc_pages(PAGES, Ground::BYTES) else {
        return Outcome::Skip("8 MiB are not free in one block");
    };
    let start = NonNull::new(address as *mut u8).expect("not at 0");
    let memory = NonNull::slice_from_raw_parts(start, Ground::BYTES);
    // SAFETY: pages allocated just now, that are freed after the examination.
    examine(unsafe { Ground::new(memory) }, &mut Report);
    free_pages(address, PAGES).expect("allocated above");
    Outcome::Pass
}

kernel_tests! { "parity", Test:
    fn allocators_of_bytes() on [smp1, mem64m, smp4] {
        return on_pages(|ground, report| interface::examine_bytes::<Machine>(ground, report));
    }

    fn allocators_of_pages() on [smp1, mem64m, mem6g, smp4] {
        return on_pages(|ground, report| interface::examine_pages::<Machine>(ground, report));
    }

    fn allocators_of_numbers() on [smp1] {
        interface::examine_ids(&mut Report);
    }
}
