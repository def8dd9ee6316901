//! Values from peers and files: refused, or their own canonical form.
#![no_main]

use ditto_types::wire::Reader;
use ditto_types::{cbor, codec};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(value) = codec::from_slice(bytes) {
        assert_eq!(codec::to_vec(&value), bytes);
    }
    let _ = codec::skip(&mut Reader::new(bytes));
    let _ = codec::get(bytes, &["a".into(), "b".into()]);
    if let Ok(value) = cbor::from_slice(bytes) {
        let _ = cbor::to_vec(&value);
    }
});
