//! Change sets: what a commit did, for observers and for sync.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crossbeam_channel::{Receiver, Sender, unbounded};

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
    /// Collections of which documents changed, when these were too many to be held in memory until the commit; then
    /// `changes` is empty, and what changed has to be looked up in the store.
    pub unlisted_collections: Vec<SmolStr>,
    /// Collections that an EVICT removed documents from. Their sync cursors are gone.
    pub evicted_collections: Vec<SmolStr>,
}

/// State of a document after a commit. One that is new, and alive, stays in its stored form until somebody asks: while
/// nobody observes or syncs, nobody does.
#[derive(Clone, Debug)]
pub(crate) enum State {
    Decoded(Arc<Doc>),
    Stored(Stored),
}

/// The stored forms of new documents, one after the other.
pub(crate) struct Bodies {
    bytes: Vec<u8>,
    dict: Arc<Dict>,
}

impl Bodies {
    pub(crate) fn new(bytes: Vec<u8>, dict: &Arc<Dict>) -> Arc<Self> {
        Arc::new(Self { bytes, dict: dict.clone() })
    }
}

/// A document as it was encoded for its row.
#[derive(Clone)]
pub(crate) struct Stored {
    bodies: Arc<Bodies>,
    at: Range<usize>,
    doc: OnceLock<Arc<Doc>>,
}

impl Stored {
    fn bytes(&self) -> &[u8] {
        self.bodies.bytes.get(self.at.clone()).unwrap_or_default()
    }
}

impl State {
    pub(crate) fn stored(bodies: &Arc<Bodies>, at: Range<usize>) -> Self {
        Self::Stored(Stored { bodies: bodies.clone(), at, doc: OnceLock::new() })
    }

    /// The stored form, of one that was left in it.
    pub(crate) fn bytes(&self) -> Option<&[u8]> {
        match self {
            State::Decoded(_) => None,
            State::Stored(s) => Some(s.bytes()),
        }
    }

    fn doc(&self) -> &Arc<Doc> {
        match self {
            State::Decoded(doc) => doc,
            State::Stored(s) => s.doc.get_or_init(|| match ditto_crdt::decode(s.bytes(), &*s.bodies.dict) {
                Ok(doc) => Arc::new(doc),
                Err(e) => panic!("a document cannot be read back after it was encoded: {e}"),
            }),
        }
    }
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stored").field("bytes", &self.at.len()).finish_non_exhaustive()
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

    /// Whether the state after the commit is alive; `None` when the document was evicted. Needs no look into it.
    pub fn is_alive(&self) -> Option<bool> {
        self.new.as_ref().map(|new| match new {
            State::Decoded(doc) => doc.is_alive(),
            // Only new documents are left in their stored form.
            State::Stored(_) => true,
        })
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

/// Changed documents that wait in a bounded feed, above which further commits are left out.
const MAX_WAITING: usize = 50_000;

#[derive(Debug, Default)]
struct FeedState {
    waiting: AtomicUsize,
    missed: AtomicBool,
}

/// A feed of commits with bounded memory: one that is read too slowly misses commits and is told so.
#[derive(Debug)]
pub struct CommitFeed {
    receiver: Receiver<Arc<Commit>>,
    state: Arc<FeedState>,
}

impl CommitFeed {
    pub(crate) fn new() -> (Self, FeedSender) {
        let (sender, receiver) = unbounded();
        let state = Arc::<FeedState>::default();
        (Self { receiver, state: state.clone() }, FeedSender { sender, state: Some(state) })
    }

    /// The commits. Hand each one to [`CommitFeed::taken`].
    pub fn receiver(&self) -> &Receiver<Arc<Commit>> {
        &self.receiver
    }

    /// Makes room after a commit was received. True if commits were left out since the last call: what they changed has
    /// to be looked up in the store. They are left out only while others wait, so that this call comes after them.
    pub fn taken(&self, commit: &Commit) -> bool {
        self.state.waiting.fetch_sub(weight(commit), Ordering::AcqRel);
        self.state.missed.swap(false, Ordering::AcqRel)
    }
}

/// The store's end of a feed.
#[derive(Debug)]
pub(crate) struct FeedSender {
    sender: Sender<Arc<Commit>>,
    /// Of a bounded feed.
    state: Option<Arc<FeedState>>,
}

impl FeedSender {
    pub(crate) fn unbounded() -> (Receiver<Arc<Commit>>, Self) {
        let (sender, receiver) = unbounded();
        (receiver, Self { sender, state: None })
    }

    /// Hands on a commit; false when nobody reads any more.
    pub(crate) fn send(&self, commit: &Arc<Commit>) -> bool {
        if let Some(state) = &self.state {
            let before = state.waiting.fetch_add(weight(commit), Ordering::AcqRel);
            if before > 0 && before + weight(commit) > MAX_WAITING {
                // Told before it is taken back, so that the reader of what waits sees it.
                state.missed.store(true, Ordering::Release);
                state.waiting.fetch_sub(weight(commit), Ordering::AcqRel);
                return true;
            }
        }
        self.sender.send(commit.clone()).is_ok()
    }
}

fn weight(commit: &Commit) -> usize {
    commit.changes.len() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(seq: u64, n: usize) -> Arc<Commit> {
        let id = DocId::new(&"a".into()).unwrap();
        let key = (id, KeyHash(seq), Digest([0; 16]));
        let changes = (0..n).map(|_| Change::new("c".into(), key.clone(), None, None, (0, 0))).collect();
        Arc::new(Commit {
            seq,
            source: None,
            changes,
            unlisted_collections: Vec::new(),
            evicted_collections: Vec::new(),
        })
    }

    #[test]
    fn a_feed_that_is_not_read_leaves_commits_out_and_says_so() {
        let (feed, sender) = CommitFeed::new();
        for seq in 0..100 {
            assert!(sender.send(&commit(seq, 1_000)));
        }
        let waiting = feed.receiver().len();
        assert!((40..50).contains(&waiting), "{waiting}");
        let first = feed.receiver().try_recv().unwrap();
        assert!(feed.taken(&first));
        while let Ok(commit) = feed.receiver().try_recv() {
            assert!(!feed.taken(&commit));
        }
        // One that is larger than all room comes through when nothing waits.
        sender.send(&commit(200, 60_000));
        let large = feed.receiver().try_recv().unwrap();
        assert!(!feed.taken(&large));
        drop(feed);
        assert!(!sender.send(&commit(201, 1)));
    }
}
