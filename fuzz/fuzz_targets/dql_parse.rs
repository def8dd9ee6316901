//! Statements: an error with a place, or a plan. Never a panic, never a stack overflow. What parses has a normal form
//! that is its own.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(prepared) = ditto_dql::prepare(text) {
        let _ = prepared.bind(&Default::default(), &ditto_dql::BindContext::bare());
    }
    let _ = ditto_dql::prepare_subscription(text, true);
    if let Ok(normal) = ditto_dql::normalize(text)
        && normal.len() <= ditto_dql::MAX_STATEMENT_BYTES
    {
        assert_eq!(ditto_dql::normalize(&normal), Ok(normal));
    }
});
