//! Why messages and streams fail, and how streams end.

use ditto_mesh::{CircuitEnd, SendFailure};

use crate::envelope::{CODE_ABORTED, CODE_BUSY, CODE_CLOSED, CODE_NO_SERVICE, CODE_REFUSED};

/// Why a message was not transmitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BusError {
    /// The peer is not in the mesh, or no route of at most eight hops leads to it.
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
    /// The send before it is not completed (API-429).
    #[error("the message before is not sent yet")]
    SendBeforeCompletion,
    /// The message, or a part of it, waited too long and was dropped. Unreliable messages only.
    #[error("the message was dropped")]
    Dropped,
    /// The peer was disconnected before it acknowledged the message. It may have received it.
    #[error("the peer was disconnected")]
    Disconnected,
    /// The peer did not acknowledge the message in time. It may have received it.
    #[error("the peer did not acknowledge the message in time")]
    TimedOut,
    /// The stream is closed, or was not open.
    #[error("the stream is closed")]
    StreamClosed,
}

impl From<SendFailure> for BusError {
    fn from(e: SendFailure) -> Self {
        match e {
            SendFailure::NotConnected => BusError::PeerNotConnected,
            SendFailure::Disconnected => BusError::Disconnected,
            SendFailure::QueueFull => BusError::QueueFull,
            _ => BusError::Dropped,
        }
    }
}

/// Why a stream was not opened (API-456).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The peer is not in the mesh, or no route of at most eight hops leads to it.
    #[error("there is no route to the peer")]
    NoRoute,
    /// The peer's app takes no streams.
    #[error("the peer's app takes no streams")]
    Refused,
    /// No answer came in time.
    #[error("the peer did not answer in time")]
    TimedOut,
    /// Too many streams, here, there or on the way.
    #[error("too many streams")]
    Capacity,
    /// Whoever answered did not prove the peer's key and membership, or broke the rules.
    #[error("the other end did not prove that it is the peer")]
    Untrusted,
    /// The route was lost before the peer answered.
    #[error("the connection to the peer was lost")]
    Lost,
    /// Sync was stopped or the instance closed.
    #[error("sync was stopped")]
    Stopped,
    /// The opener closed it before it was open.
    #[error("the stream was closed before it was open")]
    Cancelled,
    /// The label has more than [`crate::MAX_LABEL`] bytes.
    #[error("the label has more than 128 bytes")]
    LabelTooLong,
    /// The id is in use, or odd.
    #[error("the stream id is not allowed")]
    BadId,
}

impl From<CircuitEnd> for OpenError {
    fn from(end: CircuitEnd) -> Self {
        match end {
            CircuitEnd::NoRoute | CircuitEnd::Refused => OpenError::NoRoute,
            CircuitEnd::Remote(CODE_REFUSED | CODE_NO_SERVICE) => OpenError::Refused,
            CircuitEnd::Remote(CODE_BUSY) | CircuitEnd::Capacity => OpenError::Capacity,
            CircuitEnd::Untrusted | CircuitEnd::Violation => OpenError::Untrusted,
            CircuitEnd::Stopped => OpenError::Stopped,
            CircuitEnd::BadId => OpenError::BadId,
            _ => OpenError::Lost,
        }
    }
}

/// How a stream ended (API-453).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StreamEnd {
    /// We closed it (API-458).
    #[error("the stream was closed by this device")]
    ClosedByLocal,
    /// The other end closed it (API-457).
    #[error("the stream was closed by the other device")]
    ClosedByRemote,
    /// The peer could not be reached any more (API-459).
    #[error("the stream failed: {0}")]
    Failed(StreamFailure),
}

/// Why a stream failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StreamFailure {
    /// The route was lost, and none was found in time.
    #[error("the connection to the peer was lost")]
    Lost,
    /// Sync was stopped or the instance closed.
    #[error("sync was stopped")]
    Stopped,
    /// The other end broke the rules, or could not prove who it is on a new route.
    #[error("the other end broke the protocol")]
    Violation,
}

impl From<CircuitEnd> for StreamEnd {
    fn from(end: CircuitEnd) -> Self {
        match end {
            CircuitEnd::Local => StreamEnd::ClosedByLocal,
            CircuitEnd::Remote(CODE_CLOSED | CODE_ABORTED) => StreamEnd::ClosedByRemote,
            CircuitEnd::Stopped => StreamEnd::Failed(StreamFailure::Stopped),
            CircuitEnd::Remote(_) | CircuitEnd::Untrusted | CircuitEnd::Violation => {
                StreamEnd::Failed(StreamFailure::Violation)
            }
            _ => StreamEnd::Failed(StreamFailure::Lost),
        }
    }
}
