//! The one source of randomness of the SDK.

/// Fills `out` from the operating system.
///
/// Without randomness there are no keys and no unique ids, so a system that has none cannot run the SDK.
pub(crate) fn fill(out: &mut [u8]) {
    if let Err(e) = getrandom::fill(out) {
        panic!("the operating system provides no randomness: {e}");
    }
}
