//! Why a session ends, and the rules that tests can switch off.

use ditto_crdt::DecodeError;
use ditto_types::wire::WireError;

use crate::peer::Lane;
use crate::store::SyncStoreError;
use crate::wire::dict::DictOverflow;

/// What ended a session.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("malformed message: {0}")]
    Malformed(#[from] WireError),
    #[error("malformed document: {0}")]
    Document(#[from] DecodeError),
    #[error("{0}")]
    Dictionary(#[from] DictOverflow),
    #[error("message of {0} bytes")]
    MessageTooLong(usize),
    #[error("{name} on the {lane:?} lane")]
    WrongLane { name: &'static str, lane: Lane },
    #[error("reference {0} is not in the dictionary")]
    Reference(u32),
    #[error("document of a collection that was not asked for")]
    Unasked,
    #[error("first and last marks of a commit do not match")]
    Framing,
    #[error("commit larger than {0} bytes")]
    CommitTooLarge(usize),
    #[error("staged commits are not supported")]
    Staged,
    #[error("subscription {0} exists already")]
    DuplicateSid(u32),
    #[error("more than {0} subscriptions")]
    TooManySubs(usize),
    #[error("query text does not fit its hash")]
    QueryHash,
    #[error("query text asked for twice")]
    QueryAskedTwice,
    #[error("{0} without a reason")]
    Unexpected(&'static str),
    #[error("listing not ascending")]
    ListOrder,
    #[error("more than {0} requested documents")]
    TooManyWants(usize),
    #[error("store made no progress in its changes")]
    StuckScan,
    #[error("requests were not answered in time")]
    WantTimeout,
    #[error("token {0} is not known here")]
    Token(u64),
    #[error(transparent)]
    Store(#[from] SyncStoreError),
}

/// Rules of `design.md` 2.5 that tests switch off to see that they are needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rule {
    /// R2: EVICT deletes cursors.
    EvictDeletesCursors,
    /// R2: ... of all subscriptions on the collection, not only those that the evicted copies matched.
    EvictAllQueries,
    /// R3: the sender looks beyond the view for keys that the receiver holds.
    Hints,
    /// R4: the receiver announces gains.
    Announce,
    /// R5: the receiver lists its own changes when it resumes.
    Own,
    /// R6: subscriptions leave LIVE on EVICT.
    EvictLeavesLive,
    /// A cursor moves only while no WANT is unanswered.
    WantsBlockCursor,
    /// Pushes that come before SUBST are announced like gains from elsewhere.
    Early,
    /// Pages from before an EVICT at the peer are no echo.
    EchoGeneration,
    /// `own_seq` waits for the confirmation of announcements.
    ConfirmOwn,
    /// A view that loses a document is told by a delta, which asks for its base.
    MoveOutDelta,
    /// EVICT at the sender makes receivers ask again.
    EvictRestarts,
    /// Tombstones are sent beyond the view.
    Tombs,
    /// Links that bring nothing new become lazy.
    Lazy,
    /// Links of the spanning tree are not given up.
    Tree,
    /// What a peer sent is not pushed back to it with what it was merged into.
    NothingReturns,
    /// A token waits for what was offered before it.
    OffersBlockToken,
    /// A fingerprint waits until the feed of commits has what arrived before it.
    RootWaits,
}
