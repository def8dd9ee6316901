//! What goes into the mesh machine and what comes out.

use bytes::Bytes;
use ditto_types::Value;

use crate::chooser::{ConnectionPriority, PeerSelector};
use crate::circuit::{CircuitEnd, CircuitId};
use crate::event::ConnectionEvent;
use crate::peer_key::PeerKey;
use crate::transport::{DialTarget, LinkId, LinkKind, NetEvent};

/// A message channel of an app-side service. Each is ordered and reliable for the life of a session; there is no order
/// between lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Live replication.
    SyncLive,
    /// First loads and reconciliation.
    SyncBulk,
    /// Bus messages.
    Bus,
    /// Content of attachments, behind everything else.
    Blobs,
}

/// What the mesh is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// Something happened on the network.
    Net(NetEvent),
    /// Sends a message. Answered by [`Action::Transmitted`] or [`Action::SendFailed`] with the same tag.
    Send {
        /// To whom.
        peer: PeerKey,
        /// On which lane.
        lane: Lane,
        /// Not empty, at most the lane's limit. They are shared, not copied: the same message can be sent to many.
        bytes: Bytes,
        /// Chosen by the caller.
        tag: u64,
    },
    /// Sends a datagram: at most once, in no order, dropped when it cannot leave at once. Answered as `Send`.
    SendDatagram {
        /// To whom.
        peer: PeerKey,
        /// At most [`crate::MAX_DATAGRAM`] bytes.
        bytes: Vec<u8>,
        /// Chosen by the caller.
        tag: u64,
    },
    /// The app has processed this much of what it got by [`Action::Message`]; the sender may send as much more.
    Consumed {
        /// From whom.
        peer: PeerKey,
        /// On which lane.
        lane: Lane,
        /// Bytes, at most what was delivered.
        bytes: usize,
    },
    /// Opens a circuit: an end-to-end encrypted, bidirectional channel to any peer of the mesh, over up to eight hops.
    /// Messages keep their boundaries, arrive in order and exactly once while both ends keep the circuit, whatever
    /// happens to the route. Answered by [`Action::CircuitOpened`] or [`Action::CircuitClosed`].
    CircuitOpen {
        /// Chosen by the caller: not used before, and without [`crate::INCOMING_CIRCUIT_BIT`].
        circuit: CircuitId,
        /// A peer of the presence graph.
        target: PeerKey,
        /// Tells the other end's app what the circuit is for. Relays do not see it.
        purpose: u8,
    },
    /// Sends a message on a circuit; it waits while the circuit is opening or looks for a route. Answered by
    /// [`Action::CircuitTransmitted`] or [`Action::CircuitSendFailed`] with the same tag.
    CircuitSend {
        /// On which circuit.
        circuit: CircuitId,
        /// Not empty, at most [`crate::Limits::max_bus_message`].
        bytes: Vec<u8>,
        /// Chosen by the caller.
        tag: u64,
    },
    /// Sends a datagram to the other end of a circuit: at most once, in no order, dropped at every hop where it cannot
    /// leave within [`crate::Limits::datagram_age`], and while there is no route. Answered as `CircuitSend`.
    CircuitDatagram {
        /// On which circuit.
        circuit: CircuitId,
        /// At most [`crate::MAX_DATAGRAM`] bytes.
        bytes: Vec<u8>,
        /// Chosen by the caller.
        tag: u64,
    },
    /// The app has processed this much of what it got by [`Action::CircuitMessage`].
    CircuitConsumed {
        /// On which circuit.
        circuit: CircuitId,
        /// Bytes, at most what was delivered.
        bytes: usize,
    },
    /// Closes a circuit in both directions, once everything that waits has been acknowledged, but for no longer than
    /// [`crate::Limits::circuit_patience`]. Nothing is delivered any more. Answered by [`Action::CircuitClosed`].
    CircuitClose {
        /// Which circuit.
        circuit: CircuitId,
        /// For the other end's app.
        code: u32,
    },
    /// Ends a circuit at once, also one that is closing. Messages that were not acknowledged fail, although some may
    /// have arrived. Answered by [`Action::CircuitClosed`]; the other end is told as by [`Input::CircuitClose`].
    CircuitAbort {
        /// Which circuit.
        circuit: CircuitId,
        /// For the other end's app.
        code: u32,
    },
    /// Replaces our metadata. See [`crate::presence::check_metadata`].
    SetPeerMetadata(Value),
    /// Puts this peer into another query overlap group, which others see in the graph (API-468).
    SetQueryOverlapGroup(u8),
    /// Changes how eagerly some peers are dialled (API-469). Live connections stay.
    SetConnectionPriority {
        /// Which peers.
        selector: PeerSelector,
        /// How eagerly.
        priority: ConnectionPriority,
    },
    /// Whether accepted links are put to the app, by [`Action::ConnectionRequest`], and how many milliseconds it has to
    /// answer. `None`, as at the beginning, allows them all.
    SetConnectionRequests(Option<u64>),
    /// The app's answer to [`Action::ConnectionRequest`]. One that comes too late is ignored.
    AnswerConnectionRequest {
        /// The link of the request.
        link: LinkId,
        /// Whether the peer may connect.
        allow: bool,
    },
    /// The device is on another network: what could not be reached may be reachable now.
    NetworkChanged,
    /// Replaces the addresses that are always dialled. Links to addresses that stay go on; those that were dialled to an
    /// address that is left out are closed.
    SetStaticTargets(Vec<DialTarget>),
    /// Sets the longest delay between dials of a static target, in milliseconds.
    SetRetryInterval(u64),
    /// Sets the sync group, told to peers from now on. Peers of other groups are disconnected unless we have dialled
    /// them as a static target; those that have us as theirs come back.
    SetSyncGroup(u32),
    /// Disconnects a peer, as after a protocol violation.
    Disconnect {
        /// Whom.
        peer: PeerKey,
        /// For the log.
        reason: String,
    },
    /// Begins to dial and to accept.
    Start,
    /// Says goodbye, closes every link and forgets who was there.
    Stop,
    /// Time has passed; see [`crate::Mesh::next_deadline`].
    Tick,
}

/// What the mesh wants done, or reports.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// For the transport: open a link.
    Dial {
        /// Its id.
        link: LinkId,
        /// Where to.
        target: DialTarget,
    },
    /// For the transport: send bytes.
    Write {
        /// Where.
        link: LinkId,
        /// What.
        bytes: Vec<u8>,
    },
    /// For the transport: close a link.
    Close {
        /// Which.
        link: LinkId,
    },
    /// A peer that has proven who it is, and that it may connect, asks to. Needs [`Input::AnswerConnectionRequest`].
    ConnectionRequest {
        /// Its link.
        link: LinkId,
        /// Who.
        peer: PeerKey,
        /// What carries the link; a decision is for this kind only.
        kind: LinkKind,
        /// Its metadata as it says: an object, empty over WebSocket.
        metadata: Value,
    },
    /// A peer is connected. Never twice without [`Action::PeerDisconnected`] between.
    PeerConnected(PeerInfo),
    /// A peer is not connected any more. Every unanswered send has failed before.
    PeerDisconnected {
        /// Who.
        peer: PeerKey,
        /// For the log.
        reason: String,
    },
    /// A message arrived. Answer with [`Input::Consumed`] once it is processed.
    Message {
        /// From whom.
        peer: PeerKey,
        /// On which lane.
        lane: Lane,
        /// What.
        bytes: Vec<u8>,
    },
    /// A datagram arrived. Needs no [`Input::Consumed`].
    Datagram {
        /// From whom.
        peer: PeerKey,
        /// What.
        bytes: Vec<u8>,
    },
    /// A message was acknowledged by the peer's frame layer, or a datagram (`lane` is `None`) put on the link.
    Transmitted {
        /// To whom.
        peer: PeerKey,
        /// On which lane.
        lane: Option<Lane>,
        /// Of the send.
        tag: u64,
    },
    /// A message was not acknowledged, or a datagram not put on the link.
    SendFailed {
        /// To whom.
        peer: PeerKey,
        /// Of the send.
        tag: u64,
        /// Why.
        reason: SendFailure,
    },
    /// The send queue of a lane has grown or shrunk by a noticeable amount.
    Queued {
        /// To whom.
        peer: PeerKey,
        /// On which lane.
        lane: Lane,
        /// Bytes of messages that are not yet in frames.
        bytes: usize,
    },
    /// The other end of a circuit of ours has proven its key and agreed.
    CircuitOpened {
        /// Which circuit.
        circuit: CircuitId,
    },
    /// A peer has opened a circuit to us.
    CircuitIncoming {
        /// Chosen here, with [`crate::INCOMING_CIRCUIT_BIT`].
        circuit: CircuitId,
        /// Who, proven from end to end.
        peer: PeerKey,
        /// What for, as its app says.
        purpose: u8,
    },
    /// A message arrived on a circuit. Answer with [`Input::CircuitConsumed`] once it is processed: until then it takes
    /// up the sender's window.
    CircuitMessage {
        /// On which circuit.
        circuit: CircuitId,
        /// What.
        bytes: Vec<u8>,
    },
    /// A datagram arrived on a circuit.
    CircuitDatagram {
        /// On which circuit.
        circuit: CircuitId,
        /// What.
        bytes: Vec<u8>,
    },
    /// A message was acknowledged by the other end of its circuit, or a datagram put on the first link.
    CircuitTransmitted {
        /// On which circuit.
        circuit: CircuitId,
        /// Of the send.
        tag: u64,
    },
    /// A message was not acknowledged, or a datagram not put on the first link.
    CircuitSendFailed {
        /// On which circuit.
        circuit: CircuitId,
        /// Of the send.
        tag: u64,
        /// Why.
        reason: SendFailure,
    },
    /// The send queue of a circuit has grown or shrunk by a noticeable amount.
    CircuitQueued {
        /// On which circuit.
        circuit: CircuitId,
        /// Bytes of messages that are not yet in frames.
        bytes: usize,
    },
    /// A circuit has ended: the last action about it, exactly once. Every unanswered send has failed before.
    CircuitClosed {
        /// Which circuit.
        circuit: CircuitId,
        /// Why.
        reason: CircuitEnd,
    },
    /// [`crate::Mesh::graph`] returns something new.
    PresenceChanged,
    /// For the log.
    Event(ConnectionEvent),
}

/// A connected peer, as it introduced itself. Only the key is proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerInfo {
    /// Its proven key.
    pub peer: PeerKey,
    /// Name of its store.
    pub store_id: [u8; 16],
    /// Epoch of its store.
    pub store_epoch: [u8; 8],
    /// For display, at most [`crate::MAX_DEVICE_NAME`] bytes.
    pub device_name: String,
    /// Operating system, empty when unknown.
    pub os: String,
    /// Version of its SDK, empty when unknown.
    pub sdk_version: String,
    /// Its sync group.
    pub sync_group: u32,
    /// Whether it is a server.
    pub is_server: bool,
    /// What carries the session now.
    pub link_kind: LinkKind,
    /// Address of the other end of the link.
    pub remote: String,
    /// Its wall clock minus ours at HELLO, in milliseconds; includes the time on the way.
    pub clock_offset_ms: i64,
    /// Largest message of a sync lane.
    pub max_message: usize,
}

/// Why a message or datagram did not go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendFailure {
    /// The peer is not connected.
    #[error("the peer is not connected")]
    NotConnected,
    /// The peer was disconnected before it acknowledged the message. It may have received it.
    #[error("the peer was disconnected")]
    Disconnected,
    /// The message is larger than its limit.
    #[error("the message is larger than its limit")]
    TooLarge,
    /// Messages must not be empty.
    #[error("the message is empty")]
    Empty,
    /// Too much is waiting for this peer.
    #[error("the send queue is full")]
    QueueFull,
    /// The datagram waited too long, or the peer takes none.
    #[error("the datagram was dropped")]
    Dropped,
}
