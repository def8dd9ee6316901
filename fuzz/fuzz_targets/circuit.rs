//! What neighbours and ends of circuits say: refused, or its own canonical form.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| ditto_mesh::fuzz::circuit(bytes));
