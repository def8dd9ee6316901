//! What sync asks of a store: types of the replication side. The reading half is in `scan`, the writing half in
//! `apply`.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use ditto_crdt::{CanonicalDoc, Doc, VersionVector};
use ditto_dql::{Matcher, SelectPlan};
use ditto_types::{Digest, DocId, KeyHash, SmolStr};

use crate::row::DocRow;

/// A subscription's query, ready to be matched. As long as it lives, the store counts it among those that a change can
/// [concern](crate::Store::concerned).
pub struct CompiledQuery {
    pub(crate) plan: SelectPlan,
    collection: String,
    id: u64,
    subscriptions: Arc<Subscriptions>,
    /// Of LIMIT: the rows of the first load that began last.
    first: Mutex<Arc<[i64]>>,
}

/// The conditions of all compiled subscriptions, those of peers among them, and the number of the newest one.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions(RwLock<(Matcher, u64)>);

impl Subscriptions {
    pub(crate) fn add(self: &Arc<Self>, plan: SelectPlan) -> CompiledQuery {
        let collection = plan.collections().next().map(ToString::to_string).unwrap_or_default();
        let mut inner = self.0.write().unwrap_or_else(PoisonError::into_inner);
        inner.1 += 1;
        let id = inner.1;
        inner.0.insert(id, plan.watches());
        CompiledQuery { plan, collection, id, subscriptions: self.clone(), first: Mutex::default() }
    }

    /// The queries that can match one of the states of a document, ascending.
    pub(crate) fn concerned<'d>(
        &self,
        collection: &str,
        id: &DocId,
        states: impl Iterator<Item = &'d Doc>,
    ) -> Vec<u64> {
        let inner = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut found = Vec::new();
        for doc in states.filter(|d| d.is_alive()) {
            inner.0.candidates(collection, &DocRow::new(id, doc), &mut found);
        }
        Matcher::in_order(&mut found);
        found
    }
}

impl Drop for CompiledQuery {
    fn drop(&mut self) {
        self.subscriptions.0.write().unwrap_or_else(PoisonError::into_inner).0.remove(self.id);
    }
}

impl CompiledQuery {
    /// Whether it is among the queries that [`Store::concerned`](crate::Store::concerned) gave.
    pub fn is_in(&self, concerned: &[u64]) -> bool {
        concerned.binary_search(&self.id).is_ok()
    }

    /// Name of the collection; one of the system has `system:` in front, so that no document is ever in it.
    pub fn collection(&self) -> &str {
        &self.collection
    }

    /// Whether every document of the collection matches.
    pub fn is_whole_collection(&self) -> bool {
        self.plan.is_whole_collection()
    }

    /// Whether its LIMIT or OFFSET bound the first load.
    pub fn is_bounded(&self) -> bool {
        self.plan.is_cut()
    }

    /// The rows of the first load that began last, ascending.
    pub(crate) fn first_rows(&self) -> Arc<[i64]> {
        self.first.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_first_rows(&self, rows: Arc<[i64]>) {
        *self.first.lock().unwrap_or_else(PoisonError::into_inner) = rows;
    }

    /// Whether a document is alive and matches. One on which the condition cannot be evaluated does not match.
    pub fn matches(&self, id: &DocId, doc: &Doc) -> bool {
        doc.is_alive() && (self.is_whole_collection() || plan_matches(&self.plan, id, doc))
    }
}

impl fmt::Debug for CompiledQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompiledQuery").field("collection", &self.collection()).finish_non_exhaustive()
    }
}

pub(crate) fn plan_matches(plan: &SelectPlan, id: &DocId, doc: &Doc) -> bool {
    plan.matches(&DocRow::new(id, doc)).unwrap_or_else(|e| {
        tracing::debug!(error = %e, "a query condition cannot be evaluated on a document");
        false
    })
}

/// A document as the store holds it, dead or alive.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredDoc {
    /// Its collection.
    pub collection: SmolStr,
    /// Its id.
    pub id: DocId,
    /// Hash of collection and id.
    pub key: KeyHash,
    /// Digest of its state.
    pub digest: Digest,
    /// Commit of its last change.
    pub seq: u64,
    /// Its state.
    pub doc: Doc,
}

/// Changes of a collection after some commit.
#[derive(Clone, Debug, Default)]
pub struct ChangePage {
    /// Documents in the view, and deleted ones, in the order of their commits.
    pub docs: Vec<StoredDoc>,
    /// Changed documents that are alive and do not match.
    pub others: Vec<(KeyHash, Digest)>,
    /// Every change up to and including this commit is in this page or an earlier one.
    pub scanned_to: u64,
    /// Whether `scanned_to` is the newest commit of the snapshot that was read.
    pub done: bool,
}

/// A document of a view and when it changed last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Newest {
    /// Commit of its last change.
    pub seq: u64,
    /// Hash of collection and id.
    pub key: KeyHash,
    /// Digest of its state.
    pub digest: Digest,
    /// Bytes of its stored form.
    pub bytes: usize,
}

/// A part of a view in the order of the rows.
#[derive(Clone, Debug, Default)]
pub struct ViewPage {
    /// Documents that are alive and match.
    pub docs: Vec<ViewDoc>,
    /// Where to go on; `None` at the end.
    pub next: Option<u64>,
}

/// A document of a view, encoded with the dictionary of whoever asked.
#[derive(Clone, Debug, PartialEq)]
pub struct ViewDoc {
    /// Its id.
    pub id: DocId,
    /// Hash of collection and id.
    pub key: KeyHash,
    /// Digest of its state.
    pub digest: Digest,
    /// What [`ditto_crdt::encode`] gives with that dictionary.
    pub body: Vec<u8>,
}

/// Names a cursor: whose changes, under which query and permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CursorKey {
    /// Store of the sender.
    pub store_id: [u8; 16],
    /// Epoch of the sender's sequence.
    pub epoch: [u8; 8],
    /// Hash of query and arguments.
    pub query_hash: [u8; 16],
    /// Hash of the permission.
    pub perm_hash: [u8; 8],
}

/// How far this store has followed a sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The sender's token.
    pub token: u64,
    /// This store's newest commit when the token was taken.
    pub own_seq: u64,
}

/// A cursor to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CursorWrite {
    /// Which one.
    pub key: CursorKey,
    /// Collection of its query; an EVICT there deletes it.
    pub collection: SmolStr,
    /// Its value.
    pub cursor: Cursor,
}

/// Documents and cursors that arrived together; they are committed together.
#[derive(Clone, Debug, Default)]
pub struct ApplyBatch {
    /// Key of the peer that sent them.
    pub source: Vec<u8>,
    /// The documents.
    pub items: Vec<ApplyItem>,
    /// Cursors to write.
    pub cursors: Vec<CursorWrite>,
    /// Cursors that no longer hold.
    pub delete_cursors: Vec<CursorKey>,
    /// The newest commit that the caller knew when it made up `cursors`. Cursors on collections that had documents
    /// evicted since are not written: the EVICT deleted them, and they claim what is gone.
    pub seen_seq: u64,
}

/// One document of a batch.
#[derive(Clone, Debug)]
pub struct ApplyItem {
    /// Its collection.
    pub collection: SmolStr,
    /// Its id.
    pub id: DocId,
    /// Its state or a part of it.
    pub body: ItemBody,
}

/// What was sent of a document.
#[derive(Clone, Debug)]
pub enum ItemBody {
    /// The whole state.
    Full(CanonicalDoc),
    /// What the state has beyond `base`; mergeable only where everything in `base` is known.
    Delta {
        /// The sender's knowledge before.
        base: VersionVector,
        /// The part beyond it.
        doc: Doc,
    },
    /// The state of a deleted document.
    Tomb(Doc),
}

impl ItemBody {
    /// The whole state.
    pub fn full(doc: &Doc) -> Self {
        Self::Full(doc.into())
    }
}

/// What became of an item.
#[derive(Clone, Debug, PartialEq)]
pub enum ItemOutcome {
    /// The stored state changed.
    Changed {
        /// Digest of the state now.
        digest: Digest,
    },
    /// The store already had exactly this.
    Unchanged {
        /// Digest of the state.
        digest: Digest,
    },
    /// Nothing changed, and the store knows more than was sent.
    LocalNewer {
        /// Digest of the state.
        digest: Digest,
    },
    /// The delta builds on something that the store does not have.
    NeedsBase {
        /// What the store has; empty for a document that it does not hold.
        vv: VersionVector,
    },
    /// The item was not accepted.
    Refused(RefusalCode),
    /// The tombstone of a document that the store never held.
    NotHeld,
}

/// Why an item was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RefusalCode {
    /// A stamp is too far in the future.
    Future,
    /// The document is larger than anything that is stored.
    TooLarge,
    /// The collection's name is not allowed.
    Collection,
    /// The store met a bug while it merged the item.
    Internal,
}

/// Outcomes of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct ApplyOutcome {
    /// The store's newest commit after the batch; unchanged when the batch changed nothing.
    pub seq: u64,
    /// One outcome per item, in the order of the batch.
    pub items: Vec<ItemOutcome>,
}
