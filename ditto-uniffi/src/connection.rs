//! Which peers may connect and are dialled, and what happens to connections.

use std::sync::Arc;
use std::time::Duration;

use ditto::{ErrorKind, PeerKey, PeerSelector};
use tokio::sync::Mutex;

use crate::app::{App, awaited};
use crate::error::DittoError;
use crate::instance::Ditto;
use crate::presence::Presence;

/// Facts about a peer that asks to connect. Its key is proven, and it may connect as far as the database and its shared key
/// go.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct ConnectionRequest {
    /// The peer.
    pub peer_key: String,
    /// The transport: Bluetooth, AccessPoint, P2PWiFi or WebSocket.
    pub connection_type: String,
    /// What the peer's app says about it: the text of a JSON object, empty when unset or over WebSocket.
    pub peer_metadata_json: String,
    /// What an authentication service says about it: the text of a JSON object, empty without a server.
    pub identity_service_metadata_json: String,
}

/// Answer to a connection request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum ConnectionRequestAuthorization {
    /// The peer may connect.
    Allow,
    /// It may not; it is told, and may try again.
    Deny,
}

/// What an app implements to decide about peers that ask to connect.
///
/// Calls come on threads of the library, also several at a time. An answer that takes too long, and an error, deny.
#[uniffi::export(with_foreign)]
pub trait ConnectionRequestHandler: Send + Sync {
    /// Decides about one request.
    fn on_connection_request(
        &self,
        request: ConnectionRequest,
    ) -> Result<ConnectionRequestAuthorization, DittoError>;
}

#[uniffi::export]
impl Presence {
    /// Asks the handler about every incoming connection from now on, also while syncing; nothing takes it away, so that every
    /// peer may connect that the database and the shared key admit.
    ///
    /// It is asked once per peer and transport, for as long as the peer stays connected, and never about peers that are
    /// refused anyway. No answer within 10 seconds denies. Connections that exist stay.
    pub fn set_connection_request_handler(
        &self,
        handler: Option<Arc<dyn ConnectionRequestHandler>>,
    ) -> Result<(), DittoError> {
        let Some(handler) = handler else { return Ok(self.inner.clear_connection_request_handler()?) };
        let handler = Arc::new(App::new(handler));
        let ask = move |request: ditto::ConnectionRequest| decide(handler.clone(), request);
        Ok(self.inner.set_connection_request_handler(ask)?)
    }

    /// Sets the time that the handler has, 10,000 milliseconds by default.
    pub fn set_connection_request_timeout_ms(&self, timeout: u64) -> Result<(), DittoError> {
        Ok(self.inner.set_connection_request_timeout(Duration::from_millis(timeout))?)
    }
}

/// The app may block, so it gets a thread of its own.
async fn decide(
    handler: Arc<App<dyn ConnectionRequestHandler>>,
    request: ditto::ConnectionRequest,
) -> ditto::ConnectionRequestAuthorization {
    let request = ConnectionRequest {
        peer_key: request.peer_key().to_string(),
        connection_type: request.connection_type().to_string(),
        peer_metadata_json: request.peer_metadata_json_str(),
        identity_service_metadata_json: request.identity_service_metadata_json_str(),
    };
    let ask = move || handler.call(|h| h.on_connection_request(request));
    let answer = tokio::task::spawn_blocking(ask).await;
    match answer {
        Ok(Some(Ok(ConnectionRequestAuthorization::Allow))) => ditto::ConnectionRequestAuthorization::Allow,
        Ok(Some(Ok(ConnectionRequestAuthorization::Deny)) | None) => {
            ditto::ConnectionRequestAuthorization::Deny
        }
        Ok(Some(Err(e))) => {
            tracing::error!(error = %e, "the connection request handler failed: denied");
            ditto::ConnectionRequestAuthorization::Deny
        }
        Err(e) => {
            tracing::error!(error = %e, "the connection request handler failed: denied");
            ditto::ConnectionRequestAuthorization::Deny
        }
    }
}

/// How eagerly this device dials a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum ConnectionPriority {
    /// Never dial. The peer may still dial us.
    DontConnect,
    /// The default.
    Normal,
    /// Before normal peers, where more are near than can be connected at once.
    High,
}

impl From<ConnectionPriority> for ditto::ConnectionPriority {
    fn from(p: ConnectionPriority) -> Self {
        match p {
            ConnectionPriority::DontConnect => Self::DontConnect,
            ConnectionPriority::Normal => Self::Normal,
            ConnectionPriority::High => Self::High,
        }
    }
}

/// Something that happened to a connection, and when.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct ConnectionRecord {
    /// Counts from 1 since the instance was opened. A gap in what a reader gets is what it missed.
    pub number: u64,
    /// Unix time in milliseconds.
    pub at_ms: u64,
    /// Stable name of what happened, as discovered, dialing, refused, connected, moved_link or disconnected.
    pub kind: String,
    /// Text for people.
    pub text: String,
    /// The peer that it is about, if known.
    pub peer_key: Option<String>,
    /// The address that it is about.
    pub address: Option<String>,
    /// The transport of the link that it is about.
    pub connection_type: Option<String>,
    /// Stable name of why a link was refused, as wrong_key, wrong_database, incompatible_version, at_capacity, timed_out or
    /// denied.
    pub reason: Option<String>,
    /// Whether this device refused; nothing for what is no refusal.
    pub by_us: Option<bool>,
}

impl From<ditto::ConnectionRecord> for ConnectionRecord {
    fn from(r: ditto::ConnectionRecord) -> Self {
        let by_us = match &r.event {
            ditto::ConnectionEvent::Refused { by_us, .. } => Some(*by_us),
            _ => None,
        };
        Self {
            number: r.number,
            at_ms: r.at_ms,
            kind: r.event.name().to_owned(),
            text: r.event.to_string(),
            peer_key: r.event.peer().map(|k| k.to_string()),
            address: r.event.address(),
            connection_type: r.event.connection_type().map(|k| k.to_string()),
            reason: r.event.refusal().map(|r| r.as_str().to_owned()),
            by_us,
        }
    }
}

/// Feed of what happens to connections.
#[derive(uniffi::Object)]
pub struct ConnectionEvents {
    inner: Mutex<ditto::ConnectionEvents>,
}

#[uniffi::export]
impl ConnectionEvents {
    /// The next one; nothing once the instance is shut down. A reader that falls more than 1,024 events behind misses the
    /// oldest.
    pub async fn next(&self) -> Option<ConnectionRecord> {
        awaited(async { self.inner.lock().await.next().await.map(Into::into) }).await
    }
}

#[uniffi::export]
impl Ditto {
    /// What the transports are doing now: JSON text with a list transports, each with connection_type, connecting, connected,
    /// disconnecting and disconnected.
    pub fn transport_diagnostics_json(&self) -> Result<String, DittoError> {
        let now = self.inner.transport_diagnostics()?;
        serde_json::to_string(&now).map_err(|e| DittoError::new(ErrorKind::Internal, e.to_string()))
    }

    /// What happens to connections from now on.
    pub fn connection_events(&self) -> Arc<ConnectionEvents> {
        Arc::new(ConnectionEvents { inner: Mutex::new(self.inner.connection_events()) })
    }

    /// The last 256 things that happened to connections, oldest first.
    pub fn recent_connection_events(&self) -> Vec<ConnectionRecord> {
        self.inner.recent_connection_events().into_iter().map(Into::into).collect()
    }

    /// Experimental: sets how eagerly this device dials a peer. It takes effect at once and ends no connection.
    pub fn set_priority_for_peer(
        &self,
        priority: ConnectionPriority,
        peer_key: String,
    ) -> Result<(), DittoError> {
        let key: PeerKey = peer_key
            .parse()
            .map_err(|e| DittoError::new(ErrorKind::PeerNotFound, format!("not a peer key: {e}")))?;
        Ok(self.inner.experimental().set_priority(PeerSelector::Peer(key), priority.into())?)
    }

    /// Experimental: sets how eagerly this device dials the peers of a query overlap group.
    pub fn set_priority_for_query_overlap_group(
        &self,
        priority: ConnectionPriority,
        group: u8,
    ) -> Result<(), DittoError> {
        Ok(self.inner.experimental().set_priority(PeerSelector::QueryOverlapGroup(group), priority.into())?)
    }

    /// Experimental: puts this peer into a query overlap group, 0 by default, which others see in the graph.
    pub fn set_query_overlap_group(&self, group: u8) -> Result<(), DittoError> {
        Ok(self.inner.experimental().set_query_overlap_group(group)?)
    }

    /// Says that the device is on another network: what could not be reached is tried again at once.
    pub fn network_changed(&self) -> Result<(), DittoError> {
        Ok(self.inner.sync().network_changed()?)
    }
}
