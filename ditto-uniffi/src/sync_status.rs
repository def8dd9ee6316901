//! How far sync is, and what happens in the mesh.

use crate::app::awaited;
use ditto::PeerKey;
use tokio::sync::Mutex;

/// How far one subscription is with one peer.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Enum)]
#[non_exhaustive]
pub enum SyncState {
    /// Nothing was agreed yet.
    Connecting,
    /// Both sides find out what differs.
    Reconciling,
    /// The first documents arrive.
    Loading {
        /// Documents that arrived.
        loaded: u64,
        /// Documents that will have arrived when it is done.
        total: u64,
    },
    /// Everything is here, and changes arrive as they happen.
    Live,
    /// The peer refused the subscription.
    Failed {
        /// Text for people.
        reason: String,
    },
    /// A state that this release of the surface has no name for.
    Other,
}

/// State of one subscription.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct SubscriptionStatus {
    /// Number of the subscription, in the order of registration.
    pub subscription: u64,
    /// How far it is.
    pub state: SyncState,
}

/// How far sync with one peer is.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct PeerSyncStatus {
    /// Key of the peer.
    pub peer_key: String,
    /// Whether a session is up.
    pub is_connected: bool,
    /// The newest local commit that the peer confirmed to have everything of that it subscribes to.
    pub synced_up_to_local_commit_id: Option<u64>,
    /// When the last document arrived, in unix milliseconds.
    pub last_update_received_time: Option<u64>,
    /// Documents received in this or the last session.
    pub documents_received: u64,
    /// Documents sent in this or the last session.
    pub documents_sent: u64,
    /// Message bytes received in this or the last session.
    pub bytes_received: u64,
    /// Message bytes sent in this or the last session.
    pub bytes_sent: u64,
    /// The own subscriptions at this peer; empty without a session.
    pub subscriptions: Vec<SubscriptionStatus>,
}

/// Something that happened in the mesh.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Enum)]
#[non_exhaustive]
pub enum SyncEvent {
    /// A peer is connected and verified.
    PeerConnected {
        /// Its key.
        peer_key: String,
        /// Its name; not unique.
        device_name: String,
        /// The transport.
        connection_type: String,
        /// Address of the other end.
        remote: String,
    },
    /// A peer's last connection ended.
    PeerDisconnected {
        /// Its key.
        peer_key: String,
        /// Text for people.
        reason: String,
    },
    /// One subscription moved on with one peer.
    Progress {
        /// Key of the peer.
        peer_key: String,
        /// Number of the subscription.
        subscription: u64,
        /// How far it is.
        state: SyncState,
        /// Documents received in this session.
        documents_received: u64,
        /// Message bytes received in this session.
        bytes_received: u64,
    },
    /// A connection was refused or failed before it was verified, a peer refused a document, and what else helps to
    /// find faults.
    Notice {
        /// Text for people.
        text: String,
    },
}

/// Feed of what happens in the mesh.
#[derive(uniffi::Object)]
pub struct SyncEvents {
    inner: Mutex<ditto::MeshEvents>,
}

impl SyncEvents {
    pub(crate) fn new(inner: ditto::MeshEvents) -> Self {
        Self { inner: Mutex::new(inner) }
    }
}

#[uniffi::export]
impl SyncEvents {
    /// The next event; nothing once the instance is shut down. A reader that falls more than 1,024 events behind misses
    /// the oldest.
    pub async fn next(&self) -> Option<SyncEvent> {
        awaited(async {
            let event = self.inner.lock().await.next().await?;
            Some(event.into())
        })
        .await
    }
}

impl From<&ditto::SyncState> for SyncState {
    fn from(s: &ditto::SyncState) -> Self {
        match s {
            ditto::SyncState::Connecting => Self::Connecting,
            ditto::SyncState::Reconciling => Self::Reconciling,
            ditto::SyncState::Loading { loaded, total } => Self::Loading { loaded: *loaded, total: *total },
            ditto::SyncState::Live => Self::Live,
            ditto::SyncState::Failed { reason } => Self::Failed { reason: reason.clone() },
            #[allow(unreachable_patterns, reason = "for states of later releases")]
            _ => Self::Other,
        }
    }
}

impl From<ditto::PeerSyncStatus> for PeerSyncStatus {
    fn from(s: ditto::PeerSyncStatus) -> Self {
        let subscriptions = s.subscriptions.iter();
        Self {
            peer_key: key(&s.peer.0),
            is_connected: s.connected,
            synced_up_to_local_commit_id: s.synced_up_to_local_commit_id,
            last_update_received_time: s.last_update_received_ms,
            documents_received: s.documents_received,
            documents_sent: s.documents_sent,
            bytes_received: s.bytes_received,
            bytes_sent: s.bytes_sent,
            subscriptions: subscriptions
                .map(|(number, state)| SubscriptionStatus { subscription: *number, state: state.into() })
                .collect(),
        }
    }
}

impl From<ditto::MeshEvent> for SyncEvent {
    fn from(e: ditto::MeshEvent) -> Self {
        match e {
            ditto::MeshEvent::PeerConnected { peer, device_name, connection_type, remote } => {
                Self::PeerConnected { peer_key: peer.to_string(), device_name, connection_type, remote }
            }
            ditto::MeshEvent::PeerDisconnected { peer, reason } => {
                Self::PeerDisconnected { peer_key: peer.to_string(), reason }
            }
            ditto::MeshEvent::Progress(p) => Self::Progress {
                peer_key: key(&p.peer.0),
                subscription: p.sub,
                state: (&p.state).into(),
                documents_received: p.documents_received,
                bytes_received: p.bytes_received,
            },
            ditto::MeshEvent::Connection(event) => Self::Notice { text: event.to_string() },
            ditto::MeshEvent::Rejected { reason } => {
                Self::Notice { text: format!("a peer refused a document: {reason}") }
            }
            other => Self::Notice { text: format!("{other:?}") },
        }
    }
}

/// The text form of a key; what is none stays readable.
fn key(bytes: &[u8]) -> String {
    PeerKey::from_bytes(bytes).map_or_else(|_| "unknown".to_owned(), |key| key.to_string())
}
