//! One commit in the making: the documents it touches and what it will publish.

use std::collections::BTreeSet;
use std::sync::Arc;

use ditto_crdt::Doc;
use ditto_types::{Digest, DocId, KeyHash, Stamp};

use crate::commit::{Change, Commit, State};
use crate::dict::Dict;
use crate::result::CommitSlot;

/// Changes of a unit that are not looked through for documents that were changed twice.
const COMPACT_FROM: usize = 4096;

/// A document that a statement or a batch touched.
#[derive(Debug)]
pub(crate) struct Touched {
    pub(crate) coll: u32,
    pub(crate) id: DocId,
    pub(crate) key: KeyHash,
    pub(crate) digest: Digest,
    pub(crate) old: Option<Arc<Doc>>,
    pub(crate) new: Option<State>,
    /// Row ids of the old and the new state; 0 where there is none.
    pub(crate) positions: (i64, i64),
}

/// What one statement or batch did. Joins its unit only when it succeeded as a whole.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) touched: Vec<Touched>,
    pub(crate) evicted: BTreeSet<u32>,
    /// Whether a commit number is due even when nothing was touched.
    pub(crate) mutation: bool,
}

/// Everything that will share one sequence number.
#[derive(Debug)]
pub(crate) struct Unit {
    /// Its sequence number, if it commits.
    pub(crate) seq: u64,
    /// Key and ordinal of the peer whose changes are applied; ordinal 0 for a local unit.
    pub(crate) source: Option<Vec<u8>>,
    pub(crate) src: u32,
    /// Stamp of its local writes, once there was one.
    pub(crate) stamp: Option<Stamp>,
    /// Where results learn of the commit number.
    pub(crate) slot: CommitSlot,
    /// In the order of the statements; since the last [`Unit::compact`] a document may be in it more than once.
    touched: Vec<Touched>,
    /// Length at which it is compacted.
    limit: usize,
    evicted: BTreeSet<u32>,
    mutation: bool,
}

impl Unit {
    pub(crate) fn new(seq: u64) -> Self {
        Self {
            seq,
            source: None,
            src: 0,
            stamp: None,
            slot: CommitSlot::default(),
            touched: Vec::new(),
            limit: COMPACT_FROM,
            evicted: BTreeSet::new(),
            mutation: false,
        }
    }

    /// Takes over what a statement did.
    pub(crate) fn absorb(&mut self, effects: Effects) {
        self.mutation |= effects.mutation;
        self.evicted.extend(effects.evicted);
        if self.touched.is_empty() {
            self.touched = effects.touched;
        } else {
            self.touched.extend(effects.touched);
        }
        if self.touched.len() > self.limit {
            self.compact();
            self.limit = COMPACT_FROM.max(2 * self.touched.len());
        }
    }

    /// Brings the documents into order, each once, with what all statements together did to it.
    fn compact(&mut self) {
        let same = |a: &Touched, b: &Touched| (a.coll, &a.id) == (b.coll, &b.id);
        // Stable: what was done to one document stays in its order.
        self.touched.sort_by(|a, b| (a.coll, &a.id).cmp(&(b.coll, &b.id)));
        self.touched.dedup_by(|later, kept| {
            let again = same(later, kept);
            if again {
                kept.new = later.new.take();
                kept.digest = later.digest;
                kept.positions.1 = later.positions.1;
            }
            again
        });
        // What came and went between is no change.
        self.touched.retain(|t| t.old.is_some() || t.new.is_some());
    }

    /// Documents that were touched; those that were touched again may count again.
    pub(crate) fn touched(&self) -> usize {
        self.touched.len()
    }

    /// Whether the unit takes its sequence number.
    pub(crate) fn counts(&self) -> bool {
        self.mutation || !self.touched.is_empty() || !self.evicted.is_empty()
    }

    /// Tells the results of its statements the number of their commit.
    pub(crate) fn number(&self) {
        // Only the commit does, once.
        let _ = self.slot.set(self.seq);
    }

    /// The change set to publish.
    pub(crate) fn into_commit(mut self, dict: &Dict) -> Commit {
        self.compact();
        let name = |coll: u32| dict.collection(coll).cloned().unwrap_or_default();
        let changes = self
            .touched
            .into_iter()
            .map(|t| Change::new(name(t.coll), (t.id, t.key, t.digest), t.old, t.new, t.positions))
            .collect();
        Commit {
            seq: self.seq,
            source: self.source,
            changes,
            evicted_collections: self.evicted.iter().map(|c| name(*c)).collect(),
        }
    }
}
