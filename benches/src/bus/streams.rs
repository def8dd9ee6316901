//! What others do: TCP, TLS over TCP, QUIC streams and datagrams.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig, version::TLS13};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::frames::Frames;
use super::peer::{Peer, ready};
use crate::Outcome;
use crate::measure::Taken;
use crate::rivals::Messages;

const NAME: &str = "localhost";

/// As on an Ethernet; TCP has loopback's 64 KiB, which flatters it.
const MTU: u16 = 1_452;

/// A connection to a second process.
pub(super) struct Rival {
    pub(super) name: &'static str,
    channel: Channel,
    _peer: Option<Peer>,
}

enum Channel {
    Stream(Frames),
    Datagrams(quinn::Connection),
    Elsewhere(Messages),
}

impl Rival {
    pub(super) async fn tcp() -> Outcome<Self> {
        let peer = Peer::start("tcp", &[])?;
        let tcp = TcpStream::connect(peer.word(0)?).await?;
        tcp.set_nodelay(true)?;
        let (r, w) = tcp.into_split();
        Ok(Self { name: "TCP", channel: Channel::Stream(Frames::new(r, w)), _peer: Some(peer) })
    }

    pub(super) async fn tls() -> Outcome<Self> {
        let peer = Peer::start("tls", &[])?;
        let tcp = TcpStream::connect(peer.word(0)?).await?;
        tcp.set_nodelay(true)?;
        let connector = TlsConnector::from(Arc::new(client(peer.word(1)?)?));
        let (r, w) = tokio::io::split(connector.connect(ServerName::try_from(NAME)?, tcp).await?);
        Ok(Self {
            name: "TLS (tokio-rustls)",
            channel: Channel::Stream(Frames::new(r, w)),
            _peer: Some(peer),
        })
    }

    pub(super) async fn quic() -> Outcome<Self> {
        let (connection, peer) = quic_connection().await?;
        let (send, receive) = connection.open_bi().await?;
        Ok(Self {
            name: "quinn stream",
            channel: Channel::Stream(Frames::new(receive, send)),
            _peer: Some(peer),
        })
    }

    pub(super) async fn quic_datagrams() -> Outcome<Self> {
        let (connection, peer) = quic_connection().await?;
        Ok(Self { name: "quinn datagram", channel: Channel::Datagrams(connection), _peer: Some(peer) })
    }

    /// One of `benches/rivals`; `None` if it was not built.
    pub(super) fn elsewhere(name: &'static str, kind: &str) -> Outcome<Option<Self>> {
        let messages = Messages::start(kind)?;
        Ok(messages.map(|m| Self { name, channel: Channel::Elsewhere(m), _peer: None }))
    }

    /// Half of each round trip, in microseconds.
    pub(super) async fn ping(&mut self, size: usize, n: usize) -> Outcome<Vec<f64>> {
        match &mut self.channel {
            Channel::Stream(frames) => frames.ping(size, n).await,
            Channel::Elsewhere(messages) => messages.ping(size, n),
            Channel::Datagrams(connection) => {
                let mut taken = Vec::with_capacity(n);
                for _ in 0..n {
                    let start = Instant::now();
                    connection.send_datagram(vec![7; size].into())?;
                    // One that is lost is no sample.
                    let answer = tokio::time::timeout(Duration::from_secs(1), connection.read_datagram());
                    if answer.await.is_ok() {
                        taken.push(start.elapsed().as_secs_f64() * 1e6 / 2.0);
                    }
                }
                Ok(taken)
            }
        }
    }

    pub(super) async fn flood(&mut self, size: usize, n: u64) -> Outcome<Taken> {
        match &mut self.channel {
            Channel::Stream(frames) => frames.flood(size, n).await,
            Channel::Elsewhere(messages) => messages.flood(size, n),
            Channel::Datagrams(_) => Err("datagrams have no flood".into()),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(text: &str) -> Outcome<Vec<u8>> {
    (0..text.len() / 2).map(|i| Ok(u8::from_str_radix(&text[2 * i..2 * i + 2], 16)?)).collect()
}

/// A client that trusts the certificate, given as hex.
fn client(certificate: &str) -> Outcome<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(unhex(certificate)?))?;
    Ok(ClientConfig::builder_with_protocol_versions(&[&TLS13])
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// A server with a fresh key, and its certificate as hex.
fn server() -> Outcome<(ServerConfig, String)> {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(vec![NAME.to_owned()])?;
    let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
    let config = ServerConfig::builder_with_protocol_versions(&[&TLS13])
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key.into())?;
    Ok((config, hex(cert.der())))
}

pub(super) async fn serve_tcp() -> Outcome<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    ready(&[&listener.local_addr()?.to_string()])?;
    let (tcp, _) = listener.accept().await?;
    tcp.set_nodelay(true)?;
    let (r, w) = tcp.into_split();
    Frames::new(r, w).serve().await
}

pub(super) async fn serve_tls() -> Outcome<()> {
    let (config, certificate) = server()?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    ready(&[&listener.local_addr()?.to_string(), &certificate])?;
    let (tcp, _) = listener.accept().await?;
    tcp.set_nodelay(true)?;
    let (r, w) = tokio::io::split(TlsAcceptor::from(Arc::new(config)).accept(tcp).await?);
    Frames::new(r, w).serve().await
}

fn transport() -> Arc<quinn::TransportConfig> {
    let mut transport = quinn::TransportConfig::default();
    transport.initial_mtu(MTU).mtu_discovery_config(None).datagram_receive_buffer_size(Some(1 << 20));
    Arc::new(transport)
}

async fn quic_connection() -> Outcome<(quinn::Connection, Peer)> {
    let peer = Peer::start("quic", &[])?;
    let mut endpoint = quinn::Endpoint::client("127.0.0.1:0".parse()?)?;
    let crypto = QuicClientConfig::try_from(client(peer.word(1)?)?)?;
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config.transport_config(transport());
    endpoint.set_default_client_config(config);
    let address: SocketAddr = peer.word(0)?.parse()?;
    Ok((endpoint.connect(address, NAME)?.await?, peer))
}

pub(super) async fn serve_quic() -> Outcome<()> {
    let (config, certificate) = server()?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(config)?));
    config.transport_config(transport());
    let endpoint = quinn::Endpoint::server(config, "127.0.0.1:0".parse()?)?;
    ready(&[&endpoint.local_addr()?.to_string(), &certificate])?;
    let connection = endpoint.accept().await.ok_or("no connection")?.await?;
    loop {
        tokio::select! {
            stream = connection.accept_bi() => {
                let Ok((send, receive)) = stream else { return Ok(()) };
                tokio::spawn(async move { Frames::new(receive, send).serve().await });
            }
            datagram = connection.read_datagram() => {
                let Ok(datagram) = datagram else { return Ok(()) };
                connection.send_datagram(datagram)?;
            }
        }
    }
}
