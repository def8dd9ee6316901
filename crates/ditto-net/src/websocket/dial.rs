//! Dialling a WebSocket URL.

use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadHalf, WriteHalf, split};
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::client_async_with_config;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;

use super::stream::{ByteStream, limits};
use super::url::Target;
use crate::tcp;
use crate::tls::client_config;

/// Tells load balancers which devices belong together.
const ROUTING_HINT: &str = "x-ditto-routing-hint";

/// What the dials of one transport have in common.
#[derive(Default)]
pub(crate) struct Client {
    routing_hint: u32,
    /// Trusted beside the system's, DER.
    extra_roots: Vec<Vec<u8>>,
    /// Made for the first `wss://` dial: it reads the certificates of the system.
    tls: OnceCell<Arc<ClientConfig>>,
}

impl Client {
    pub(crate) fn new(routing_hint: u32, extra_roots: Vec<Vec<u8>>) -> Self {
        Self { routing_hint, extra_roots, tls: OnceCell::new() }
    }

    /// Opens the stream and says where it leads, for display.
    pub(crate) async fn connect(
        &self,
        url: &str,
    ) -> Result<(ReadHalf<Stream>, WriteHalf<Stream>, String), String> {
        let target = Target::parse(url).map_err(|reason| format!("websocket URL: {reason}"))?;
        let (stream, _) = tcp::connect(&target.address).await?;
        stream.set_nodelay(true).map_err(|e| format!("set nodelay: {e}"))?;
        let stream: Box<dyn Link> = if target.secure {
            let tls = self.tls.get_or_try_init(|| load(self.extra_roots.clone())).await?.clone();
            let name = ServerName::try_from(target.name.clone())
                .map_err(|_| format!("{} is no name for a certificate", target.name))?;
            let connected = TlsConnector::from(tls).connect(name, stream).await;
            Box::new(connected.map_err(|e| format!("TLS with {}: {e}", target.address))?)
        } else {
            Box::new(stream)
        };
        let mut request = target.request.as_str().into_client_request().map_err(|e| e.to_string())?;
        if self.routing_hint != 0 {
            request.headers_mut().insert(ROUTING_HINT, HeaderValue::from(self.routing_hint));
        }
        let (socket, _) = client_async_with_config(request, stream, Some(limits()))
            .await
            .map_err(|e| format!("websocket handshake with {}: {e}", target.address))?;
        let (reader, writer) = split(ByteStream::new(socket));
        Ok((reader, writer, target.shown))
    }
}

/// A dialled WebSocket, with or without TLS.
pub(crate) type Stream = ByteStream<Box<dyn Link>>;

/// What a WebSocket runs on.
pub(crate) trait Link: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Link for S {}

/// Names of the variables that replace the certificates of the system, as in other programs.
const ROOT_VARIABLES: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// What is trusted: the certificates of the system or those that the environment names instead, and the extra ones. Mozilla's
/// stand in where the system has none.
async fn load(extra: Vec<Vec<u8>>) -> Result<Arc<ClientConfig>, String> {
    let load = move || {
        let mut roots = RootCertStore::empty();
        let native = rustls_native_certs::load_native_certs();
        for e in &native.errors {
            tracing::warn!(error = %e, "load certificates of the system");
        }
        let (_, ignored) = roots.add_parsable_certificates(native.certs);
        if ignored > 0 {
            tracing::debug!(ignored, "certificates of the system that are not understood");
        }
        if roots.is_empty() {
            // Who names his own certificates does not want others to be trusted in their place.
            if let Some(named) = ROOT_VARIABLES.iter().find(|name| std::env::var_os(name).is_some()) {
                let faults: Vec<String> = native.errors.iter().map(ToString::to_string).collect();
                return Err(format!("no certificate could be read from {named}: {}", faults.join("; ")));
            }
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        for root in extra {
            roots.add(CertificateDer::from(root)).map_err(|e| format!("extra root certificate: {e}"))?;
        }
        client_config(roots)
    };
    tokio::task::spawn_blocking(load).await.map_err(|e| e.to_string())?
}
