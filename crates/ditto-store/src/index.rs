//! Secondary indexes: which there are, their entries, and how they are made.
//!
//! An index has a row in `idx` and a table of its own with one entry for each document that is not deleted: the key
//! (`ditto_dql::encode_key`) and the row id of the document. Entries are written in the transaction of their
//! document.
//!
//! [`Indexes`] is the set of all indexes at one moment. The writer has its own, which may hold what is not committed;
//! readers share the last committed one. A held snapshot may be older than that: it reads its own set with
//! [`catalogue::load`].

pub(crate) mod catalogue;
pub(crate) mod create;
pub(crate) mod entries;
pub(crate) mod kinds;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use ditto_dql::{Catalog, IndexDef};

use crate::driver::GroupInsert;
use crate::schema::index_table;

/// Most indexes of one collection: each costs every write.
pub(crate) const MAX_INDEXES: usize = 64;

/// An index and its place in the file.
#[derive(Debug)]
pub(crate) struct Index {
    pub(crate) def: Arc<IndexDef>,
    /// Ordinal of its collection.
    pub(crate) coll: u32,
    /// Whether every document is in it. Until then only writes keep it, and no reader may use it.
    pub(crate) complete: bool,
    inserts: GroupInsert<0, 2>,
    delete_sql: String,
}

impl Index {
    pub(crate) fn new(def: Arc<IndexDef>, coll: u32, complete: bool) -> Self {
        let table = index_table(def.id);
        Self {
            inserts: GroupInsert::new(&format!("INSERT OR IGNORE INTO {table}(key, rid) VALUES"), "(?, ?)"),
            delete_sql: format!("DELETE FROM {table} WHERE key = ?1 AND rid = ?2"),
            def,
            coll,
            complete,
        }
    }
}

/// All indexes at one moment, by ordinal of their collection, in the order of their creation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Indexes(BTreeMap<u32, Vec<Arc<Index>>>);

impl Indexes {
    /// The indexes of a collection, those that are being built included.
    pub(crate) fn of(&self, coll: u32) -> &[Arc<Index>] {
        self.0.get(&coll).map_or(&[], Vec::as_slice)
    }

    /// An index by its name.
    pub(crate) fn named(&self, coll: u32, name: &str) -> Option<&Arc<Index>> {
        self.of(coll).iter().find(|i| i.def.name == name)
    }

    /// All of them, those that are being built included.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Index>> {
        self.0.values().flatten()
    }

    /// Those that are complete.
    pub(crate) fn complete(&self) -> impl Iterator<Item = &Arc<IndexDef>> {
        self.iter().filter(|i| i.complete).map(|i| &i.def)
    }

    /// Whether every complete index of `planned` is still there, and serves the same statements.
    pub(crate) fn includes(self: &Arc<Self>, planned: &Arc<Self>) -> bool {
        Arc::ptr_eq(self, planned)
            || planned
                .iter()
                .filter(|i| i.complete)
                .all(|i| self.of(i.coll).iter().any(|o| (o.def.id, &o.def.kinds) == (i.def.id, &i.def.kinds)))
    }

    /// Adds an index, or takes the place of the one with its id.
    fn put(&mut self, index: Index) {
        let of = self.0.entry(index.coll).or_default();
        match of.iter_mut().find(|i| i.def.id == index.def.id) {
            Some(before) => *before = Arc::new(index),
            None => of.push(Arc::new(index)),
        }
    }

    fn remove(&mut self, index: &Index) {
        if let Some(of) = self.0.get_mut(&index.coll) {
            of.retain(|i| i.def.id != index.def.id);
            if of.is_empty() {
                self.0.remove(&index.coll);
            }
        }
    }
}

impl Catalog for Indexes {
    fn indexes(&self, collection: &str) -> Vec<Arc<IndexDef>> {
        let here = self.0.values().find(|of| of.first().is_some_and(|i| i.def.collection == collection));
        here.into_iter().flatten().filter(|i| i.complete).map(|i| i.def.clone()).collect()
    }
}

/// The last committed set, for readers.
#[derive(Clone, Debug)]
pub(crate) struct SharedIndexes(Arc<Mutex<Arc<Indexes>>>);

impl SharedIndexes {
    pub(crate) fn new(indexes: Arc<Indexes>) -> Self {
        Self(Arc::new(Mutex::new(indexes)))
    }

    /// The set now.
    pub(crate) fn get(&self) -> Arc<Indexes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Called by the writer after a commit.
    pub(crate) fn set(&self, indexes: &Arc<Indexes>) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&held, indexes) {
            *held = indexes.clone();
        }
    }
}

#[cfg(test)]
mod tests;
