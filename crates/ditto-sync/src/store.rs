//! What replication needs from a store.

use std::fmt;
use std::sync::Arc;

use ditto_crdt::{CanonicalDoc, DictWriter, Doc, VersionVector};
use ditto_types::{Digest, DocId, HashKey, KeyHash, Object};
use smol_str::SmolStr;

use crate::peer::PeerId;

/// The store failed. The text is for a log line; the engine ends the session that ran into it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("store: {0}")]
pub struct SyncStoreError(pub String);

/// Which store this is, and which continuous stretch of its sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreIdentity {
    /// Random bytes of the database.
    pub store_id: [u8; 16],
    /// Renewed whenever the commit sequence may have gone back.
    pub epoch: [u8; 8],
}

/// A document as the store holds it, alive or dead.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredDoc {
    /// Collection of the document.
    pub collection: SmolStr,
    /// Its id.
    pub id: DocId,
    /// Its short name.
    pub key: KeyHash,
    /// Digest of `doc`.
    pub digest: Digest,
    /// Commit that changed it last.
    pub seq: u64,
    /// Its state.
    pub doc: Doc,
}

/// Part of the changes after a token, in the order of their commits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChangePage {
    /// Changed documents that match the query, and dead ones of its collection.
    pub docs: Vec<StoredDoc>,
    /// Changed documents of the collection that are alive and do not match.
    pub others: Vec<(KeyHash, Digest)>,
    /// Every change up to this commit is on this page or an earlier one.
    pub scanned_to: u64,
    /// Whether this is the last page.
    pub done: bool,
}

/// A document of a view, as [`SyncStore::newest`] lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Newest {
    /// Commit that changed it last.
    pub seq: u64,
    /// Its short name.
    pub key: KeyHash,
    /// Digest of its state.
    pub digest: Digest,
    /// About as many bytes as its state takes.
    pub bytes: usize,
}

/// Part of a view, in the store's own order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ViewPage {
    /// Documents that are alive and match.
    pub docs: Vec<ViewDoc>,
    /// Where the next page starts; `None` at the end. Only the store knows what the number means.
    pub next: Option<u64>,
}

/// A document of a view, encoded for whoever asked.
#[derive(Clone, Debug, PartialEq)]
pub struct ViewDoc {
    /// Its id.
    pub id: DocId,
    /// Its short name.
    pub key: KeyHash,
    /// Digest of its state.
    pub digest: Digest,
    /// What [`ditto_crdt::encode`] gives with the dictionary of the caller.
    pub body: Vec<u8>,
}

/// Names a receiver-held cursor (`design.md` 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CursorKey {
    /// The sender's store.
    pub store_id: [u8; 16],
    /// The sender's epoch.
    pub epoch: [u8; 8],
    /// [`crate::query_hash`] of the subscription.
    pub query_hash: [u8; 16],
    /// Hash of the read permission; all zero while there are no permissions.
    pub perm_hash: [u8; 8],
}

/// How far the receiver is with one subscription at one sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The sender's token: everything up to it is here.
    pub token: u64,
    /// This store's own sequence: every change up to it is known to the sender.
    pub own_seq: u64,
}

/// A cursor row to write with a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CursorWrite {
    /// Which row.
    pub key: CursorKey,
    /// Collection of the query. EVICT on it deletes the row in the same commit (rule R2).
    pub collection: SmolStr,
    /// The row's value.
    pub cursor: Cursor,
}

/// A state that a peer sent for one document.
#[derive(Clone, Debug, PartialEq)]
pub enum ItemBody {
    /// The whole state.
    Full(CanonicalDoc),
    /// What is newer than `base`. Merged only if the local version vector covers `base` (rule D4).
    Delta {
        /// The sender's version vector before the delta.
        base: VersionVector,
        /// The newer parts.
        doc: Doc,
    },
    /// The whole state of a deleted document. Not stored if the document was never held.
    Tomb(Doc),
}

/// One document of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct ApplyItem {
    /// Collection of the document.
    pub collection: SmolStr,
    /// Its id.
    pub id: DocId,
    /// What the peer sent.
    pub body: ItemBody,
}

/// One commit of received data. Items and cursors are written in one transaction.
#[derive(Clone, Debug, PartialEq)]
pub struct ApplyBatch {
    /// The peer it came from; becomes [`LocalCommit::source`].
    pub source: PeerId,
    /// Documents to merge.
    pub items: Vec<ApplyItem>,
    /// Cursor rows to write.
    pub cursors: Vec<CursorWrite>,
    /// Cursor rows to delete.
    pub delete_cursors: Vec<CursorKey>,
    /// The last commit that the engine has been told of. A row of `cursors` must be left out if its
    /// collection was evicted by a later commit: that EVICT deleted the row, and the engine, which does not
    /// know yet, must not bring it back (rules R2 and R6).
    pub seen_seq: u64,
}

/// Why a store refuses an item. The numbers are on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum RefusalCode {
    /// A stamp is too far in the future.
    Future,
    /// The document would exceed the size limit.
    TooLarge,
    /// The peer may not write the document.
    NotWritable,
    /// The document was deleted long ago and only its gravestone is left.
    Gravestone,
    /// Anything else.
    Other,
}

/// What became of one item.
#[derive(Clone, Debug, PartialEq)]
pub enum ItemOutcome {
    /// Merged, which changed the local state. It may know more than the peer; the engine compares digests.
    Changed {
        /// Digest after the merge.
        digest: Digest,
    },
    /// Everything in it was known, and nothing more.
    Unchanged {
        /// Digest of the local state.
        digest: Digest,
    },
    /// Everything in it was known, and the local state knows more than the peer.
    LocalNewer {
        /// Digest of the local state.
        digest: Digest,
    },
    /// The delta does not fit onto the local state, which has this version vector.
    NeedsBase {
        /// Version vector of the local state.
        vv: VersionVector,
    },
    /// Not merged.
    Refused(RefusalCode),
    /// A tombstone of a document that was never held.
    NotHeld,
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct ApplyOutcome {
    /// The head after it.
    pub seq: u64,
    /// One entry per item, in order.
    pub items: Vec<ItemOutcome>,
}

/// A commit of the local store, as it is published after it became durable.
#[derive(Clone, Debug)]
pub struct LocalCommit {
    /// Its place in the store's sequence. Commits arrive in this order and each once.
    pub seq: u64,
    /// The peer whose batch it was; `None` for a local write.
    pub source: Option<PeerId>,
    /// Documents it changed.
    pub changes: Vec<LocalChange>,
    /// Collections from which it evicted documents.
    pub evicted_collections: Vec<SmolStr>,
}

/// One changed document of a commit.
#[derive(Clone, Debug)]
pub struct LocalChange {
    /// Collection of the document.
    pub collection: SmolStr,
    /// Its short name.
    pub key: KeyHash,
    /// Digest of the new state.
    pub digest: Digest,
    /// State before; `None` if it was not held.
    pub old: Option<Arc<Doc>>,
    /// Whether the state after is alive; `None` if the document was evicted.
    pub alive: Option<bool>,
    /// The rest of all changes of the commit, which is rarely needed.
    pub states: Arc<dyn ChangedStates>,
    /// The number of this one there.
    pub index: usize,
}

impl LocalChange {
    /// Id of the document.
    pub fn id(&self) -> &DocId {
        self.states.id(self.index)
    }

    /// State after; `None` if it was evicted.
    pub fn new_state(&self) -> Option<&Arc<Doc>> {
        self.states.new_state(self.index)
    }

    /// What the commit added.
    pub fn delta(&self) -> &Arc<Doc> {
        self.states.delta(self.index)
    }

    /// Version vector of the state before.
    pub fn base(&self) -> &Arc<VersionVector> {
        self.states.base(self.index)
    }
}

/// Changed documents of a commit, put together when somebody asks.
pub trait ChangedStates: fmt::Debug + Send + Sync {
    /// As [`LocalChange::id`].
    fn id(&self, index: usize) -> &DocId;
    /// As [`LocalChange::new_state`].
    fn new_state(&self, index: usize) -> Option<&Arc<Doc>>;
    /// As [`LocalChange::delta`].
    fn delta(&self, index: usize) -> &Arc<Doc>;
    /// As [`LocalChange::base`].
    fn base(&self, index: usize) -> &Arc<VersionVector>;
}

/// The store below the replication engine. All methods may block shortly; none may call the engine back.
///
/// The engine learns of commits through [`crate::Input::Commit`], later than the store made them. It takes
/// `head()` only once, when it is made: the feed of commits must start no later than that.
pub trait SyncStore {
    /// A compiled subscription query.
    type Query: Clone;

    /// Which store this is.
    fn identity(&self) -> StoreIdentity;
    /// Sequence of the newest commit.
    fn head(&self) -> u64;
    /// The key of the document hashes.
    fn hash_key(&self) -> &HashKey;
    /// Compiles a subscription.
    fn compile(&self, text: &str, args: &Object) -> Result<Self::Query, SyncStoreError>;
    /// Collection that the query reads.
    fn collection<'q>(&self, query: &'q Self::Query) -> &'q str;
    /// Whether every live document of the collection matches.
    fn is_whole_collection(&self, query: &Self::Query) -> bool;

    /// Whether documents of the collection may be sent to others. It may change at any time, and then counts for later commits.
    /// What others send is taken all the same.
    fn shares(&self, _collection: &str) -> bool {
        true
    }
    /// The queries that a changed document can concern, for [`SyncStore::is_listed`]. A store that keeps an index over
    /// the conditions of its compiled queries spares the engine asking each of them.
    fn shortlist(&self, _change: &LocalChange) -> Vec<u64> {
        Vec::new()
    }
    /// Whether a query is in the list made for a change. One that is not matches neither state of the document.
    fn is_listed(&self, _query: &Self::Query, _list: &[u64]) -> bool {
        true
    }
    /// Whether a document is alive and matches.
    fn matches(&self, query: &Self::Query, collection: &str, id: &DocId, doc: &Doc) -> bool;
    /// Changes after commit `after`, in commit order.
    fn changes(
        &self,
        query: &Self::Query,
        after: u64,
        max_docs: usize,
        max_bytes: usize,
    ) -> Result<ChangePage, SyncStoreError>;
    /// Calls `each` with key and digest of every live matching document, in any order, as of one commit, whose
    /// sequence is returned.
    fn scan_view(
        &self,
        query: &Self::Query,
        each: &mut dyn FnMut(KeyHash, Digest),
    ) -> Result<u64, SyncStoreError>;
    /// Whether the first load of a subscription brings only a part of what matches (LIMIT). Later changes of everything that
    /// matches are sent all the same.
    fn is_bounded(&self, _query: &Self::Query) -> bool {
        false
    }
    /// As [`SyncStore::scan_view`], of the documents that a first load brings.
    fn first_view(
        &self,
        query: &Self::Query,
        each: &mut dyn FnMut(KeyHash, Digest),
    ) -> Result<u64, SyncStoreError> {
        self.scan_view(query, each)
    }
    /// Number of live matching documents, if the store knows without looking at them.
    fn count(&self, query: &Self::Query) -> Result<Option<u64>, SyncStoreError>;
    /// Live matching documents that a first load brings behind `after`, encoded with `dict`. Every document that is in the view from before the
    /// first page until after the last one is on one page; others may be.
    fn view_page(
        &self,
        query: &Self::Query,
        after: Option<u64>,
        limits: (usize, usize),
        dict: &mut dyn DictWriter,
    ) -> Result<ViewPage, SyncStoreError>;
    /// One document, alive or dead.
    fn load(&self, key: KeyHash) -> Result<Option<StoredDoc>, SyncStoreError>;
    /// Live matching documents changed after commit `after`; `None` if there are more than `limit`.
    fn own_changes(
        &self,
        query: &Self::Query,
        after: u64,
        limit: usize,
    ) -> Result<Option<Vec<(KeyHash, Digest)>>, SyncStoreError>;
    /// The live matching documents that changed last, the newest commit first, about `limit` at most. A store may stop earlier.
    fn newest(&self, query: &Self::Query, limit: usize) -> Result<Vec<Newest>, SyncStoreError>;
    /// A cursor row.
    fn cursor(&self, key: &CursorKey) -> Result<Option<Cursor>, SyncStoreError>;
    /// Deletes the rows of a query for all senders.
    fn delete_cursors(&self, query_hash: [u8; 16]) -> Result<(), SyncStoreError>;
    /// Merges a batch. If it changes no document it uses no sequence number, but cursors are still written.
    fn apply(&self, batch: ApplyBatch) -> Result<ApplyOutcome, SyncStoreError>;
}
