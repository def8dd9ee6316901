//! What goes into the exchange and what comes out.

use ditto_types::BlobId;

use super::chunks::ChunkSet;
use crate::peer::PeerId;

/// A blob. A wrong length names another blob, of which there is no content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobName {
    /// Hash of its bytes.
    pub id: BlobId,
    /// Their number.
    pub len: u64,
}

/// A line to a peer. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LineId(pub u64);

/// A fetch of the app. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FetchId(pub u64);

/// What a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineKind {
    /// The blobs lane of the session with a neighbour.
    Direct,
    /// A circuit that [`BlobAction::OpenCircuit`] asked for.
    Outgoing,
    /// A circuit that the peer has opened.
    Incoming,
}

/// What the exchange is told.
#[derive(Clone, Debug)]
pub enum BlobInput<E> {
    /// A line is there.
    LineUp {
        /// Its name.
        line: LineId,
        /// To whom, proven.
        peer: PeerId,
        /// What it is.
        kind: LineKind,
    },
    /// A line is gone, and with it everything that was sent and not received.
    LineDown {
        /// Which.
        line: LineId,
    },
    /// A circuit was not opened, for whatever reason.
    CircuitFailed {
        /// To whom.
        peer: PeerId,
    },
    /// A message arrived.
    Message {
        /// On which line.
        line: LineId,
        /// What.
        bytes: Vec<u8>,
    },
    /// So many bytes wait on a line now.
    Queued {
        /// Which.
        line: LineId,
        /// How many.
        bytes: usize,
    },
    /// The app wants a blob.
    Fetch {
        /// Name of the fetch.
        fetch: FetchId,
        /// What.
        name: BlobName,
        /// Gives up after this time, in milliseconds.
        timeout: Option<u64>,
        /// Gives up once peers are there and none of all that could be asked has had any of it for this time, in
        /// milliseconds.
        unavailable_after: Option<u64>,
    },
    /// The app does not want it any more. Answered by [`BlobAction::Ended`], unless it has ended.
    Cancel {
        /// Which fetch.
        fetch: FetchId,
    },
    /// The answer to [`BlobAction::Load`]: what was here already.
    Loaded {
        /// Of which blob.
        name: BlobName,
        /// Its chunks; an error ends its fetches.
        have: Result<ChunkSet, E>,
    },
    /// A blob has come to be here by other means. Peers that want it are told.
    Appeared {
        /// Which.
        name: BlobName,
    },
    /// The app asks who has a blob. Answered by [`BlobAction::Located`].
    Locate {
        /// Name of the question, chosen by the app.
        question: u64,
        /// Which blob.
        name: BlobName,
        /// How long answers are waited for, in milliseconds.
        patience: u64,
    },
    /// Time has passed; see [`super::BlobExchange::next_deadline`].
    Tick,
}

/// What the exchange wants done, or reports.
#[derive(Clone, Debug, PartialEq)]
pub enum BlobAction<E> {
    /// Send a message.
    Send {
        /// On which line.
        line: LineId,
        /// What.
        bytes: Vec<u8>,
    },
    /// Open a circuit to a peer. Answered by [`BlobInput::LineUp`] or [`BlobInput::CircuitFailed`].
    OpenCircuit {
        /// To whom.
        peer: PeerId,
    },
    /// Close a circuit. Answered by [`BlobInput::LineDown`].
    CloseLine {
        /// Which.
        line: LineId,
    },
    /// A peer broke the protocol: close the line, and the session if it is one. Answered by [`BlobInput::LineDown`].
    Violation {
        /// On which line.
        line: LineId,
        /// For the log.
        reason: String,
    },
    /// A peer has sent a chunk that does not belong to the blob; it is not asked for it any more.
    Distrusted {
        /// Who.
        peer: PeerId,
        /// Which blob.
        name: BlobName,
    },
    /// Read what is here of a blob and make it ready for [`super::BlobStore::put`]. Answered by [`BlobInput::Loaded`].
    Load {
        /// Which.
        name: BlobName,
    },
    /// No more chunks of the blob are put, until the next [`BlobAction::Load`].
    Unload {
        /// Which.
        name: BlobName,
    },
    /// More of a blob is here.
    Progress {
        /// Which fetch.
        fetch: FetchId,
        /// Bytes of it that are here.
        bytes: u64,
    },
    /// A fetch has ended: the last action about it, exactly once.
    Ended {
        /// Which.
        fetch: FetchId,
        /// How.
        end: FetchEnd<E>,
    },
    /// The answer to [`BlobInput::Locate`].
    Located {
        /// Which question.
        question: u64,
        /// Who has the blob or some of it, without us; at most 32.
        holders: Vec<BlobHolder>,
    },
}

/// How a fetch ended.
#[derive(Clone, Debug, PartialEq)]
pub enum FetchEnd<E> {
    /// All of it is here.
    Completed,
    /// The app has cancelled it.
    Cancelled,
    /// Its time is over.
    TimedOut,
    /// Nobody who can be asked has it.
    Unavailable,
    /// It could not be kept.
    Failed(E),
}

/// A peer that has a blob or some of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobHolder {
    /// Who.
    pub peer: PeerId,
    /// Whether it has all of it.
    pub whole: bool,
    /// How many hops away.
    pub hops: u8,
}
