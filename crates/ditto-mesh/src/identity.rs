//! The identity key of this installation. It proves who we are on every link and signs our presence records.

use std::fmt;

use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use p256::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _};
use zeroize::{Zeroize as _, Zeroizing};

use crate::peer_key::PeerKey;

/// A P-256 key pair. The private half is wiped from memory on drop.
pub struct Identity {
    secret: p256::SecretKey,
    signing: SigningKey,
    peer_key: PeerKey,
}

/// The bytes are not a P-256 private key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a PKCS#8 DER document with a P-256 private key")]
pub struct IdentityError;

impl Identity {
    /// Makes a new key from random bytes. `random` must fill its argument with cryptographic randomness.
    pub fn generate(random: &mut dyn FnMut(&mut [u8])) -> Self {
        let mut raw = Zeroizing::new([0; 32]);
        loop {
            random(raw.as_mut());
            // All but a 2^-32 part of the strings are keys. A counter keeps a stuck source from looping for ever.
            for tweak in 0..=u8::MAX {
                raw[31] = raw[31].wrapping_add(tweak);
                if let Ok(secret) = p256::SecretKey::from_slice(raw.as_ref()) {
                    raw.zeroize();
                    return Self::from_secret(secret);
                }
                raw[0] &= 0x7f;
            }
        }
    }

    /// Reads the form that [`Identity::to_pkcs8_der`] writes.
    pub fn from_pkcs8_der(der: &[u8]) -> Result<Self, IdentityError> {
        p256::SecretKey::from_pkcs8_der(der).map(Self::from_secret).map_err(|_| IdentityError)
    }

    /// The private key as PKCS#8 DER, for the key file.
    pub fn to_pkcs8_der(&self) -> Zeroizing<Vec<u8>> {
        // Encoding a valid key into memory cannot fail; an empty document is refused by every reader.
        self.secret.to_pkcs8_der().map(|d| d.to_bytes()).unwrap_or_default()
    }

    /// The public name that goes with the key.
    pub fn peer_key(&self) -> PeerKey {
        self.peer_key
    }

    /// ECDSA-SHA256 signature of `message`: r and s, 32 bytes each, deterministic (RFC 6979).
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        let signature: Signature = self.signing.sign(message);
        signature.to_bytes().into()
    }

    fn from_secret(secret: p256::SecretKey) -> Self {
        let peer_key = PeerKey::from_public_key(&secret.public_key());
        Self { signing: SigningKey::from(&secret), secret, peer_key }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({:?})", self.peer_key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pkcs8_round_trip() {
        let a = Identity::generate(&mut |out| out.fill(7));
        let der = a.to_pkcs8_der();
        assert!(der.len() > 100);
        let b = Identity::from_pkcs8_der(&der).unwrap();
        assert_eq!(a.peer_key(), b.peer_key());
        assert_eq!(a.sign(b"x"), b.sign(b"x"));
        assert_eq!(Identity::from_pkcs8_der(&der[..80]).unwrap_err(), IdentityError);
    }

    #[test]
    fn a_stuck_random_source_still_ends() {
        Identity::generate(&mut |out| out.fill(0));
        Identity::generate(&mut |out| out.fill(0xff));
    }
}
