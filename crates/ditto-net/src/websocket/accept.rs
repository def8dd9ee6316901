//! Taking the WebSocket that an HTTP request asks for.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ditto_mesh::transport::{LinkKind, Role};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::split;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;
use tokio_tungstenite::tungstenite::protocol;

use super::stream::{ByteStream, limits};
use crate::link::{LinkInfo, run_link};
use crate::sink::EventSink;
use crate::table::{LinkPort, LinkTable};
use crate::tcp::shown;

/// How long the connection may take to become a WebSocket once we have agreed.
const SWITCH_TIMEOUT: Duration = Duration::from_secs(10);

/// Whether a request asks for a WebSocket, rightly or not.
pub(crate) fn is_upgrade(request: &Request) -> bool {
    request
        .headers()
        .get(header::UPGRADE)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// What a WebSocket that is taken becomes a link of.
#[derive(Clone)]
pub(crate) struct Upgrade {
    pub(crate) table: Arc<LinkTable>,
    pub(crate) sink: EventSink,
    /// Accepted links that may be open.
    pub(crate) limit: usize,
}

impl Upgrade {
    /// Answers a request for a WebSocket, and makes a link of it when it is one.
    pub(crate) fn answer(&self, mut request: Request, remote: SocketAddr) -> Response {
        let response = match create_response_with_body(&request, Body::empty) {
            Ok(response) => response,
            Err(e) => {
                let status = if request.headers().contains_key(header::SEC_WEBSOCKET_VERSION)
                    && request.headers()[header::SEC_WEBSOCKET_VERSION] != "13"
                {
                    StatusCode::UPGRADE_REQUIRED
                } else {
                    StatusCode::BAD_REQUEST
                };
                let version = [(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"))];
                return (status, version, format!("{e}\n")).into_response();
            }
        };
        let Ok((link, port)) = self.table.accepted(self.limit, None) else {
            tracing::warn!(%remote, limit = self.limit, "websocket refused: at capacity");
            return (StatusCode::SERVICE_UNAVAILABLE, "at capacity\n").into_response();
        };
        let info = LinkInfo { link, kind: LinkKind::WebSocket, role: Role::Acceptor, remote: shown(remote) };
        let (this, switched) = (self.clone(), hyper::upgrade::on(&mut request));
        self.table.spawn(async move { this.run(info, port, switched).await });
        response
    }

    async fn run(self, info: LinkInfo, mut port: LinkPort, switched: OnUpgrade) {
        let switched = tokio::select! {
            () = self.sink.stopped() => None,
            _ = &mut port.closed => None,
            switched = timeout(SWITCH_TIMEOUT, switched) => switched.ok().and_then(Result::ok),
        };
        let Some(switched) = switched else {
            tracing::debug!(link = %info.link, "the connection ended before it was a websocket");
            return self.table.remove(info.link);
        };
        let role = protocol::Role::Server;
        let socket = WebSocketStream::from_raw_socket(TokioIo::new(switched), role, Some(limits())).await;
        let (reader, writer) = split(ByteStream::new(socket));
        run_link(&self.table, &self.sink, info, port, reader, writer).await;
    }
}
