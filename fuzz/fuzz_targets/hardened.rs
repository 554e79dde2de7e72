//! The same with every check on, and with allocations that fail.

#![no_main]

use libfuzzer_sys::fuzz_target;
use twinframe_fuzz::{Hardened, ObjectOp, play_objects};

fuzz_target!(|ops: Vec<ObjectOp>| play_objects::<Hardened>(ops));
