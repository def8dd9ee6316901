//! Entrances for the fuzz targets in `fuzz/`. No part of the interface.

use crate::multicast::MulticastScope;

/// `bytes` as far as an announcement goes, with a MAC that fits.
pub fn sealed(bytes: &[u8], scope: &MulticastScope) -> Vec<u8> {
    crate::multicast::message::sealed(bytes, scope)
}
