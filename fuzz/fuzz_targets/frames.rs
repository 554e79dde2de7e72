//! The allocator for all CPUs, which take turns.

#![no_main]

use libfuzzer_sys::fuzz_target;
use twinframe_fuzz::{Op, play_shared};

fuzz_target!(|ops: Vec<Op>| play_shared(ops));
