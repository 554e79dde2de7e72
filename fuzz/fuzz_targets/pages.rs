//! The allocator for one owner.

#![no_main]

use libfuzzer_sys::fuzz_target;
use twinframe_fuzz::{Op, play_single};

fuzz_target!(|ops: Vec<Op>| play_single(ops));
