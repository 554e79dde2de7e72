//! Memory maps, against a model of all addresses.

#![no_main]

use libfuzzer_sys::fuzz_target;
use twinframe_fuzz::check_map;

fuzz_target!(|bytes: &[u8]| check_map(bytes));
