//! The allocator crate's own conformance checks, on this machine's memory.

use twinframe::conformance;

use crate::harness::{Outcome, kernel_tests};
use crate::memory::HEAP;
use crate::suites::largest_order;

kernel_tests! { "conformance", Test:
    fn every_order() on [smp1, smp4, mem64m, mem6g, microvm] {
        conformance::every_order(HEAP.frames());
    }

    fn exact_counts() on [smp1, mem6g] {
        if largest_order() < 10 {
            return Outcome::Skip("4 MiB are not free in one block");
        }
        conformance::exact_counts(HEAP.frames());
    }

    fn given_addresses() on [smp1, mem6g] {
        conformance::given_addresses(HEAP.frames());
    }

    fn limits() on [smp1, mem64m, mem6g, epyc] {
        conformance::limits(HEAP.frames());
    }

    fn zeroed() on [smp1, mem6g] {
        conformance::zeroed(HEAP.frames());
    }

    fn bulk() on [smp1, mem6g] {
        conformance::bulk(HEAP.frames());
    }

    fn bad_requests_change_nothing() on [smp1, mem6g] {
        conformance::bad_requests_change_nothing(HEAP.frames());
    }

    fn bad_frees_change_nothing() on [smp1, mem64m, mem6g] {
        conformance::bad_frees_change_nothing(HEAP.frames());
    }

    fn random_blocks() on [smp1, mem64m, mem6g, pc] {
        let seed = crate::random().u64(..);
        conformance::random_blocks(HEAP.frames(), seed, 5_000);
    }
}
