//! What goes into the Bus machine and what comes out.

use ditto_mesh::{PeerKey, SendFailure};

/// Bit that is set in every tag of [`Action::SendReliable`] and [`Action::SendDatagram`], so that answers of the mesh
/// can be told from those to other senders.
pub const TAG_BIT: u64 = 1 << 63;

/// Guarantee of a message (API-435).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reliability {
    /// It arrives at most once, in no order, or not at all. At most [`crate::MAX_UNRELIABLE`] bytes.
    Unreliable,
    /// It arrives in full and in order as long as the peer stays connected. At most [`crate::MAX_RELIABLE`] bytes.
    Reliable,
}

/// A message that arrived (API-438).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusMessage {
    /// Proven by the link.
    pub sender: PeerKey,
    /// The payload, unchanged.
    pub data: Vec<u8>,
    /// How it was sent.
    pub reliability: Reliability,
}

/// What the Bus is told.
#[derive(Clone, Debug)]
pub enum Input {
    /// Sends a message. Answered by [`Action::Completed`] with the same id.
    Send {
        /// Chosen by the caller.
        id: u64,
        /// A directly connected peer.
        to: PeerKey,
        /// May be empty.
        data: Vec<u8>,
        /// How.
        reliability: Reliability,
    },
    /// The mesh has a session with a peer.
    PeerConnected(PeerKey),
    /// The session ended. The mesh has failed every send before.
    PeerDisconnected(PeerKey),
    /// The mesh delivered a message of the Bus lane.
    Message {
        /// From whom.
        peer: PeerKey,
        /// What.
        bytes: Vec<u8>,
    },
    /// The mesh delivered a datagram.
    Datagram {
        /// From whom.
        peer: PeerKey,
        /// What.
        bytes: Vec<u8>,
    },
    /// The mesh transmitted something of ours. Tags without [`TAG_BIT`] are ignored.
    Transmitted {
        /// Of the send.
        tag: u64,
    },
    /// The mesh did not. Tags without [`TAG_BIT`] are ignored.
    SendFailed {
        /// Of the send.
        tag: u64,
        /// The text of a [`SendFailure`].
        reason: String,
    },
    /// Time has passed.
    Tick,
}

/// What the Bus wants done, or reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// For the mesh: send on the Bus lane.
    SendReliable {
        /// To whom.
        peer: PeerKey,
        /// What.
        bytes: Vec<u8>,
        /// For the answer.
        tag: u64,
    },
    /// For the mesh: send a datagram.
    SendDatagram {
        /// To whom.
        peer: PeerKey,
        /// At most [`ditto_mesh::MAX_DATAGRAM`] bytes.
        bytes: Vec<u8>,
        /// For the answer.
        tag: u64,
    },
    /// A message arrived.
    Deliver(BusMessage),
    /// What became of a message. Each id is answered once.
    Completed {
        /// Of the send.
        id: u64,
        /// `Ok` when it was transmitted: acknowledged by the peer's frame layer if reliable, put on the link if not.
        result: Result<(), BusError>,
    },
    /// A peer broke the protocol and should be disconnected.
    Violation {
        /// Who.
        peer: PeerKey,
        /// What it did.
        reason: String,
    },
}

/// Why a message was not transmitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BusError {
    /// The peer is not directly connected.
    #[error("the peer is not connected")]
    PeerNotConnected,
    /// The message is larger than its kind allows.
    #[error("the message has {size} bytes, the limit is {limit}")]
    PayloadTooLarge {
        /// Its size in bytes.
        size: usize,
        /// The limit of its kind in bytes.
        limit: usize,
    },
    /// Too many messages wait for this peer.
    #[error("too many messages wait for the peer")]
    QueueFull,
    /// The message, or a part of it, waited too long and was dropped. Unreliable messages only.
    #[error("the message was dropped")]
    Dropped,
    /// The peer was disconnected before it acknowledged the message. It may have received it.
    #[error("the peer was disconnected")]
    Disconnected,
}

impl BusError {
    /// Reads the text of a [`SendFailure`]. Text that is none counts as a drop.
    pub(crate) fn from_reason(reason: &str) -> Self {
        let is = |f: SendFailure| f.to_string() == reason;
        if is(SendFailure::NotConnected) {
            BusError::PeerNotConnected
        } else if is(SendFailure::Disconnected) {
            BusError::Disconnected
        } else if is(SendFailure::QueueFull) {
            BusError::QueueFull
        } else {
            BusError::Dropped
        }
    }
}

/// Limits. Sizes in bytes, times in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusConfig {
    /// Messages that may wait for one destination.
    pub max_queued_messages: usize,
    /// Bytes that may wait for one destination.
    pub max_queued_bytes: usize,
    /// How long fragments wait for the others.
    pub reassembly_timeout: u64,
    /// Bytes of incomplete messages of one peer.
    pub max_reassembly_per_peer: usize,
    /// Bytes of incomplete messages of all peers.
    pub max_reassembly: usize,
}

impl Default for BusConfig {
    fn default() -> Self {
        Self {
            max_queued_messages: 64,
            max_queued_bytes: 4 << 20,
            reassembly_timeout: 5_000,
            max_reassembly_per_peer: 1 << 20,
            max_reassembly: 8 << 20,
        }
    }
}
