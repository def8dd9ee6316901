//! Proof that a peer holds the shared secret, valid on one TLS channel and in one direction only.

use ditto_types::DatabaseId;
use ring::{hkdf, hmac};

use crate::tls::{SecureChannel, TlsError};
use crate::transport::Role;

const EXPORTER_LABEL: &[u8] = b"EXPORTER-esync-psk";
const KEY_INFO: &[u8] = b"esync shared-key v1";

/// The key that proves admission, derived from the shared secret and the database.
pub(crate) struct ProofKey(hmac::Key);

impl ProofKey {
    pub(crate) fn derive(secret: &[u8], database: &DatabaseId) -> Self {
        let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, database.as_bytes()).extract(secret);
        let mut key = [0; 32];
        // 32 bytes are one block of HKDF-SHA256, which is always within its limit.
        if prk.expand(&[KEY_INFO], hmac::HMAC_SHA256).and_then(|okm| okm.fill(&mut key)).is_err() {
            unreachable!("one block of key material is within the limit of HKDF");
        }
        let out = Self(hmac::Key::new(hmac::HMAC_SHA256, &key));
        zeroize::Zeroize::zeroize(&mut key);
        out
    }

    /// What the side with `role` must send on `channel`.
    pub(crate) fn mac(&self, channel: &SecureChannel, role: Role) -> Result<[u8; 32], TlsError> {
        let exporter = channel.export(EXPORTER_LABEL, context(role))?;
        let mut out = [0; 32];
        out.copy_from_slice(hmac::sign(&self.0, &exporter).as_ref());
        Ok(out)
    }

    /// Whether `mac` came from the side with `role` of `channel`. Takes the same time for every wrong value.
    pub(crate) fn verify(
        &self,
        channel: &SecureChannel,
        role: Role,
        mac: &[u8; 32],
    ) -> Result<bool, TlsError> {
        let exporter = channel.export(EXPORTER_LABEL, context(role))?;
        Ok(hmac::verify(&self.0, &exporter, mac).is_ok())
    }
}

/// The role in the exporter's context keeps a reflected proof from being valid.
fn context(role: Role) -> &'static [u8] {
    match role {
        Role::Dialer => b"dialer",
        Role::Acceptor => b"acceptor",
    }
}

/// What HELLO says instead of the database id.
pub(crate) fn database_hash(db: &DatabaseId) -> [u8; 16] {
    let mut out = [0; 16];
    out.copy_from_slice(&blake3::derive_key("esync database id hash v1", db.as_bytes())[..16]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identity;
    use crate::tls::TlsFactory;

    fn pair() -> (SecureChannel, SecureChannel) {
        let make = |seed: u8| TlsFactory::new(&Identity::generate(&mut |out| out.fill(seed))).unwrap();
        let mut c = make(1).channel(Role::Dialer).unwrap();
        let mut s = make(2).channel(Role::Acceptor).unwrap();
        for _ in 0..4 {
            s.receive(&c.take_output(), &mut Vec::new()).unwrap();
            c.receive(&s.take_output(), &mut Vec::new()).unwrap();
        }
        (c, s)
    }

    #[test]
    fn valid_only_for_secret_database_role_and_channel() {
        let (c, s) = pair();
        let key = ProofKey::derive(&[1; 32], &DatabaseId::DEFAULT);
        let mac = key.mac(&c, Role::Dialer).unwrap();
        assert!(key.verify(&s, Role::Dialer, &mac).unwrap());
        assert!(!key.verify(&s, Role::Acceptor, &mac).unwrap());
        let (_, other) = pair();
        assert!(!key.verify(&other, Role::Dialer, &mac).unwrap());
        assert!(!ProofKey::derive(&[2; 32], &DatabaseId::DEFAULT).verify(&s, Role::Dialer, &mac).unwrap());
        let db = "11111111-2222-3333-4444-555555555555".parse().unwrap();
        assert!(!ProofKey::derive(&[1; 32], &db).verify(&s, Role::Dialer, &mac).unwrap());
    }
}
