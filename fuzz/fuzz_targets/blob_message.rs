//! Messages of the blobs service: refused, or read back from what they are written as.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| ditto_sync::blob::fuzz_message(bytes));
