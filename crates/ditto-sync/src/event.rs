//! What goes into the engine and what comes out.

use ditto_types::{Digest, DocId, Object};
use smol_str::SmolStr;

use crate::peer::{Lane, PeerId};
use crate::store::{LocalCommit, RefusalCode};

/// Something happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// A session with a peer starts. Both lanes are empty.
    PeerUp {
        /// The peer.
        peer: PeerId,
        /// Its store, from its HELLO.
        store_id: [u8; 16],
        /// Its store's epoch.
        epoch: [u8; 8],
    },
    /// The session ended; whatever was on its lanes is lost.
    PeerDown {
        /// The peer.
        peer: PeerId,
    },
    /// A message arrived.
    Message {
        /// Its sender.
        peer: PeerId,
        /// Lane it came on.
        lane: Lane,
        /// The message.
        bytes: Vec<u8>,
    },
    /// How much of what was sent still waits. Report it when the level falls; bulk sending waits for it.
    Queued {
        /// The peer.
        peer: PeerId,
        /// The lane.
        lane: Lane,
        /// Bytes waiting.
        bytes: usize,
    },
    /// The local store committed something (also batches of this engine).
    Commit(LocalCommit),
    /// The app registered a subscription. Equal queries share one transfer.
    Subscribe {
        /// The app's name for it.
        sub: u64,
        /// Checked query text.
        query: String,
        /// Its arguments.
        args: Object,
    },
    /// Documents that leave the query of a subscription, by what a peer wrote, are to be evicted. Stays until the
    /// subscription is cancelled.
    EvictOnLeave {
        /// The name given before.
        sub: u64,
    },
    /// The app cancelled a subscription.
    Unsubscribe {
        /// The name given before.
        sub: u64,
    },
    /// Time passed; see [`crate::SyncEngine::next_deadline`].
    Tick,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Put a message on a lane.
    Send {
        /// The peer.
        peer: PeerId,
        /// The lane.
        lane: Lane,
        /// The message, at most [`crate::MAX_MESSAGE_BYTES`] long.
        bytes: Vec<u8>,
    },
    /// End the session: the peer broke the protocol, or the store failed. The engine ignores the peer until
    /// the next [`Input::PeerDown`] or [`Input::PeerUp`].
    Disconnect {
        /// The peer.
        peer: PeerId,
        /// What was wrong, for the log.
        reason: String,
    },
    /// A subscription went on.
    Progress(SyncProgress),
    /// Evict those of these documents that are still in these states: they have left the queries that want it, no
    /// subscription matches them any more, and a peer holds the same state.
    Evict {
        /// Collection of the documents.
        collection: SmolStr,
        /// Their ids and states.
        documents: Vec<(DocId, Digest)>,
    },
    /// A peer refused a document of ours.
    Rejected {
        /// The peer.
        peer: PeerId,
        /// Collection of the document.
        collection: SmolStr,
        /// Its id.
        id: DocId,
        /// Why.
        code: RefusalCode,
    },
}

/// How far a subscription is at one peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyncState {
    /// Asked, no answer yet.
    Connecting,
    /// Finding out what differs.
    Reconciling,
    /// Documents are arriving.
    Loading {
        /// Documents received in this step.
        loaded: u64,
        /// Expected documents; an estimate.
        total: u64,
    },
    /// Caught up; changes arrive as they are made.
    Live,
    /// The peer or the local store cannot serve the query.
    Failed {
        /// Why.
        reason: String,
    },
}

/// Progress of one subscription at one peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncProgress {
    /// The peer.
    pub peer: PeerId,
    /// The app's name of the subscription.
    pub sub: u64,
    /// How far it is.
    pub state: SyncState,
    /// Documents received from the peer in this session.
    pub documents_received: u64,
    /// Bytes received from the peer in this session.
    pub bytes_received: u64,
}

/// Counters and state of sync with one peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerSyncStatus {
    /// The peer.
    pub peer: PeerId,
    /// Whether a session is up.
    pub connected: bool,
    /// The newest local commit that the peer confirmed to have everything of that it subscribes to.
    pub synced_up_to_local_commit_id: Option<u64>,
    /// When the last document arrived, in unix milliseconds.
    pub last_update_received_ms: Option<u64>,
    /// Documents received in this or the last session.
    pub documents_received: u64,
    /// Documents sent in this or the last session.
    pub documents_sent: u64,
    /// Message bytes received in this or the last session.
    pub bytes_received: u64,
    /// Message bytes sent in this or the last session.
    pub bytes_sent: u64,
    /// Our subscriptions at this peer. Empty without a session.
    pub subscriptions: Vec<(u64, SyncState)>,
}
