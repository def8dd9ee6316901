//! The first message of a peer: refused, or read and bounded.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| ditto_mesh::fuzz::greeting(bytes));
