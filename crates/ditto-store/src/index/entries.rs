//! Keeping the entries of indexes as documents change.

use std::sync::Arc;

use ditto_crdt::{Doc, DocView};
use ditto_dql::Row;
use ditto_types::{DocId, Object, SmolStr};

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
    index.inserts.exec(db, &[[Param::Blob(key), Param::Int(rid)]]).map(drop)
}

/// Entries of new documents, to be written all at once in the order of each index.
pub(crate) struct Batch<'i> {
    indexes: &'i [Arc<Index>],
    kinds: Growth<'i>,
    /// Place of the index, key, row id.
    entries: Vec<(usize, Vec<u8>, i64)>,
}

impl<'i> Batch<'i> {
    pub(crate) fn new(indexes: &'i [Arc<Index>]) -> Self {
        Self { indexes, kinds: Growth::new(indexes), entries: Vec::new() }
    }

    /// Adds the entries of a document with these fields, all of them of the inferred kind.
    pub(crate) fn add(&mut self, rid: i64, id: &DocId, fields: &Object) {
        self.kinds.see(|path, see| fresh_kinds(fields, path, see));
        let field = |path: &[SmolStr]| match path.split_first() {
            Some((first, rest)) if first == "_id" => step(&id.to_value(), rest).cloned(),
            Some((first, rest)) => step(fields.get(first)?, rest).cloned(),
            None => None,
        };
        for (i, index) in self.indexes.iter().enumerate() {
            if let Some(key) = index.def.entry(field) {
                self.entries.push((i, key, rid));
            }
        }
    }

    /// Whether there is no index.
    pub(crate) fn is_idle(&self) -> bool {
        self.indexes.is_empty()
    }

    /// Adds the entries of a living document in its stored form.
    pub(crate) fn add_view(&mut self, rid: i64, id: &DocId, view: &DocView<'_>) -> Result<(), StoreError> {
        let mut damage = None;
        self.kinds.see(|path, see| damage = view.kinds_along(path, see).err().or(damage.take()));
        let indexes = self.indexes;
        for (i, index) in indexes.iter().enumerate() {
            let key = index.def.entry(|path| match path.split_first() {
                Some((first, rest)) if first == "_id" => step(&id.to_value(), rest).cloned(),
                _ => view.get(path).unwrap_or_else(|e| {
                    damage = Some(e);
                    None
                }),
            });
            if let Some(key) = key {
                self.entries.push((i, key, rid));
            }
        }
        damage.map_or(Ok(()), |e| Err(StoreError::Internal(e.to_string())))
    }

    /// Writes the entries. Gives what to [note](super::kinds::note) of them.
    pub(crate) fn write(mut self, db: &Db) -> Result<Grown, StoreError> {
        self.entries.sort_unstable();
        for of_index in self.entries.chunk_by(|a, b| a.0 == b.0) {
            let Some((i, ..)) = of_index.first() else { continue };
            let rows = of_index.iter().map(|(_, key, rid)| [Param::Blob(key), Param::Int(*rid)]);
            self.indexes[*i].inserts.all(db, rows)?;
        }
        Ok(self.kinds.finish())
    }
}

/// The key of a document; `None` when it has no entry.
pub(crate) fn key(index: &Index, id: &DocId, doc: Option<&Doc>) -> Option<Vec<u8>> {
    let row = DocRow::new(id, doc.filter(|d| d.is_alive())?);
    index.def.entry(|path| row.field(path))
}
