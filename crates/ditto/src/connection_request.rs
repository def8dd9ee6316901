//! Connection requests: the app decides which peers may connect.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ditto_types::{Object, Value, json};

use crate::{ConnectionType, DittoError, PeerKey, Presence};

/// Facts about a peer that asks to connect (API-194). Its key is proven, and it may connect as far as the database and
/// its shared key go.
#[derive(Clone, Debug, PartialEq)]
pub struct ConnectionRequest {
    peer: PeerKey,
    kind: ConnectionType,
    metadata: Value,
    identity_service_metadata: Value,
}

impl ConnectionRequest {
    pub(crate) fn new(peer: PeerKey, kind: ConnectionType, metadata: Value) -> Self {
        Self { peer, kind, metadata, identity_service_metadata: Value::Object(Object::new()) }
    }

    /// The peer (API-195).
    pub fn peer_key(&self) -> PeerKey {
        self.peer
    }

    /// What the peer's app says about it, at most 4,096 bytes of JSON: an object, empty when unset or over WebSocket
    /// (API-196). Nobody has checked it.
    pub fn peer_metadata(&self) -> &Value {
        &self.metadata
    }

    /// The same as JSON text.
    pub fn peer_metadata_json_str(&self) -> String {
        json::to_string(&self.metadata)
    }

    /// What an authentication service says about the peer: an object, empty without a server (API-197).
    pub fn identity_service_metadata(&self) -> &Value {
        &self.identity_service_metadata
    }

    /// The same as JSON text.
    pub fn identity_service_metadata_json_str(&self) -> String {
        json::to_string(&self.identity_service_metadata)
    }

    /// The transport of the request (API-198).
    pub fn connection_type(&self) -> ConnectionType {
        self.kind
    }
}

/// Answer to a [`ConnectionRequest`] (API-199).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConnectionRequestAuthorization {
    /// The peer may connect.
    Allow,
    /// It may not; it is told, and may try again.
    Deny,
}

/// Decides about peers that ask to connect (API-202). Implemented by every async function and closure of the right
/// type.
pub trait ConnectionRequestHandler: Send + Sync + 'static {
    /// Decides about one request. It runs on the library's runtime and must not block its thread.
    fn on_connection_request(
        &self,
        request: ConnectionRequest,
    ) -> impl Future<Output = ConnectionRequestAuthorization> + Send;
}

impl<F, A> ConnectionRequestHandler for F
where
    F: Fn(ConnectionRequest) -> A + Send + Sync + 'static,
    A: Future<Output = ConnectionRequestAuthorization> + Send,
{
    fn on_connection_request(
        &self,
        request: ConnectionRequest,
    ) -> impl Future<Output = ConnectionRequestAuthorization> + Send {
        self(request)
    }
}

type Answer = Pin<Box<dyn Future<Output = ConnectionRequestAuthorization> + Send>>;

/// A handler of any type.
pub(crate) type Handler = Arc<dyn Fn(ConnectionRequest) -> Answer + Send + Sync>;

pub(crate) fn boxed(handler: impl ConnectionRequestHandler) -> Handler {
    let handler = Arc::new(handler);
    Arc::new(move |request| {
        let handler = handler.clone();
        Box::pin(async move { handler.on_connection_request(request).await })
    })
}

impl Presence {
    /// Asks `handler` about every incoming connection from now on, also while syncing; replaces the one before
    /// (API-191). Without a handler every peer that the database and the shared key admit may connect.
    ///
    /// It is asked once per peer and transport, for as long as the peer stays connected (API-193), and never about
    /// peers that are refused anyway. No answer within 10 s, or the time of
    /// [`Presence::set_connection_request_timeout`], or a panic is [`ConnectionRequestAuthorization::Deny`]
    /// (API-192). A denied peer may try again, as it usually does after a second. Connections that exist stay.
    pub fn set_connection_request_handler(
        &self,
        handler: impl ConnectionRequestHandler,
    ) -> Result<(), DittoError> {
        self.change(|control| control.set_handler(Some(boxed(handler))))
    }

    /// Takes the handler away: every peer may connect again that the database and the shared key admit.
    pub fn clear_connection_request_handler(&self) -> Result<(), DittoError> {
        self.change(|control| control.set_handler(None))
    }

    /// Sets the time that the handler has, 10 s by default. Peers wait for 20 s at most, whatever is set here.
    pub fn set_connection_request_timeout(&self, timeout: Duration) -> Result<(), DittoError> {
        self.change(|control| control.set_timeout(timeout))
    }

    fn change(
        &self,
        change: impl FnOnce(&crate::control::Control) -> ditto_mesh::Input,
    ) -> Result<(), DittoError> {
        self.inner.control(change)
    }
}
