//! Change sets: what a commit did, for observers and for sync.

use std::sync::{Arc, OnceLock};

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
    /// Row ids of the old and the new state: the place of the document in the order of arrival. 0 where there is none.
    pub(crate) positions: (i64, i64),
    derived: OnceLock<(Arc<Doc>, Arc<VersionVector>)>,
}

impl Change {
    pub(crate) fn new(
        collection: SmolStr,
        (id, key, digest): (DocId, KeyHash, Digest),
        old: Option<Arc<Doc>>,
        new: Option<Arc<Doc>>,
        positions: (i64, i64),
    ) -> Self {
        Self { collection, id, key, digest, old, new, positions, derived: OnceLock::new() }
    }

    /// What the new state has beyond [`Change::base`]; empty when the document was evicted.
    pub fn delta(&self) -> &Arc<Doc> {
        &self.derive().0
    }

    /// Version vector of the old state.
    pub fn base(&self) -> &Arc<VersionVector> {
        &self.derive().1
    }

    /// Computed when somebody asks: a store without peers never does.
    fn derive(&self) -> &(Arc<Doc>, Arc<VersionVector>) {
        self.derived.get_or_init(|| {
            let base = self.old.as_ref().map(|d| d.vv()).unwrap_or_default();
            let delta = match (&self.old, &self.new) {
                // A new document is its own delta.
                (None, Some(new)) => new.clone(),
                (Some(_), Some(new)) => Arc::new(new.delta(&base)),
                (_, None) => Arc::default(),
            };
            (delta, Arc::new(base))
        })
    }
}
