//! The public name of a peer, derived from its identity key.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p256::elliptic_curve::sec1::ToEncodedPoint as _;
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

/// Algorithm byte of a compressed P-256 point.
const ALG_P256: u8 = 1;

/// Everything of a P-256 SubjectPublicKeyInfo before the uncompressed point.
const SPKI_HEAD: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// First 8 bytes of a hash of the key: how edges and digests name a peer.
pub type ShortId = [u8; 8];

/// Stable, unique name of a peer: an algorithm byte and its compressed P-256 public key (API-153).
///
/// Text form: `pk` and the 34 bytes in base64url without padding. A value always holds a point of the curve.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerKey([u8; Self::LEN]);

/// A [`PeerKey`] as an uncompressed point.
#[derive(Clone, Debug)]
pub(crate) struct VerifyingKey([u8; 65]);

impl VerifyingKey {
    /// See [`PeerKey::verify`].
    pub(crate) fn verify(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &self.0).verify(message, signature).is_ok()
    }
}

impl Borrow<[u8; PeerKey::LEN]> for PeerKey {
    /// So that maps are asked for bytes that may be no key.
    fn borrow(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

/// Why bytes or text are not a [`PeerKey`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerKeyError {
    /// Not 34 bytes.
    #[error("peer key has {0} bytes instead of 34")]
    Length(usize),
    /// The algorithm byte names no algorithm that this release knows.
    #[error("peer key uses the unknown algorithm {0}")]
    Algorithm(u8),
    /// The bytes are no point of the curve.
    #[error("peer key is not a point of the curve")]
    Point,
    /// The text is not `pk` followed by base64url.
    #[error("peer key text is not `pk` followed by base64url")]
    Text,
    /// The public key of a TLS peer is not a P-256 key.
    #[error("the public key is not a P-256 SubjectPublicKeyInfo")]
    Spki,
}

impl PeerKey {
    /// Length of the binary form.
    pub const LEN: usize = 34;

    /// The binary form.
    pub fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// Reads the binary form and checks that it is a usable key.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PeerKeyError> {
        let raw: [u8; Self::LEN] = bytes.try_into().map_err(|_| PeerKeyError::Length(bytes.len()))?;
        let (alg, point) = raw.split_at(1);
        if alg != [ALG_P256] {
            return Err(PeerKeyError::Algorithm(raw[0]));
        }
        p256::PublicKey::from_sec1_bytes(point).map_err(|_| PeerKeyError::Point)?;
        Ok(Self(raw))
    }

    /// The short id, for edges and digests.
    pub fn short_id(&self) -> ShortId {
        let mut out = [0; 8];
        out.copy_from_slice(&blake3::derive_key("esync peer short id v1", &self.0)[..8]);
        out
    }

    /// Whether `signature` (r and s, 32 bytes each) is this key's ECDSA-SHA256 signature of `message`.
    pub fn verify(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.verifying().verify(message, signature)
    }

    /// The form that signatures are verified with, for whoever verifies many: to get there costs half as much as to verify.
    pub(crate) fn verifying(&self) -> VerifyingKey {
        let mut point = [0; 65];
        // A value always holds a point of the curve. Zeros are none and verify nothing.
        if let Ok(key) = p256::PublicKey::from_sec1_bytes(&self.0[1..]) {
            point.copy_from_slice(key.to_encoded_point(false).as_bytes());
        }
        VerifyingKey(point)
    }

    pub(crate) fn from_public_key(key: &p256::PublicKey) -> Self {
        let point = key.to_encoded_point(true);
        let mut raw = [0; Self::LEN];
        raw[0] = ALG_P256;
        raw[1..].copy_from_slice(point.as_bytes());
        Self(raw)
    }

    /// The key in a SubjectPublicKeyInfo, as raw-public-key TLS presents it.
    pub(crate) fn from_spki(der: &[u8]) -> Result<Self, PeerKeyError> {
        let point = der.strip_prefix(&SPKI_HEAD).filter(|p| p.len() == 65).ok_or(PeerKeyError::Spki)?;
        let key = p256::PublicKey::from_sec1_bytes(point).map_err(|_| PeerKeyError::Point)?;
        Ok(Self::from_public_key(&key))
    }
}

impl fmt::Display for PeerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pk{}", URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for PeerKey {
    /// The first characters, enough to tell peers apart in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pk{}", URL_SAFE_NO_PAD.encode(&self.0[..9]))
    }
}

impl FromStr for PeerKey {
    type Err = PeerKeyError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let body = s.strip_prefix("pk").filter(|b| b.len() <= 64).ok_or(PeerKeyError::Text)?;
        Self::from_bytes(&URL_SAFE_NO_PAD.decode(body).map_err(|_| PeerKeyError::Text)?)
    }
}

impl serde::Serialize for PeerKey {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identity;

    fn key(seed: u8) -> Identity {
        Identity::generate(&mut |out| out.fill(seed))
    }

    #[test]
    fn text_and_bytes_round_trip() {
        let k = key(3).peer_key();
        let text = k.to_string();
        assert!(text.starts_with("pkAQ") && text.len() == 48, "{text}");
        assert_eq!(text.parse::<PeerKey>().unwrap(), k);
        assert_eq!(PeerKey::from_bytes(k.as_bytes()).unwrap(), k);
    }

    #[test]
    fn faults_are_typed() {
        let k = key(3).peer_key();
        assert_eq!("qk".parse::<PeerKey>(), Err(PeerKeyError::Text));
        assert_eq!("pk!".parse::<PeerKey>(), Err(PeerKeyError::Text));
        assert_eq!(PeerKey::from_bytes(&[1; 3]), Err(PeerKeyError::Length(3)));
        let mut raw = *k.as_bytes();
        raw[0] = 9;
        assert_eq!(PeerKey::from_bytes(&raw), Err(PeerKeyError::Algorithm(9)));
        // An x coordinate above the field's prime is no point.
        let mut raw = [0xff; 34];
        raw[0] = 1;
        raw[1] = 2;
        assert_eq!(PeerKey::from_bytes(&raw), Err(PeerKeyError::Point));
        assert_eq!(PeerKey::from_spki(&[0x30; 91]), Err(PeerKeyError::Spki));
    }

    #[test]
    fn signatures_bind_key_and_message() {
        let (a, b) = (key(3), key(4));
        let sig = a.sign(b"edges");
        assert!(a.peer_key().verify(b"edges", &sig));
        assert!(!b.peer_key().verify(b"edges", &sig));
        assert!(!a.peer_key().verify(b"edgez", &sig));
        assert!(!a.peer_key().verify(b"edges", &[0; 64]));
    }
}
