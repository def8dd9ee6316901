//! One commit in the making: the documents it touches and what it will publish.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ditto_crdt::Doc;
use ditto_types::{Digest, DocId, KeyHash, Stamp};

use crate::commit::{Change, Commit};
use crate::dict::Dict;
use crate::result::CommitSlot;

/// A document that a statement or a batch touched.
#[derive(Debug)]
pub(crate) struct Touched {
    pub(crate) coll: u32,
    pub(crate) id: DocId,
    pub(crate) key: KeyHash,
    pub(crate) digest: Digest,
    pub(crate) old: Option<Arc<Doc>>,
    pub(crate) new: Option<Arc<Doc>>,
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
    touched: BTreeMap<(u32, DocId), Touched>,
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
            touched: BTreeMap::new(),
            evicted: BTreeSet::new(),
            mutation: false,
        }
    }

    /// Takes over what a statement did.
    pub(crate) fn absorb(&mut self, effects: Effects) {
        self.mutation |= effects.mutation;
        self.evicted.extend(effects.evicted);
        for t in effects.touched {
            match self.touched.entry((t.coll, t.id.clone())) {
                Entry::Vacant(e) => {
                    e.insert(t);
                }
                Entry::Occupied(mut e) => {
                    let kept = e.get_mut();
                    kept.new = t.new;
                    kept.digest = t.digest;
                    kept.positions.1 = t.positions.1;
                    if kept.old.is_none() && kept.new.is_none() {
                        e.remove();
                    }
                }
            }
        }
    }

    /// Whether the unit takes its sequence number.
    pub(crate) fn counts(&self) -> bool {
        self.mutation || !self.touched.is_empty() || !self.evicted.is_empty()
    }

    /// The change set to publish.
    pub(crate) fn into_commit(self, dict: &Dict) -> Commit {
        // The slot is set by now or in a moment; nobody waits for it.
        let _ = self.slot.set(self.seq);
        let name = |coll: u32| dict.collection(coll).cloned().unwrap_or_default();
        let changes = self
            .touched
            .into_values()
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
