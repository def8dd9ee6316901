//! One commit in the making: the documents it touches and what it will publish.

use std::collections::BTreeSet;
use std::sync::Arc;

use ditto_crdt::Doc;
use ditto_types::{Digest, DocId, KeyHash, Stamp};

use crate::commit::{Change, Commit, State};
use crate::dict::Dict;
use crate::result::CommitSlot;

/// Bytes that the changes of a unit may take, about, while nobody listens to commits, and while somebody does. Of a unit with more only the
/// collections are published (ADR 0036).
const UNHEARD: usize = 4 << 20;
const HEARD: usize = 64 << 20;

/// How much more a decoded document takes than its stored form, about.
pub(crate) const DECODED: usize = 10;

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
    /// Bytes of its states in memory, about.
    pub(crate) weight: usize,
}

/// The documents that were touched, or, of too many, their collections.
#[derive(Debug, Default)]
struct Changes {
    /// In the order of the statements; the same document may be in it more than once.
    listed: Vec<Touched>,
    weight: usize,
    /// Not empty: nothing is listed.
    unlisted: BTreeSet<u32>,
    /// How many were ever added.
    count: usize,
}

impl Changes {
    fn push(&mut self, touched: Touched) {
        self.count += 1;
        if !self.unlisted.is_empty() {
            self.unlisted.insert(touched.coll);
            return;
        }
        self.weight += size_of::<Touched>() + touched.weight;
        self.listed.push(touched);
    }

    fn absorb(&mut self, more: Changes) {
        self.count += more.count;
        self.weight += more.weight;
        if self.listed.is_empty() {
            self.listed = more.listed;
        } else {
            self.listed.extend(more.listed);
        }
        if !self.unlisted.is_empty() || !more.unlisted.is_empty() {
            self.unlisted.extend(more.unlisted);
            self.unlist();
        }
    }

    fn is_over(&self, is_heard: impl FnOnce() -> bool) -> bool {
        self.weight > UNHEARD && (self.weight > HEARD || !is_heard())
    }

    /// Forgets the documents.
    fn unlist(&mut self) {
        self.unlisted.extend(std::mem::take(&mut self.listed).iter().map(|t| t.coll));
        self.weight = 0;
    }

    /// Sorts by collection and id. What was done to one document stays in its order.
    fn sort(&mut self) {
        let listed = &mut self.listed;
        if listed.is_sorted_by(|a, b| (a.coll, &a.id) <= (b.coll, &b.id)) {
            return;
        }
        // Ids are all over the memory; the first bytes of most tell them apart.
        let head = |id: &DocId| {
            let mut head = [[0; 8]; 2];
            id.as_bytes().iter().zip(head.as_flattened_mut()).for_each(|(byte, to)| *to = *byte);
            head.map(u64::from_be_bytes)
        };
        let mut order: Vec<_> = (0_usize..).zip(&*listed).map(|(i, t)| (t.coll, head(&t.id), i)).collect();
        order.sort_unstable_by(|a, b| {
            (a.0, a.1).cmp(&(b.0, b.1)).then_with(|| (&listed[a.2].id, a.2).cmp(&(&listed[b.2].id, b.2)))
        });
        let mut taken: Vec<_> = std::mem::take(listed).into_iter().map(Some).collect();
        listed.extend(order.into_iter().filter_map(|(_, _, i)| taken[i].take()));
    }

    /// Brings the documents into order, each once, with what all statements together did to it.
    fn compact(&mut self) {
        let same = |a: &Touched, b: &Touched| (a.coll, &a.id) == (b.coll, &b.id);
        self.sort();
        self.listed.dedup_by(|later, kept| {
            let again = same(later, kept);
            if again {
                kept.new = later.new.take();
                kept.digest = later.digest;
                kept.positions.1 = later.positions.1;
                // Each weighs with both of its states.
                kept.weight = kept.weight.max(later.weight);
            }
            again
        });
        // What came and went between is no change.
        self.listed.retain(|t| t.old.is_some() || t.new.is_some());
        self.weight = self.listed.iter().map(|t| size_of::<Touched>() + t.weight).sum();
    }
}

/// What one statement or batch did. Joins its unit only when it succeeded as a whole.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    changes: Changes,
    pub(crate) evicted: BTreeSet<u32>,
    /// Whether a commit number is due even when nothing was touched.
    pub(crate) mutation: bool,
}

impl Effects {
    /// Adds a document that was touched. `is_heard` is whether somebody listens to commits.
    pub(crate) fn touch(&mut self, touched: Touched, is_heard: impl FnOnce() -> bool) {
        self.changes.push(touched);
        if self.changes.is_over(is_heard) {
            self.changes.unlist();
        }
    }

    /// Adds many documents that were touched.
    pub(crate) fn touch_all(&mut self, touched: Vec<Touched>, is_heard: impl FnOnce() -> bool) {
        touched.into_iter().for_each(|t| self.changes.push(t));
        if self.changes.is_over(is_heard) {
            self.changes.unlist();
        }
    }
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
    changes: Changes,
    /// Number of listed changes at which they are compacted.
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
            changes: Changes::default(),
            limit: COMPACT_FROM,
            evicted: BTreeSet::new(),
            mutation: false,
        }
    }

    /// Takes over what a statement did. `is_heard` is whether somebody listens to commits.
    pub(crate) fn absorb(&mut self, effects: Effects, is_heard: impl Fn() -> bool) {
        self.mutation |= effects.mutation;
        self.evicted.extend(effects.evicted);
        self.changes.absorb(effects.changes);
        if self.changes.listed.len() > self.limit || self.changes.is_over(&is_heard) {
            self.changes.compact();
            self.limit = COMPACT_FROM.max(2 * self.changes.listed.len());
        }
        if self.changes.is_over(is_heard) {
            self.changes.unlist();
        }
    }

    /// Documents that were touched; those that were touched again count again.
    pub(crate) fn touched(&self) -> usize {
        self.changes.count
    }

    /// Whether the unit takes its sequence number.
    pub(crate) fn counts(&self) -> bool {
        self.mutation || self.changes.count > 0 || !self.evicted.is_empty()
    }

    /// Tells the results of its statements the number of their commit.
    pub(crate) fn number(&self) {
        // Only the commit does, once.
        let _ = self.slot.set(self.seq);
    }

    /// The change set to publish.
    pub(crate) fn into_commit(mut self, dict: &Dict) -> Commit {
        self.changes.compact();
        let name = |coll: u32| dict.collection(coll).cloned().unwrap_or_default();
        let changes = self
            .changes
            .listed
            .into_iter()
            .map(|t| Change::new(name(t.coll), (t.id, t.key, t.digest), t.old, t.new, t.positions))
            .collect();
        Commit {
            seq: self.seq,
            source: self.source,
            changes,
            unlisted_collections: self.changes.unlisted.iter().map(|c| name(*c)).collect(),
            evicted_collections: self.evicted.iter().map(|c| name(*c)).collect(),
        }
    }
}
