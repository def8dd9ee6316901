//! Change sets: what a commit did, for observers and for sync.

use std::fmt;
use std::sync::{Arc, OnceLock};

use ditto_crdt::{Doc, VersionVector};
use ditto_types::{Digest, DocId, KeyHash, SmolStr};

use crate::dict::Dict;

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

/// State of a document after a commit. One that was just inserted stays in its stored form until somebody asks: while
/// nobody observes or syncs, nobody does.
#[derive(Clone, Debug)]
pub(crate) enum State {
    Decoded(Arc<Doc>),
    Stored(Arc<Stored>),
}

/// A document as it was encoded for its row.
pub(crate) struct Stored {
    body: Box<[u8]>,
    dict: Arc<Dict>,
    doc: OnceLock<Arc<Doc>>,
}

impl State {
    pub(crate) fn stored(body: &[u8], dict: &Arc<Dict>) -> Self {
        Self::Stored(Arc::new(Stored { body: body.into(), dict: dict.clone(), doc: OnceLock::new() }))
    }

    fn doc(&self) -> &Arc<Doc> {
        match self {
            State::Decoded(doc) => doc,
            State::Stored(s) => s.doc.get_or_init(|| match ditto_crdt::decode(&s.body, &*s.dict) {
                Ok(doc) => Arc::new(doc),
                Err(e) => panic!("a document cannot be read back after it was encoded: {e}"),
            }),
        }
    }
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stored").field("bytes", &self.body.len()).finish_non_exhaustive()
    }
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
    new: Option<State>,
    /// Row ids of the old and the new state: the place of the document in the order of arrival. 0 where there is none.
    pub(crate) positions: (i64, i64),
    derived: OnceLock<(Arc<Doc>, Arc<VersionVector>)>,
}

impl Change {
    pub(crate) fn new(
        collection: SmolStr,
        (id, key, digest): (DocId, KeyHash, Digest),
        old: Option<Arc<Doc>>,
        new: Option<State>,
        positions: (i64, i64),
    ) -> Self {
        Self { collection, id, key, digest, old, new, positions, derived: OnceLock::new() }
    }

    /// State after the commit; `None` when it was evicted.
    pub fn new_state(&self) -> Option<&Arc<Doc>> {
        self.new.as_ref().map(State::doc)
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
            let delta = match (&self.old, self.new_state()) {
                // A new document is its own delta.
                (None, Some(new)) => new.clone(),
                (Some(_), Some(new)) => Arc::new(new.delta(&base)),
                (_, None) => Arc::default(),
            };
            (delta, Arc::new(base))
        })
    }
}
