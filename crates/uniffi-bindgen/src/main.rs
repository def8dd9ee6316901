//! The UniFFI binding generator, pinned to the version that the library is built with.
//!
//! `cargo run -p uniffi-bindgen -- generate --library LIB --language python --out-dir DIR`

fn main() {
    uniffi::uniffi_bindgen_main();
}
