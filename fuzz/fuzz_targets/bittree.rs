//! The buddy tree with one bit for each pair, against a list of what is allocated.

#![no_main]

use libfuzzer_sys::fuzz_target;
use twinframe_fuzz::{TreeOps, play_tree};

fuzz_target!(|ops: TreeOps| play_tree(ops));
