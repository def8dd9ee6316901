//! Change sets: what a commit did, for observers and for sync.

use std::sync::Arc;

use ditto_crdt::{Doc, VersionVector};
use ditto_types::{Digest, DocId, KeyHash, SmolStr};

/// One commit, published once after it is durable.
#[derive(Clone, Debug)]
pub struct Commit {
    /// Its number: one more than that of the commit before.
    pub seq: u64,
    /// Key of the peer whose changes were applied; `None` for a local commit.
    pub source: Option<Vec<u8>>,
    /// Documents that changed, ordered by collection and id. Empty when a statement found nothing to change.
    pub changes: Vec<Change>,
    /// Collections that an EVICT removed documents from. Their sync cursors are gone.
    pub evicted_collections: Vec<SmolStr>,
}

/// One document of a commit.
#[derive(Clone, Debug)]
pub struct Change {
    /// Its collection.
    pub collection: SmolStr,
    /// Its id.
    pub id: DocId,
    /// Hash of collection and id.
    pub key: KeyHash,
    /// Digest of the new state; of the old one when the document was evicted.
    pub digest: Digest,
    /// State before the commit; `None` when the store did not hold the document.
    pub old: Option<Arc<Doc>>,
    /// State after the commit; `None` when it was evicted.
    pub new: Option<Arc<Doc>>,
    /// What the new state has beyond `base`; empty when it was evicted.
    pub delta: Arc<Doc>,
    /// Version vector of the old state.
    pub base: Arc<VersionVector>,
}
