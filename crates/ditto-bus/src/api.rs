//! What goes into the Bus machine and what comes out.

use ditto_mesh::PeerKey;

use crate::batch::Batch;
use crate::error::{BusError, OpenError, StreamEnd};

/// Bit that is set in every tag of [`Action::SendReliable`] and [`Action::SendDatagram`], so that answers of the mesh
/// can be told from those to other senders.
pub const TAG_BIT: u64 = 1 << 63;

/// Bit that is set in the ids of circuits that the Bus opens. Other services choose others.
pub const CIRCUIT_BIT: u64 = 1 << 56;

/// Guarantee of a message or stream (API-435).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reliability {
    /// It arrives at most once, in no order, or not at all. At most [`crate::MAX_UNRELIABLE`] bytes.
    Unreliable,
    /// It arrives in full, once and in order as long as the peer can be reached. At most [`crate::MAX_RELIABLE`] bytes.
    Reliable,
}

/// A message that arrived (API-438).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusMessage {
    /// Proven from end to end.
    pub sender: PeerKey,
    /// The payload, unchanged.
    pub data: Vec<u8>,
    /// How it was sent.
    pub reliability: Reliability,
}

/// What is known of a message that went out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Delivery {
    /// It left this device. Unreliable messages are not acknowledged.
    Transmitted,
    /// The peer's device has it; its app may not have read it.
    Acknowledged,
}

/// Name of a stream on this machine (API-443).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

impl StreamId {
    /// Whether the other end opened it: the ids of those are odd.
    pub fn is_incoming(self) -> bool {
        self.0 & 1 == 1
    }
}

/// What a stream has done. Counts include its whole life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamStats {
    /// Messages that were accepted for sending.
    pub messages_sent: u64,
    /// Their bytes.
    pub bytes_sent: u64,
    /// Messages that arrived.
    pub messages_received: u64,
    /// Their bytes.
    pub bytes_received: u64,
    /// Accepted messages that are not acknowledged, or not on the link if unreliable.
    pub messages_in_flight: usize,
    /// Their bytes.
    pub bytes_in_flight: usize,
    /// Unreliable messages that were shed before they left.
    pub dropped_outgoing: u64,
    /// Unreliable messages that arrived while too many waited for the app.
    pub dropped_incoming: u64,
    /// Milliseconds from sending to acknowledgement, smoothed; `None` before the first. Of an unreliable stream, the
    /// time that it took to open.
    pub round_trip: Option<u64>,
}

/// What the Bus is told.
#[derive(Clone, Debug)]
pub enum Input {
    /// Sends a single message. Answered by [`Action::Completed`] with the same id.
    Send {
        /// Chosen by the caller.
        id: u64,
        /// Any peer of the mesh.
        to: PeerKey,
        /// May be empty.
        data: Vec<u8>,
        /// How.
        reliability: Reliability,
    },
    /// Whether a send to a destination of whose sends with the same reliability one is not completed fails with
    /// [`BusError::SendBeforeCompletion`], as in the original (API-429), instead of waiting in line. Off at first.
    SetStrict(bool),
    /// Whether streams of others are accepted. Off at first: they are refused.
    SetAccepting(bool),
    /// Opens a stream. Answered by [`Action::Opened`] or [`Action::OpenFailed`].
    Open {
        /// Chosen by the caller: even, and not used before.
        stream: StreamId,
        /// Any peer of the mesh.
        to: PeerKey,
        /// For all its messages.
        reliability: Reliability,
        /// Tells the other end's app what it is for. At most [`crate::MAX_LABEL`] bytes; may be empty.
        label: String,
    },
    /// Makes one stream with a peer that asks for the same. Answered as [`Input::Open`]. Both ends have the time of
    /// [`BusConfig::open_timeout`] to ask.
    Meet {
        /// Chosen by the caller: even, and not used before.
        stream: StreamId,
        /// Any peer of the mesh.
        peer: PeerKey,
        /// The same at both ends.
        reliability: Reliability,
        /// The same at both ends. At most [`crate::MAX_LABEL`] bytes.
        label: String,
        /// Whether this end opens it: at exactly one of them. By agreement, the one with the smaller key.
        opens: bool,
    },
    /// Sends messages on an open stream. Answered by [`Action::Enqueued`] when the next may be sent.
    Enqueue {
        /// On which.
        stream: StreamId,
        /// What waits already; for nothing else.
        batch: Batch,
    },
    /// The app has taken messages that [`Action::Received`] brought: the other end may send as much more.
    Taken {
        /// From which stream.
        stream: StreamId,
        /// How many.
        messages: usize,
        /// What they stand for, as [`Batch::pop`] says.
        bytes: usize,
    },
    /// Closes a stream in both directions once what was accepted has been acknowledged, but after
    /// [`BusConfig::close_timeout`] in any case.
    Close {
        /// Which.
        stream: StreamId,
    },
    /// Closes a stream in both directions at once.
    Abort {
        /// Which.
        stream: StreamId,
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
        /// Why.
        reason: ditto_mesh::SendFailure,
    },
    /// What the mesh says about a circuit of the Bus: see [`crate::Bus::owns`] and [`crate::is_bus_purpose`]. Anything
    /// else is ignored.
    Circuit(ditto_mesh::Action),
    /// Time has passed.
    Tick,
}

/// What the Bus wants done, or reports.
#[derive(Clone, Debug, PartialEq)]
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
    /// For the mesh: something about a circuit.
    Circuit(ditto_mesh::Input),
    /// A single message arrived.
    Deliver(BusMessage),
    /// What became of a single message. Each id is answered once.
    Completed {
        /// Of the send.
        id: u64,
        /// How far it got.
        result: Result<Delivery, BusError>,
    },
    /// A stream of ours is open.
    Opened {
        /// Which.
        stream: StreamId,
    },
    /// A stream of ours was not opened. The last action about it.
    OpenFailed {
        /// Which.
        stream: StreamId,
        /// Why.
        reason: OpenError,
    },
    /// A peer has opened a stream to us.
    Incoming {
        /// Its name here.
        stream: StreamId,
        /// Who, proven from end to end.
        peer: PeerKey,
        /// Of all its messages.
        reliability: Reliability,
        /// What for, as its app says.
        label: String,
    },
    /// Messages were accepted, and the next may be enqueued; or they were not.
    Enqueued {
        /// On which stream.
        stream: StreamId,
        /// The number of the last. The first of a stream is 1.
        result: Result<u64, BusError>,
    },
    /// Accepted messages are settled: acknowledged, or if unreliable on the link or shed. Every accepted message is
    /// settled once unless the stream ends before. See [`crate::SendWindow`].
    Settled {
        /// Of which stream.
        stream: StreamId,
        /// How many.
        messages: usize,
        /// Their bytes.
        bytes: usize,
    },
    /// Messages arrived. Answer with [`Input::Taken`] once the app has them, or some of them.
    Received {
        /// On which stream.
        stream: StreamId,
        /// What.
        batch: Batch,
    },
    /// The other end has every message up to this number (API-452). Of reliable streams only. Always grows.
    Acknowledged {
        /// Of which stream.
        stream: StreamId,
        /// The last message that it has.
        sequence: u64,
    },
    /// A stream has ended: the last action about it, exactly once.
    Closed {
        /// Which.
        stream: StreamId,
        /// Why.
        reason: StreamEnd,
    },
    /// A peer broke the protocol and should be disconnected.
    Violation {
        /// Who.
        peer: PeerKey,
        /// What it did.
        reason: String,
    },
}

/// Limits. Sizes in bytes, times in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusConfig {
    /// Single messages that may wait for one destination.
    pub max_queued_messages: usize,
    /// Bytes of single messages that may wait for one destination.
    pub max_queued_bytes: usize,
    /// How long fragments wait for the others.
    pub reassembly_timeout: u64,
    /// Bytes of incomplete messages of one peer or stream.
    pub max_reassembly_per_peer: usize,
    /// Bytes of incomplete messages in all.
    pub max_reassembly: usize,
    /// How long a stream may take to open.
    pub open_timeout: u64,
    /// How long a stream that closes waits for acknowledgements.
    pub close_timeout: u64,
    /// Bytes of a stream that are accepted and not acknowledged. A single larger message is accepted alone.
    pub stream_window: usize,
    /// Messages of an unreliable stream that wait for the app.
    pub max_held_messages: usize,
    /// Bytes of an unreliable stream that wait for the app.
    pub max_held_bytes: usize,
    /// How old an unreliable message may be when it leaves.
    pub datagram_age: u64,
    /// How long a reliable single message waits for its acknowledgement.
    pub single_timeout: u64,
    /// How long the circuit of single messages to a peer that is no neighbour outlives the last one.
    pub single_linger: u64,
}

impl Default for BusConfig {
    fn default() -> Self {
        Self {
            max_queued_messages: 64,
            max_queued_bytes: 4 << 20,
            reassembly_timeout: 5_000,
            max_reassembly_per_peer: 1 << 20,
            max_reassembly: 8 << 20,
            open_timeout: 10_000,
            close_timeout: 5_000,
            stream_window: 512 << 10,
            max_held_messages: 1_024,
            max_held_bytes: 1 << 20,
            datagram_age: 100,
            single_timeout: 30_000,
            single_linger: 30_000,
        }
    }
}
