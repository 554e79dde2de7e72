//! Every allocator behind the traits, ours and others', does what it must; and those that do not are
//! on the list.

use std::string::String;

use crate::conformance::interface::{self, Ground};
use crate::pages::tests::{Cpu, Host, Memory};

/// Runs an examination, and returns its report, which also goes to standard output.
fn report(examine: impl FnOnce(Ground, &mut String)) -> String {
    Cpu::set(0);
    let memory = Memory::new(Ground::BYTES);
    // SAFETY: the memory outlives the examination and belongs to it.
    let ground = unsafe { Ground::new(memory.whole()) };
    let mut report = String::new();
    examine(ground, &mut report);
    std::print!("{report}");
    report
}

#[test]
fn bytes() {
    let report = report(|ground, out| interface::examine_bytes::<Host>(ground, out));
    for ours in ["GlobalAllocator", "SlabByteAllocator", "BitTree"] {
        let all = std::format!("{ours}: 15 of 15 points hold");
        assert!(report.lines().any(|line| line == all), "{ours}");
    }
    assert!(report.contains("linked_list_allocator: growth apart: FAILS: more memory is refused"));
    assert!(report.contains("linked_list_allocator: free twice: not tried: "));
}

#[test]
fn pages() {
    let report = report(|ground, out| interface::examine_pages::<Host>(ground, out));
    assert_eq!(report.matches("14 of 14 points hold").count(), 3);
    assert!(report.contains("BitmapPageAllocator: free inside: FAILS: "));
}

#[test]
fn ids() {
    let report = report(|_, out| interface::examine_ids(out));
    assert!(report.contains("BitmapIdAllocator: growth apart: FAILS: "));
}
