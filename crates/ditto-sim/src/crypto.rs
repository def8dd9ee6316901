//! Cryptography whose every byte follows from the seed, so that messages have the same sizes and contents in every run.
//!
//! Signatures are real and are verified by the code under test, only with the nonces of RFC 6979. The key agreement is none:
//! whoever sees the two public halves knows the secret. That is of no interest here and saves most of a handshake's cost.

use std::cell::RefCell;
use std::sync::Arc;

use ditto_testkit::Rng;
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{DerSignature, SigningKey as P256Key};
use p256::pkcs8::{DecodePrivateKey as _, EncodePublicKey as _};
use rustls::crypto::{
    ActiveKeyExchange, CryptoProvider, GetRandomFailed, KeyProvider, SecureRandom, SharedSecret,
    SupportedKxGroup, ring,
};
use rustls::pki_types::{PrivateKeyDer, SubjectPublicKeyInfoDer};
use rustls::sign::{Signer, SigningKey};
use rustls::{Error, NamedGroup, SignatureAlgorithm, SignatureScheme};

thread_local! {
    // TLS asks for randomness through statics, so that it cannot come from a world. A world stays on one thread.
    static RANDOM: RefCell<Rng> = RefCell::new(Rng::new(0));
}

/// Begins the randomness of TLS anew on this thread.
pub(crate) fn reseed(seed: u64) {
    RANDOM.with_borrow_mut(|r| *r = Rng::new(seed));
}

fn fill(out: &mut [u8]) {
    RANDOM.with_borrow_mut(|r| r.fill(out));
}

/// What [`ditto_mesh::MeshConfig::crypto`] takes.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        kx_groups: vec![&Agreement],
        secure_random: &Random,
        key_provider: &Keys,
        ..ring::default_provider()
    })
}

#[derive(Debug)]
struct Random;

impl SecureRandom for Random {
    fn fill(&self, buf: &mut [u8]) -> Result<(), GetRandomFailed> {
        fill(buf);
        Ok(())
    }
}

/// Under the name of X25519 and with its sizes.
#[derive(Debug)]
struct Agreement;

struct Half([u8; 32]);

impl SupportedKxGroup for Agreement {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let mut half = [0; 32];
        fill(&mut half);
        Ok(Box::new(Half(half)))
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

impl ActiveKeyExchange for Half {
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        let (low, high) = if self.0.as_slice() < peer { (&self.0[..], peer) } else { (peer, &self.0[..]) };
        let secret = blake3::hash(&[low, high].concat());
        Ok(SharedSecret::from(secret.as_bytes().as_slice()))
    }

    fn pub_key(&self) -> &[u8] {
        &self.0
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

#[derive(Debug)]
struct Keys;

impl KeyProvider for Keys {
    fn load_private_key(&self, key: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, Error> {
        let bad = |e: &dyn std::fmt::Display| Error::General(e.to_string());
        let signing = P256Key::from_pkcs8_der(key.secret_der()).map_err(|e| bad(&e))?;
        let public = signing.verifying_key().to_public_key_der().map_err(|e| bad(&e))?;
        Ok(Arc::new(Key { signing, public: public.into_vec() }))
    }
}

#[derive(Clone, Debug)]
struct Key {
    signing: P256Key,
    public: Vec<u8>,
}

impl SigningKey for Key {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let ours = offered.contains(&SignatureScheme::ECDSA_NISTP256_SHA256);
        ours.then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(SubjectPublicKeyInfoDer::from(self.public.as_slice()))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let signature: DerSignature = self.signing.sign(message);
        Ok(signature.as_bytes().to_vec())
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ECDSA_NISTP256_SHA256
    }
}
