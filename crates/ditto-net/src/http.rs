//! The HTTP listener: WebSockets of peers, files of a folder, TLS if wanted.
//!
//! Everybody can reach it, so everything has an end: a connection must bring a request within ten seconds, read its answer
//! without stalling, and find one of few places until it is a WebSocket, which the mesh then watches.

mod certificate;
mod files;
mod stall;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use ditto_mesh::transport::NetEvent;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use self::certificate::Certificate;
use self::files::Files;
use self::stall::WriteLimit;
use crate::error::NetError;
use crate::listener::Taken;
use crate::sink::EventSink;
use crate::table::LinkTable;
use crate::websocket::{Upgrade, is_upgrade};

/// Name of the listener in `Condition` events.
pub(crate) const HTTP_SOURCE: &str = "Http";
/// Connections that are not WebSockets.
const MAX_CONNECTIONS: usize = 256;
/// Time for TLS, and for the head of each request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Head of a request.
const MAX_HEAD: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;
/// Time for answers that are under way when the listener stops.
const GOODBYE: Duration = Duration::from_secs(1);

/// An HTTP listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpConfig {
    /// Where to accept connections, as [`crate::NetConfig::listen`].
    pub address: String,
    /// Whether requests for a WebSocket, on any path, become links.
    pub websocket: bool,
    /// A folder whose files are served.
    pub static_content: Option<PathBuf>,
    /// Makes it HTTPS.
    pub tls: Option<TlsFiles>,
}

/// PEM files of a certificate and its key. A listener follows them when they change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, then those that lead from it to a root.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// What a running listener does, which may change while it runs.
pub(crate) struct Service {
    websocket: bool,
    files: Option<Files>,
    tls: Option<Arc<Certificate>>,
}

impl Service {
    /// Looks at the files that the config names.
    pub(crate) async fn load(config: HttpConfig) -> Result<Arc<Self>, NetError> {
        let load = move || {
            Ok(Arc::new(Self {
                websocket: config.websocket,
                tls: config.tls.map(Certificate::load).transpose()?.map(Arc::new),
                files: config.static_content.map(Files::open).transpose()?,
            }))
        };
        match tokio::task::spawn_blocking(load).await {
            Ok(loaded) => loaded,
            // It neither panics nor is it cancelled; what remains is a runtime that ends.
            Err(e) => Err(NetError::StaticContent { path: PathBuf::new(), source: std::io::Error::other(e) }),
        }
    }

    pub(crate) fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }
}

/// Everything that the connections of one listener share.
#[derive(Clone)]
pub(crate) struct Server {
    table: Arc<LinkTable>,
    /// Of the listener: ends with it.
    sink: EventSink,
    places: Arc<Semaphore>,
    service: watch::Receiver<Arc<Service>>,
    router: Router,
}

#[derive(Clone)]
struct Context {
    service: watch::Receiver<Arc<Service>>,
    upgrade: Upgrade,
}

#[derive(Clone, Copy)]
struct Remote(SocketAddr);

impl Server {
    /// Links become those of `upgrade` and outlive the listener.
    pub(crate) fn new(upgrade: Upgrade, sink: EventSink, service: watch::Receiver<Arc<Service>>) -> Self {
        let table = upgrade.table.clone();
        let context = Context { service: service.clone(), upgrade };
        let router = Router::new().fallback(answer).with_state(context);
        Self { table, sink, places: Arc::new(Semaphore::new(MAX_CONNECTIONS)), service, router }
    }

    pub(crate) fn take(&self, stream: TcpStream, remote: SocketAddr) -> Taken {
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            return Taken::Full(format!("{MAX_CONNECTIONS} connections"));
        };
        let this = self.clone();
        self.table.spawn(async move { this.connection(stream, remote, place).await });
        Taken::Yes
    }

    async fn connection(self, stream: TcpStream, remote: SocketAddr, _place: OwnedSemaphorePermit) {
        if let Err(e) = stream.set_nodelay(true) {
            tracing::debug!(%remote, error = %e, "set nodelay");
        }
        let tls = self.service.borrow().tls.clone();
        let Some(tls) = tls else {
            return self.requests(stream, remote).await;
        };
        let accepted = tokio::select! {
            () = self.sink.stopped() => return,
            accepted = timeout(HEAD_TIMEOUT, async { self.acceptor(tls).await.accept(stream).await }) => accepted,
        };
        match accepted {
            Ok(Ok(stream)) => self.requests(stream, remote).await,
            Ok(Err(e)) => tracing::debug!(%remote, error = %e, "TLS of an HTTP connection"),
            Err(_) => tracing::debug!(%remote, "TLS of an HTTP connection took too long"),
        }
    }

    /// What TLS goes on with, after a look whether the certificate's files have changed.
    async fn acceptor(&self, certificate: Arc<Certificate>) -> TlsAcceptor {
        if certificate.is_due() {
            let looking = certificate.clone();
            let told = tokio::task::spawn_blocking(move || looking.look()).await.ok().flatten();
            if let Some(text) = told {
                self.sink.emit(NetEvent::Condition { source: HTTP_SOURCE.to_owned(), text }).await;
            }
        }
        certificate.acceptor()
    }

    async fn requests(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        remote: SocketAddr,
    ) {
        let router = self.router.clone().layer(Extension(Remote(remote)));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_headers(MAX_HEADERS)
            .max_buf_size(MAX_HEAD)
            .serve_connection(TokioIo::new(WriteLimit::new(stream)), TowerToHyperService::new(router))
            .with_upgrades();
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            ended = &mut connection => ended,
            () = self.sink.stopped() => {
                connection.as_mut().graceful_shutdown();
                timeout(GOODBYE, connection).await.unwrap_or(Ok(()))
            }
        };
        if let Err(e) = ended {
            tracing::debug!(%remote, error = %e, "HTTP connection");
        }
    }
}

async fn answer(
    State(context): State<Context>,
    Extension(Remote(remote)): Extension<Remote>,
    request: Request,
) -> Response {
    let service = context.service.borrow().clone();
    if is_upgrade(&request) {
        if service.websocket {
            return context.upgrade.answer(request, remote);
        }
        return (StatusCode::NOT_FOUND, "no websocket here\n").into_response();
    }
    match &service.files {
        Some(files) => files.answer(request).await,
        None => (StatusCode::NOT_FOUND, "not found\n").into_response(),
    }
}
