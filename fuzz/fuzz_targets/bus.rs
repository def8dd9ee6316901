//! What arrives on circuits of the Bus: words of streams, batches, single messages, fragments.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| ditto_bus::fuzz::bus(bytes));
