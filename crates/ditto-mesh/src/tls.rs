//! TLS 1.3 with raw public keys on both sides (RFC 7250), over byte buffers instead of sockets.
//!
//! There are no certificates, names, tickets or early data: the key *is* the identity, and HELLO decides on admission.

use std::io::{BufRead as _, Write as _};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::{CryptoProvider, ring as provider, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::AlwaysResolvesServerRawPublicKeys;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, Connection, DigitallySignedStruct, DistinguishedName,
    ServerConfig, ServerConnection, SignatureScheme, version,
};

use crate::identity::Identity;
use crate::peer_key::PeerKey;
use crate::rope::Rope;
use crate::transport::Role;

/// The protocol name that both sides must offer.
const ALPN: &[u8] = b"esync/1";

/// Plaintext that goes into one TLS record.
pub(crate) const RECORD: usize = 16 << 10;

/// What a record adds: its head, its type and the tag of the cipher.
pub(crate) const RECORD_OVERHEAD: usize = 5 + 1 + 16;

/// Why a channel failed. Always fatal for the link.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct TlsError(String);

impl From<rustls::Error> for TlsError {
    fn from(e: rustls::Error) -> Self {
        Self(e.to_string())
    }
}

impl From<std::io::Error> for TlsError {
    fn from(e: std::io::Error) -> Self {
        Self(e.to_string())
    }
}

/// Accepts every well-formed P-256 key, proven by a signature over the handshake.
#[derive(Debug)]
struct RawKeyVerifier(Arc<CryptoProvider>);

impl RawKeyVerifier {
    fn check(key: &CertificateDer<'_>) -> Result<(), rustls::Error> {
        PeerKey::from_spki(key).map(drop).map_err(|_| CertificateError::BadEncoding.into())
    }

    fn signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let spki = SubjectPublicKeyInfoDer::from(key.as_ref());
        verify_tls13_signature_with_raw_key(
            message,
            &spki,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }
}

/// TLS 1.2 is not compiled in; the traits still ask.
fn no_tls12() -> rustls::Error {
    rustls::Error::General("TLS 1.2 is not supported".into())
}

const SCHEMES: [SignatureScheme; 1] = [SignatureScheme::ECDSA_NISTP256_SHA256];

impl ServerCertVerifier for RawKeyVerifier {
    fn verify_server_cert(
        &self,
        key: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Self::check(key).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _key: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signature(message, key, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        SCHEMES.to_vec()
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for RawKeyVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        key: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Self::check(key).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _key: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signature(message, key, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        SCHEMES.to_vec()
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// Raw keys have no validity period, so that TLS needs no clock.
#[derive(Debug)]
struct NoClock;

impl TimeProvider for NoClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(std::time::Duration::ZERO))
    }
}

/// Whether AES runs in hardware here, so that AES-GCM is the fast suite.
fn has_aes() -> bool {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    return std::arch::is_x86_feature_detected!("aes");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}

/// The TLS settings of one instance, made once and shared by its links.
pub(crate) struct TlsFactory {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    name: ServerName<'static>,
}

impl TlsFactory {
    #[cfg(test)]
    pub(crate) fn new(identity: &Identity) -> Result<Self, TlsError> {
        Self::with_crypto(identity, None)
    }

    /// `custom` says how to sign, agree on keys and make random numbers; the cipher suites are ours.
    pub(crate) fn with_crypto(
        identity: &Identity,
        custom: Option<&CryptoProvider>,
    ) -> Result<Self, TlsError> {
        let mut crypto = custom.cloned().unwrap_or_else(|| CryptoProvider {
            kx_groups: vec![provider::kx_group::X25519],
            ..provider::default_provider()
        });
        let (aes, chacha) = (
            provider::cipher_suite::TLS13_AES_128_GCM_SHA256,
            provider::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        );
        crypto.cipher_suites = if has_aes() { vec![aes, chacha] } else { vec![chacha, aes] };
        let crypto = Arc::new(crypto);

        let der = identity.to_pkcs8_der();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(der.as_slice()));
        let key = match custom {
            None => provider::sign::any_ecdsa_type(&key)?,
            Some(custom) => custom.key_provider.load_private_key(key.clone_key())?,
        };
        let spki = key.public_key().ok_or_else(|| TlsError("the key has no public half".into()))?;
        let own = Arc::new(CertifiedKey::new(vec![CertificateDer::from(spki.as_ref().to_vec())], key));

        let verifier = Arc::new(RawKeyVerifier(crypto.clone()));
        let clock = Arc::new(NoClock);
        let mut client = ClientConfig::builder_with_details(crypto.clone(), clock.clone())
            .with_protocol_versions(&[&version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(verifier.clone())
            .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(own.clone())));
        client.alpn_protocols = vec![ALPN.to_vec()];
        client.enable_sni = false;
        client.resumption = Resumption::disabled();
        client.enable_early_data = false;

        let mut server = ServerConfig::builder_with_details(crypto, clock)
            .with_protocol_versions(&[&version::TLS13])?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(own)));
        server.alpn_protocols = vec![ALPN.to_vec()];
        server.send_tls13_tickets = 0;
        server.max_early_data_size = 0;

        // Never sent, because SNI is off; the API wants some name.
        let name = ServerName::try_from("peer.invalid").map_err(|e| TlsError(e.to_string()))?;
        Ok(Self { client: Arc::new(client), server: Arc::new(server), name })
    }

    /// Begins a handshake. The dialer is the client.
    pub(crate) fn channel(&self, role: Role) -> Result<SecureChannel, TlsError> {
        let mut conn: Connection = match role {
            Role::Dialer => ClientConnection::new(self.client.clone(), self.name.clone())?.into(),
            Role::Acceptor => ServerConnection::new(self.server.clone())?.into(),
        };
        // What is sent is bounded by the frame layer, so a buffer limit could only cut a record in two.
        conn.set_buffer_limit(None);
        Ok(SecureChannel { conn, closed: false, records: Records::default() })
    }
}

/// One TLS connection: ciphertext in, plaintext out, and back.
pub(crate) struct SecureChannel {
    conn: Connection,
    /// The other side has said that nothing more comes.
    closed: bool,
    records: Records,
}

/// Follows the records in the ciphertext that comes.
#[derive(Debug, Default)]
struct Records {
    /// What has come of the head of a record: kind, version, length.
    head: [u8; 5],
    have: usize,
    /// What is still to come of its body.
    left: usize,
}

impl Records {
    fn pass(&mut self, mut bytes: &[u8]) {
        while let Some((first, rest)) = bytes.split_first() {
            if self.left > 0 {
                let n = self.left.min(bytes.len());
                self.left -= n;
                bytes = &bytes[n..];
                continue;
            }
            self.head[self.have] = *first;
            bytes = rest;
            self.have += 1;
            if self.have == self.head.len() {
                self.have = 0;
                self.left = usize::from(u16::from_be_bytes([self.head[3], self.head[4]]));
            }
        }
    }
}

impl SecureChannel {
    /// Takes ciphertext and appends the plaintext that it completes to `out`.
    pub(crate) fn receive(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Result<(), TlsError> {
        loop {
            let outcome = self.take(&mut bytes);
            while let Some(piece) = self.plaintext() {
                out.extend_from_slice(piece);
                let n = piece.len();
                self.consume(n);
            }
            if !outcome? {
                return Ok(());
            }
        }
    }

    /// Takes ciphertext until it has completed plaintext, which has to be consumed next, also after an error. Says whether
    /// it has to be called again after that.
    pub(crate) fn take(&mut self, bytes: &mut &[u8]) -> Result<bool, TlsError> {
        while !bytes.is_empty() && !self.closed {
            let all = *bytes;
            let taken = self.conn.read_tls(bytes)?;
            if taken == 0 {
                self.closed = true;
                break;
            }
            self.records.pass(&all[..taken.min(all.len())]);
            let state = self.conn.process_new_packets()?;
            self.closed = state.peer_has_closed();
            if state.plaintext_bytes_to_read() > 0 {
                return Ok(self.closed || !bytes.is_empty());
            }
        }
        if self.closed { Err(TlsError("the peer closed the channel".into())) } else { Ok(false) }
    }

    /// Whether a record has come in part: the other side has sent more, which will be here soon.
    pub(crate) fn is_mid_record(&self) -> bool {
        self.records.have > 0 || self.records.left > 0
    }

    /// The next plaintext: the rest of one record.
    pub(crate) fn plaintext(&mut self) -> Option<&[u8]> {
        self.conn.reader().into_first_chunk().ok().filter(|chunk| !chunk.is_empty())
    }

    /// Forgets the first bytes of [`SecureChannel::plaintext`].
    pub(crate) fn consume(&mut self, n: usize) {
        self.conn.reader().consume(n);
    }

    /// Encrypts plaintext; the result waits for [`SecureChannel::take_output`].
    pub(crate) fn send(&mut self, plain: &[u8]) -> Result<(), TlsError> {
        Ok(self.conn.writer().write_all(plain)?)
    }

    /// The same for plaintext in pieces, which are not put together before.
    pub(crate) fn send_rope(&mut self, plain: &Rope) -> Result<(), TlsError> {
        if !plain.is_empty() && self.conn.writer().write_vectored(&plain.io_slices())? != plain.len() {
            return Err(TlsError("the channel takes no more".into()));
        }
        Ok(())
    }

    /// The ciphertext to write, possibly none.
    pub(crate) fn take_output(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        while self.conn.wants_write() {
            // Writing into memory cannot fail.
            if !matches!(self.conn.write_tls(&mut out), Ok(n) if n > 0) {
                break;
            }
        }
        out
    }

    /// Says that nothing more will be sent.
    pub(crate) fn close(&mut self) {
        self.conn.send_close_notify();
    }

    /// The proven key of the other side, once the handshake is complete.
    pub(crate) fn peer(&self) -> Result<Option<PeerKey>, TlsError> {
        if self.conn.is_handshaking() {
            return Ok(None);
        }
        if self.conn.alpn_protocol() != Some(ALPN) {
            return Err(TlsError("the peer does not speak esync/1".into()));
        }
        match self.conn.peer_certificates() {
            Some([key]) => PeerKey::from_spki(key).map(Some).map_err(|e| TlsError(e.to_string())),
            _ => Err(TlsError("the peer presented no key".into())),
        }
    }

    /// Secret bytes that only the two ends of this very channel know.
    pub(crate) fn export(&self, label: &[u8], context: &[u8]) -> Result<[u8; 32], TlsError> {
        Ok(self.conn.export_keying_material([0; 32], label, Some(context))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(seed: u8) -> Identity {
        Identity::generate(&mut |out| out.fill(seed))
    }

    fn shake(c: &mut SecureChannel, s: &mut SecureChannel) -> Result<(Vec<u8>, Vec<u8>), TlsError> {
        let (mut at_c, mut at_s) = (Vec::new(), Vec::new());
        for _ in 0..4 {
            s.receive(&c.take_output(), &mut at_s)?;
            c.receive(&s.take_output(), &mut at_c)?;
        }
        Ok((at_c, at_s))
    }

    /// Where the records in `bytes` end.
    fn ends(bytes: &[u8]) -> Vec<usize> {
        let (mut at, mut out) = (0, Vec::new());
        while at < bytes.len() {
            at += 5 + usize::from(u16::from_be_bytes([bytes[at + 3], bytes[at + 4]]));
            out.push(at);
        }
        out
    }

    #[test]
    fn both_sides_prove_their_keys_and_share_an_exporter() {
        let (a, b) = (identity(1), identity(2));
        let mut c = TlsFactory::new(&a).unwrap().channel(Role::Dialer).unwrap();
        let mut s = TlsFactory::new(&b).unwrap().channel(Role::Acceptor).unwrap();
        assert_eq!(c.peer(), Ok(None));
        shake(&mut c, &mut s).unwrap();
        assert_eq!(c.peer(), Ok(Some(b.peer_key())));
        assert_eq!(s.peer(), Ok(Some(a.peer_key())));
        assert_eq!(c.export(b"x", b"y"), s.export(b"x", b"y"));
        assert_ne!(c.export(b"x", b"y"), s.export(b"x", b"z"));

        let big: Vec<u8> = (0..100_000u32).map(|i| i as u8).collect();
        c.send(&big).unwrap();
        let mut got = Vec::new();
        assert!(!s.is_mid_record());
        let bytes = c.take_output();
        let (mut partial, mut at) = (0, 0);
        for part in bytes.chunks(777) {
            s.receive(part, &mut got).unwrap();
            at += part.len();
            partial += usize::from(s.is_mid_record());
            assert_eq!(s.is_mid_record(), !ends(&bytes).contains(&at), "{at}");
        }
        assert!(partial > 100 && !s.is_mid_record());
        assert_eq!(got, big);
    }

    #[test]
    fn garbage_and_changed_bytes_fail() {
        let mut s = TlsFactory::new(&identity(2)).unwrap().channel(Role::Acceptor).unwrap();
        assert!(s.receive(b"GET / HTTP/1.1\r\n\r\n", &mut Vec::new()).is_err());

        let mut c = TlsFactory::new(&identity(1)).unwrap().channel(Role::Dialer).unwrap();
        let mut s = TlsFactory::new(&identity(2)).unwrap().channel(Role::Acceptor).unwrap();
        shake(&mut c, &mut s).unwrap();
        c.send(b"hello").unwrap();
        let mut bytes = c.take_output();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        let mut out = Vec::new();
        assert!(s.receive(&bytes, &mut out).is_err());
        assert!(out.is_empty());
    }

    #[test]
    fn close_is_noticed() {
        let mut c = TlsFactory::new(&identity(1)).unwrap().channel(Role::Dialer).unwrap();
        let mut s = TlsFactory::new(&identity(2)).unwrap().channel(Role::Acceptor).unwrap();
        shake(&mut c, &mut s).unwrap();
        c.send(b"bye").unwrap();
        c.close();
        let mut out = Vec::new();
        let end = s.receive(&c.take_output(), &mut out);
        assert_eq!(out, b"bye");
        assert!(end.is_err());
    }
}
