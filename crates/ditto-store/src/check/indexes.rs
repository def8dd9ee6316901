//! Compares the entries of indexes with the documents, both ways.

use std::collections::HashMap;

use ditto_crdt::Doc;
use ditto_types::{DocId, KindSet, SmolStr};

use super::CheckReport;
use crate::StoreError;
use crate::dict::Dict;
use crate::driver::{Db, Param};
use crate::index::{Index, Indexes, catalogue, entries};
use crate::schema::{FLAG_DEAD, index_table};
use crate::select::{doc_id, id_text};

/// The indexes of a snapshot and what was found of each.
pub(super) struct IndexCheck<'a> {
    db: &'a Db,
    dict: &'a Dict,
    indexes: Indexes,
    /// Entries that belong to their documents, by index.
    right: HashMap<u32, u64>,
}

impl<'a> IndexCheck<'a> {
    pub(super) fn new(db: &'a Db, dict: &'a Dict) -> Result<Self, StoreError> {
        Ok(Self { db, dict, indexes: catalogue::load(db, dict)?, right: HashMap::new() })
    }

    pub(super) fn count(&self) -> usize {
        self.indexes.complete().count()
    }

    /// Looks for the entries of a document.
    pub(super) fn document(
        &mut self,
        coll: u32,
        rid: i64,
        id: &DocId,
        doc: &Doc,
        report: &mut CheckReport,
    ) -> Result<(), StoreError> {
        for index in self.indexes.of(coll).iter().filter(|i| i.complete) {
            let along = |path: &[SmolStr], see: &mut dyn FnMut(usize, KindSet)| doc.kinds_along(path, see);
            if index.def.kinds.as_ref().is_some_and(|known| !known.cover(&index.def.keys, along)) {
                report.problem(format!(
                    "{}: document {} has a kind of value that is not noted",
                    name(index),
                    id_text(id)
                ));
            }
            let Some(key) = entries::key(index, id, Some(doc)) else { continue };
            let sql = format!("SELECT 1 FROM {} WHERE key = ?1 AND rid = ?2", index_table(index.def.id));
            match self.db.query_one(&sql, &[Param::Blob(&key), Param::Int(rid)], |_| Ok(())) {
                Ok(Some(())) => *self.right.entry(index.def.id).or_default() += 1,
                Ok(None) => report.problem(format!("{}: no entry for document {}", name(index), id_text(id))),
                Err(e) => report.problem(format!("{}: {e}", name(index))),
            }
        }
        Ok(())
    }

    /// Looks for entries that belong to no document, and for tables that belong to no index.
    pub(super) fn finish(&self, report: &mut CheckReport) -> Result<(), StoreError> {
        for index in self.indexes.iter().filter(|i| i.complete) {
            if let Err(e) = self.extra(index, report) {
                report.problem(format!("{}: {e}", name(index)));
            }
        }
        let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name GLOB 'idx_*'";
        self.db.query(sql, &[], |row| {
            let table = row.text(0)?;
            if !self.indexes.iter().any(|i| index_table(i.def.id) == table) {
                report.problem(format!("table {table} belongs to no index"));
            }
            Ok(true)
        })
    }

    fn extra(&self, index: &Index, report: &mut CheckReport) -> Result<(), StoreError> {
        let table = index_table(index.def.id);
        let entries = self.db.query_one(&format!("SELECT count(*) FROM {table}"), &[], |r| r.uint(0))?;
        if entries == Some(self.right.get(&index.def.id).copied().unwrap_or_default()) {
            return Ok(());
        }
        let sql = format!(
            "SELECT i.rid, i.key, d.id, d.flags, d.body FROM {table} AS i LEFT JOIN docs AS d ON d.rid = i.rid"
        );
        self.db.query(&sql, &[], |row| {
            let rid = row.int(0)?;
            if row.is_null(2) {
                report.problem(format!(
                    "{}: an entry for a document that is not there (row {rid})",
                    name(index)
                ));
                return Ok(true);
            }
            // Documents that cannot be read are reported already.
            let (Ok(id), Ok(doc)) =
                (doc_id(self.db, row.blob(2)?), ditto_crdt::decode(row.blob(4)?, self.dict))
            else {
                return Ok(true);
            };
            if row.int(3)? & FLAG_DEAD != 0 {
                report.problem(format!("{}: an entry for a deleted document, {}", name(index), id_text(&id)));
            } else if entries::key(index, &id, Some(&doc)).as_deref() != Some(row.blob(1)?) {
                report.problem(format!("{}: a wrong entry for document {}", name(index), id_text(&id)));
            }
            Ok(true)
        })
    }
}

fn name(index: &Index) -> String {
    format!("index {} of {}", index.def.name, index.def.collection)
}
