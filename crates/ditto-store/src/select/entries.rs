//! Rows by the entries of an index.

use std::cell::{Cell, OnceCell};

use ditto_dql::{CollectionRef, IndexDef, IndexScan, KeySpan, Row, decode_key};
use ditto_types::{DocId, SmolStr, Value};

use super::{StoreSource, Visit, damaged_bytes, doc_id, sound, with_row};
use crate::StoreError;
use crate::driver::{Db, NO_DOCUMENT, Param, SqlRow};
use crate::index::catalogue;
use crate::row::{Reading, ViewRow, step};
use crate::schema::{FLAG_DEAD, index_table};

/// What is read of each entry.
#[derive(Clone, Copy)]
enum Columns {
    /// The key and the row id of the document.
    Entry,
    /// The document, in blocks.
    Document,
}

/// What an entry of an index must not be of.
const DELETED: &str = "a deleted document";

impl StoreSource<'_> {
    /// Visits the documents of an index scan in its order.
    pub(super) fn visit_entries(
        &self,
        collection: &CollectionRef,
        scan: &IndexScan,
        reading: Reading<'_>,
        enough: Option<usize>,
        visit: &mut Visit<'_>,
    ) -> Result<(), StoreError> {
        self.check_index(collection, scan, reading)?;
        if scan.covering {
            return self.each(scan, |row| self.covered(&scan.index, row, reading, visit));
        }
        spans(scan, |span| {
            let mut go_on = true;
            let (sql, params) = statement(scan, span, Columns::Document);
            self.db.blocks(&sql, &params, None, enough, |stored| {
                let row = ViewRow::new(stored, self.dict, reading);
                let row = row.map_err(|e| damaged_bytes(self.db, stored.1, &e))?;
                if !row.is_alive() {
                    return Err(self.db.wrong_entry(stored.0, DELETED));
                }
                go_on = sound(self.db, &row, |row| visit(row))?;
                Ok(go_on)
            })?;
            Ok(go_on)
        })
    }

    /// Appends the row ids of the documents of an index scan.
    pub(super) fn entry_rids(
        &self,
        collection: &CollectionRef,
        scan: &IndexScan,
        reading: Reading<'_>,
        mut push: impl FnMut(i64) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.check_index(collection, scan, reading)?;
        self.each(scan, |row| push(row.int(1)?).map(|()| true))
    }

    fn check_index(
        &self,
        collection: &CollectionRef,
        scan: &IndexScan,
        reading: Reading<'_>,
    ) -> Result<(), StoreError> {
        let index = &*scan.index;
        if index.collection != collection.name {
            let (index, of) = (&index.name, &index.collection);
            return Err(StoreError::Internal(format!("index {index} is of {of} and not of {collection}")));
        }
        if !reading.is_newest() {
            // The snapshot may be newer than the plan, and have a document that the plan could not know of.
            let kinds = catalogue::load_kinds(self.db, index)?;
            if kinds != index.kinds && !reading.is_held_by(&IndexDef { kinds, ..index.clone() }) {
                return Err(StoreError::IndexGone);
            }
        }
        Ok(())
    }

    /// Calls `f` with the entries of all spans, from the last to the first if the scan is reverse.
    fn each(
        &self,
        scan: &IndexScan,
        mut f: impl FnMut(&SqlRow<'_>) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        spans(scan, |span| {
            let mut go_on = true;
            let (sql, params) = statement(scan, span, Columns::Entry);
            self.db.query(&sql, &params, |row| {
                go_on = f(row)?;
                Ok(go_on)
            })?;
            Ok(go_on)
        })
    }

    /// Hands the row that an entry holds to the executor.
    fn covered(
        &self,
        index: &IndexDef,
        entry: &SqlRow<'_>,
        reading: Reading<'_>,
        visit: &mut Visit<'_>,
    ) -> Result<bool, StoreError> {
        let values = decode_key(&index.keys, entry.blob(0)?).map_err(|e| StoreError::Corrupt {
            file: self.db.file().to_path_buf(),
            detail: format!("index {} of {}: an entry: {e}", index.name, index.collection),
        })?;
        let rid = entry.int(1)?;
        let (id, failed) = (OnceCell::new(), Cell::new(None));
        let row = CoveredRow { source: self, index, values, rid, reading, id, failed };
        let out = visit(&row)?;
        row.failed.take().map_or(Ok(out), Err)
    }

    /// The document of a row id, as long as `f` looks at it.
    fn document<T>(
        &self,
        rid: i64,
        f: impl FnOnce(&Db, &SqlRow<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let sql = "SELECT id, flags, body FROM docs WHERE rid = ?1";
        let found = self.db.query_one(sql, &[Param::Int(rid)], |row| {
            if row.int(1)? & FLAG_DEAD != 0 {
                return Err(self.db.wrong_entry(rid, DELETED));
            }
            f(self.db, row)
        })?;
        found.ok_or_else(|| self.db.wrong_entry(rid, NO_DOCUMENT))
    }

    /// Visits documents by their row ids.
    pub(super) fn visit_rids(
        &self,
        rids: &[i64],
        reading: Reading<'_>,
        visit: &mut Visit<'_>,
    ) -> Result<(), StoreError> {
        for rid in rids {
            if !self.document(*rid, |_, r| self.with_row((*rid, r.blob(0)?, r.blob(2)?), reading, visit))? {
                break;
            }
        }
        Ok(())
    }
}

/// Calls `f` with the spans of a scan in its order, until it returns `false`.
fn spans(
    scan: &IndexScan,
    mut f: impl FnMut(&KeySpan) -> Result<bool, StoreError>,
) -> Result<(), StoreError> {
    let count = scan.spans.len();
    for i in 0..count {
        let at = if scan.reverse { count - 1 - i } else { i };
        if !f(&scan.spans[at])? {
            break;
        }
    }
    Ok(())
}

/// The statement for a span, and its parameters.
fn statement<'s>(scan: &IndexScan, span: &'s KeySpan, columns: Columns) -> (String, Vec<Param<'s>>) {
    let (columns, join, block) = match columns {
        Columns::Entry => ("i.key, i.rid", "", ""),
        // The outer join keeps the order and shows entries that point to nothing.
        Columns::Document => {
            ("1", " LEFT JOIN docs AS d ON d.rid = i.rid", " AND ditto_block(i.rid, d.id, d.body)")
        }
    };
    let table = index_table(scan.index.id);
    let mut params = vec![Param::Blob(&span.low)];
    let mut high = "";
    if let Some(bytes) = &span.high {
        params.push(Param::Blob(bytes));
        high = " AND i.key < ?2";
    }
    let desc = if scan.reverse { " DESC" } else { "" };
    let sql = format!(
        "SELECT {columns} FROM {table} AS i{join} WHERE i.key >= ?1{high}{block} ORDER BY i.key{desc}, i.rid{desc}"
    );
    (sql, params)
}

/// What an index entry tells of a document. Its id is looked up when it is asked for.
struct CoveredRow<'a> {
    source: &'a StoreSource<'a>,
    index: &'a IndexDef,
    values: Vec<Option<Value>>,
    rid: i64,
    reading: Reading<'a>,
    id: OnceCell<DocId>,
    failed: Cell<Option<StoreError>>,
}

impl CoveredRow<'_> {
    fn sound<T>(&self, read: Result<T, StoreError>) -> Option<T> {
        read.map_err(|e| self.failed.set(Some(e))).ok()
    }
}

impl Row for CoveredRow<'_> {
    fn id(&self) -> &DocId {
        self.id.get_or_init(|| {
            let id = self.source.document(self.rid, |db, r| doc_id(db, r.blob(0)?));
            // What stands in is never seen: the failure ends the visit.
            self.sound(id).unwrap_or_else(|| DocId::from(false))
        })
    }

    fn position(&self) -> i64 {
        self.rid
    }

    fn field(&self, path: &[SmolStr]) -> Option<Value> {
        for (key, value) in self.index.keys.iter().zip(&self.values) {
            if let Some(inside) = path.strip_prefix(key.path.names()) {
                return step(value.as_ref()?, inside).cloned();
            }
        }
        if let Some(("_id", inside)) = path.split_first().map(|(first, rest)| (first.as_str(), rest)) {
            return step(&self.id().to_value(), inside).cloned();
        }
        // Not in the index: the plan asks for more than it said.
        self.read(|row| row.field(path))?
    }

    fn document(&self) -> Value {
        self.read(|row| row.document()).unwrap_or(Value::Null)
    }
}

impl CoveredRow<'_> {
    /// Reads the document itself.
    fn read<T>(&self, f: impl FnOnce(&dyn Row) -> T) -> Option<T> {
        let read = self.source.document(self.rid, |db, r| {
            let stored = (self.rid, r.blob(0)?, r.blob(2)?);
            with_row(db, self.source.dict, stored, self.reading, |row| Ok(f(row)))
        });
        self.sound(read)
    }
}
