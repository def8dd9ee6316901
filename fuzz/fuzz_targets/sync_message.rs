//! Messages from peers: refused, or their own canonical form.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| ditto_sync::fuzz_message(bytes));
