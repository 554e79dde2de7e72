//! Objects of CPUs that take turns.

#![no_main]

use libfuzzer_sys::fuzz_target;
use twinframe_fuzz::{Host, ObjectOp, play_objects};

fuzz_target!(|ops: Vec<ObjectOp>| play_objects::<Host>(ops));
