//! Rows by the entries of an index.

use std::cell::{Cell, OnceCell};

use ditto_dql::{CollectionRef, IndexDef, IndexScan, KeySpan, Row, decode_key};
use ditto_types::{DocId, SmolStr, Value};

use super::{StoreSource, Visit, doc_id, with_row};
use crate::StoreError;
use crate::driver::{Db, Param, SqlRow};
use crate::index::catalogue;
use crate::row::{Reading, step};
use crate::schema::{FLAG_DEAD, index_table};

/// What is read of each entry.
#[derive(Clone, Copy)]
enum Columns {
    /// The key and the row id of the document.
    Entry,
    /// The row id, then id, flags and body of the document.
    Document,
}

impl StoreSource<'_> {
    /// Visits the documents of an index scan in its order.
    pub(super) fn visit_entries(
        &self,
        collection: &CollectionRef,
        scan: &IndexScan,
        reading: Reading<'_>,
        visit: &mut Visit<'_>,
    ) -> Result<(), StoreError> {
        self.check_index(collection, scan, reading)?;
        let covering = scan.covering;
        let columns = if covering { Columns::Entry } else { Columns::Document };
        self.each(scan, columns, |row| {
            if covering {
                return self.covered(&scan.index, row, reading, visit);
            }
            let rid = row.int(0)?;
            self.check_alive(rid, (!row.is_null(2)).then(|| row.int(2)).transpose()?)?;
            self.with_row((rid, row.blob(1)?, row.blob(3)?), reading, visit)
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
        self.each(scan, Columns::Entry, |row| push(row.int(1)?).map(|()| true))
    }

    /// Fails for an entry that points to nothing, or to a deleted document; `flags` are those of its document.
    pub(super) fn check_alive(&self, rid: i64, flags: Option<i64>) -> Result<(), StoreError> {
        let what = match flags {
            Some(flags) if flags & FLAG_DEAD == 0 => return Ok(()),
            Some(_) => "a deleted document",
            None => "a document that is not there",
        };
        Err(StoreError::Corrupt {
            file: self.db.file().to_path_buf(),
            detail: format!("an index has an entry for {what} (row {rid})"),
        })
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
        columns: Columns,
        mut f: impl FnMut(&SqlRow<'_>) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let mut go_on = true;
        let mut one = |span: &KeySpan| {
            let sql = statement(scan.index.id, span.high.is_some(), scan.reverse, columns);
            let low = Param::Blob(&span.low);
            let mut until = |row: &SqlRow<'_>| {
                go_on = f(row)?;
                Ok(go_on)
            };
            match &span.high {
                Some(high) => self.db.query(&sql, &[low, Param::Blob(high)], &mut until),
                None => self.db.query(&sql, &[low], &mut until),
            }?;
            Ok(go_on)
        };
        let forward = scan.spans.iter();
        let mut spans: Box<dyn Iterator<Item = &KeySpan>> =
            if scan.reverse { Box::new(forward.rev()) } else { Box::new(forward) };
        spans
            .try_for_each(|span| match one(span) {
                Ok(true) => Ok(()),
                Ok(false) => Err(None),
                Err(e) => Err(Some(e)),
            })
            .or_else(|e| e.map_or(Ok(()), Err))
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
            self.check_alive(rid, Some(row.int(1)?))?;
            f(self.db, row)
        })?;
        match found {
            Some(found) => Ok(found),
            None => Err(self.check_alive(rid, None).err().unwrap_or(StoreError::IndexGone)),
        }
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

fn statement(index: u32, has_high: bool, reverse: bool, columns: Columns) -> String {
    let (columns, join) = match columns {
        Columns::Entry => ("i.key, i.rid", ""),
        // The outer join keeps the order and shows entries that point to nothing.
        Columns::Document => ("i.rid, d.id, d.flags, d.body", " LEFT JOIN docs AS d ON d.rid = i.rid"),
    };
    let table = index_table(index);
    let high = if has_high { " AND i.key < ?2" } else { "" };
    let desc = if reverse { " DESC" } else { "" };
    format!(
        "SELECT {columns} FROM {table} AS i{join} WHERE i.key >= ?1{high} ORDER BY i.key{desc}, i.rid{desc}"
    )
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
