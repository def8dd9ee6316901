//! Keeping the entries of indexes as documents change.

use std::sync::Arc;

use ditto_crdt::{Doc, DocView, Trail};
use ditto_dql::Row;
use ditto_types::{DocId, Object, SmolStr, Value};

use super::Index;
use super::kinds::{Grown, Growth, fresh_kinds};
use crate::StoreError;
use crate::driver::{Db, Param};
use crate::row::{DocRow, step};

/// Brings the entries of one document up to date: `old` and `new` are its states before and after, dead or alive, or
/// `None` where the store did not have it. Only entries whose key changes are touched.
pub(crate) fn update(
    db: &Db,
    indexes: &[Arc<Index>],
    (rid, id): (i64, &DocId),
    old: Option<&Doc>,
    new: Option<&Doc>,
) -> Result<(), StoreError> {
    for index in indexes {
        let (before, after) = (key(index, id, old), key(index, id, new));
        if before == after {
            continue;
        }
        if let Some(before) = before {
            db.exec(&index.delete_sql, &[Param::Blob(&before), Param::Int(rid)])?;
        }
        if let Some(after) = after {
            insert(db, index, &after, rid)?;
        }
    }
    Ok(())
}

/// Writes one entry. That it is there already is no error: while an index is being built, a document can be changed
/// before its turn comes.
pub(super) fn insert(db: &Db, index: &Index, key: &[u8], rid: i64) -> Result<(), StoreError> {
    index.inserts.with(db, []).exec(&[[Param::Blob(key), Param::Int(rid)]]).map(drop)
}

/// Entries of new documents, to be written all at once in the order of each index.
pub(crate) struct Batch<'i> {
    indexes: &'i [Arc<Index>],
    kinds: Growth<'i>,
    /// For each index.
    entries: Vec<Vec<Entry>>,
    /// Of all entries.
    keys: Vec<u8>,
    /// Where the paths were in the last document.
    trails: Vec<(&'i [SmolStr], Trail)>,
}

struct Entry {
    /// The first bytes of the key: as good as the whole, mostly.
    head: [u64; 2],
    /// Where the key begins and ends.
    at: (usize, usize),
    rid: i64,
}

impl Entry {
    fn new(keys: &[u8], at: (usize, usize), rid: i64) -> Self {
        let mut head = [[0; 8]; 2];
        for (byte, to) in keys[at.0..at.1].iter().zip(head.as_flattened_mut()) {
            *to = *byte;
        }
        Self { head: head.map(u64::from_be_bytes), at, rid }
    }

    fn key<'k>(&self, keys: &'k [u8]) -> &'k [u8] {
        &keys[self.at.0..self.at.1]
    }
}

impl<'i> Batch<'i> {
    pub(crate) fn new(indexes: &'i [Arc<Index>]) -> Self {
        let paths = indexes.iter().flat_map(|i| &i.def.keys).map(|k| k.path.names());
        Self {
            indexes,
            kinds: Growth::new(indexes),
            entries: indexes.iter().map(|_| Vec::new()).collect(),
            keys: Vec::new(),
            trails: paths.map(|path| (path, Trail::default())).collect(),
        }
    }

    /// Adds the entries of a document with these fields, all of them of the inferred kind.
    pub(crate) fn add(&mut self, rid: i64, id: &DocId, fields: &Object) {
        self.kinds.see(|path, see| fresh_kinds(fields, path, see));
        self.push(rid, |path| match path.split_first() {
            Some((first, rest)) if first == "_id" => step(&id.to_value(), rest).cloned(),
            Some((first, rest)) => step(fields.get(first)?, rest).cloned(),
            None => None,
        });
    }

    /// Whether there is no index.
    pub(crate) fn is_idle(&self) -> bool {
        self.indexes.is_empty()
    }

    /// Adds the entries of a living document in its stored form.
    pub(crate) fn add_view(&mut self, rid: i64, id: &DocId, view: &DocView<'_>) -> Result<(), StoreError> {
        let mut damage = None;
        let mut trails = std::mem::take(&mut self.trails);
        self.kinds.see(|path, see| {
            let kinds = match trails.iter().find(|(p, _)| *p == path) {
                Some((_, trail)) => view.kinds_on_trail(path, trail, see),
                None => view.kinds_along(path, see),
            };
            damage = kinds.err().or(damage.take());
        });
        self.push(rid, |path| match path.split_first() {
            Some((first, rest)) if first == "_id" => step(&id.to_value(), rest).cloned(),
            _ => {
                let value = match trails.iter_mut().find(|(p, _)| *p == path) {
                    Some((_, trail)) => view.get_along(path, trail),
                    None => view.get(path),
                };
                value.unwrap_or_else(|e| {
                    damage = Some(e);
                    None
                })
            }
        });
        self.trails = trails;
        damage.map_or(Ok(()), |e| Err(StoreError::Internal(e.to_string())))
    }

    fn push(&mut self, rid: i64, mut field: impl FnMut(&[SmolStr]) -> Option<Value>) {
        for (index, entries) in self.indexes.iter().zip(&mut self.entries) {
            let start = self.keys.len();
            if index.def.push_entry(&mut field, &mut self.keys) {
                entries.push(Entry::new(&self.keys, (start, self.keys.len()), rid));
            }
        }
    }

    /// Writes the entries. Gives what to [note](super::kinds::note) of them.
    pub(crate) fn write(mut self, db: &Db) -> Result<Grown, StoreError> {
        let keys = &self.keys;
        for (index, entries) in self.indexes.iter().zip(&mut self.entries) {
            entries.sort_unstable_by(|a, b| {
                let by_head = a.head.cmp(&b.head);
                by_head.then_with(|| (a.key(keys), a.rid).cmp(&(b.key(keys), b.rid)))
            });
            let rows = entries.iter().map(|e| [Param::Blob(e.key(keys)), Param::Int(e.rid)]);
            index.inserts.with(db, []).all(rows)?;
        }
        Ok(self.kinds.finish())
    }
}

/// The key of a document; `None` when it has no entry.
pub(crate) fn key(index: &Index, id: &DocId, doc: Option<&Doc>) -> Option<Vec<u8>> {
    let row = DocRow::new(id, doc.filter(|d| d.is_alive())?);
    index.def.entry(|path| row.field(path))
}
