//! The firmware's tables.

#![no_main]

use libfuzzer_sys::fuzz_target;
use twinframe_fuzz::check_tables;

fuzz_target!(|bytes: &[u8]| check_tables(bytes));
