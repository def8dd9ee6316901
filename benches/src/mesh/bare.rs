//! The peers: TLS 1.3 of the same library with keys of the same kind on both sides, and plain TCP.

use std::io;
use std::sync::Arc;

use ditto_mesh::Identity;
use rustls::client::AlwaysResolvesClientRawPublicKeys;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::AlwaysResolvesServerRawPublicKeys;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme, version,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::Outcome;

/// A byte stream of either kind.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}
pub(crate) type BoxStream = Box<dyn Stream>;

/// Takes every key, proven by its signature, as the mesh does before HELLO.
#[derive(Debug)]
struct AnyKey(Arc<CryptoProvider>);

impl AnyKey {
    fn verify(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = SubjectPublicKeyInfoDer::from(key.as_ref());
        verify_tls13_signature_with_raw_key(
            message,
            &key,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }
}

impl ServerCertVerifier for AnyKey {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.3 only".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify(message, key, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for AnyKey {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.3 only".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify(message, key, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// A listener, and how both sides speak.
pub(crate) struct Bare {
    listener: TcpListener,
    tls: Option<(TlsConnector, TlsAcceptor)>,
}

impl Bare {
    pub(crate) async fn tcp() -> Outcome<Self> {
        Ok(Self { listener: TcpListener::bind("127.0.0.1:0").await?, tls: None })
    }

    pub(crate) async fn tls() -> Outcome<Self> {
        let crypto = Arc::new(CryptoProvider {
            kx_groups: vec![ring::kx_group::X25519],
            cipher_suites: vec![ring::cipher_suite::TLS13_AES_128_GCM_SHA256],
            ..ring::default_provider()
        });
        let key = |seed: u64| -> Outcome<Arc<CertifiedKey>> {
            let mut chance = ditto_testkit::Rng::new(seed);
            let der = Identity::generate(&mut |out| chance.fill(out)).to_pkcs8_der();
            let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(der.as_slice()));
            let key = ring::sign::any_ecdsa_type(&key)?;
            let public = key.public_key().ok_or("no public key")?.to_vec();
            Ok(Arc::new(CertifiedKey::new(vec![CertificateDer::from(public)], key)))
        };
        let verifier = Arc::new(AnyKey(crypto.clone()));
        let mut client = ClientConfig::builder_with_provider(crypto.clone())
            .with_protocol_versions(&[&version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(verifier.clone())
            .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(key(1)?)));
        client.resumption = rustls::client::Resumption::disabled();
        client.enable_sni = false;
        let mut server = ServerConfig::builder_with_provider(crypto)
            .with_protocol_versions(&[&version::TLS13])?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(key(2)?)));
        server.send_tls13_tickets = 0;
        let tls = (TlsConnector::from(Arc::new(client)), TlsAcceptor::from(Arc::new(server)));
        Ok(Self { listener: TcpListener::bind("127.0.0.1:0").await?, tls: Some(tls) })
    }

    /// A connection, ready at both ends, the dialler's end first.
    pub(crate) async fn connect(&self) -> Outcome<(BoxStream, BoxStream)> {
        let address = self.listener.local_addr()?;
        let dial = async {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let stream: BoxStream = match &self.tls {
                Some((connector, _)) => {
                    let name = ServerName::try_from("peer.invalid").map_err(io::Error::other)?;
                    Box::new(connector.connect(name, stream).await?)
                }
                None => Box::new(stream),
            };
            Ok::<_, io::Error>(stream)
        };
        let accept = async {
            let (stream, _) = self.listener.accept().await?;
            stream.set_nodelay(true)?;
            let stream: BoxStream = match &self.tls {
                Some((_, acceptor)) => Box::new(acceptor.accept(stream).await?),
                None => Box::new(stream),
            };
            Ok::<_, io::Error>(stream)
        };
        let (a, b) = tokio::try_join!(dial, accept)?;
        Ok((a, b))
    }
}
