//! Rows in blocks, for scans that look at every document of a collection.
//!
//! A step to the next row and its columns take longer in the binding than the row takes in the engine. So the engine
//! copies rows into a block by itself: as the effect of a function in WHERE that is false until the block is full. The
//! rows are visited outside of the engine, one block after the other. A function before it can leave rows out where
//! they lie.

use std::cell::RefCell;

use rusqlite::Connection;
use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::ValueRef;

use super::{Db, Param};
use crate::StoreError;

/// The statement that scans the rows `?1` to `?2` of `docs`. CASE is what guarantees the order of the calls.
const SCAN: &str = "SELECT 1 FROM docs WHERE rid BETWEEN ?1 AND ?2 \
                    AND CASE WHEN ditto_keep(body) THEN ditto_block(rid, id, body) ELSE 0 END";

/// [`SCAN`] without leaving out rows.
const SCAN_ALL: &str = "SELECT 1 FROM docs WHERE rid BETWEEN ?1 AND ?2 AND ditto_block(rid, id, body)";

/// Bytes after which a block is full: half of what the innermost cache of most processors holds.
const BLOCK_BYTES: usize = 24 * 1024;

/// Rows that are left out one after the other. The next one is kept and ends its block, so that whoever visits the rows
/// can end the scan although none of them is wanted.
const MAX_LEFT_OUT: usize = 128;

/// Rows of the first block, unless it is known how many are enough: a visit may need no more. Each block has four times
/// as many as the one before.
const FIRST_ROWS: usize = 4;

/// What an entry of an index must not be of.
pub(crate) const NO_DOCUMENT: &str = "a document that is not there";

thread_local! {
    /// What the function fills, while this thread is in a step of a scan.
    static FILLING: RefCell<Block> = const { RefCell::new(Block::new()) };
}

/// Row id, id and body of a document.
pub(crate) type Stored<'a> = (i64, &'a [u8], &'a [u8]);

#[derive(Default)]
struct Block {
    rows: Vec<Place>,
    bytes: Vec<u8>,
    /// Rows that fill it.
    wanted: usize,
    damage: Option<Damage>,
    /// Which bodies are kept.
    keep: Option<Keep>,
    /// Rows left out since the last one that was kept.
    left_out: usize,
}

/// What ends a scan.
enum Damage {
    /// A column with a value of the wrong type.
    Column(&'static str),
    /// An entry of an index has a row id that no document has.
    NoDocument(i64),
}

/// Whether the document with this body may be wanted.
pub(crate) type Keep = Box<dyn Fn(&[u8]) -> bool>;

/// Where a row is in the bytes of its block; it begins where the one before ends.
struct Place {
    rid: i64,
    /// End of the id, where the body begins.
    body: usize,
    end: usize,
}

impl Block {
    const fn new() -> Self {
        Self { rows: Vec::new(), bytes: Vec::new(), wanted: 0, damage: None, keep: None, left_out: 0 }
    }

    /// Whether a row is kept. One of the wrong type is, for [`Block::push`] to find.
    fn keeps(&mut self, row: &Context<'_>) -> bool {
        let (ValueRef::Blob(body), Some(keep)) = (row.get_raw(0), &self.keep) else { return true };
        if self.left_out >= MAX_LEFT_OUT || keep(body) {
            return true;
        }
        self.left_out += 1;
        false
    }

    /// Takes a row; whether the block is full then.
    fn push(&mut self, row: &Context<'_>) -> bool {
        let ValueRef::Integer(rid) = row.get_raw(0) else { return self.stop(Damage::Column("rid")) };
        let id = match row.get_raw(1) {
            ValueRef::Blob(id) => id,
            // Of an outer join: the column itself is NOT NULL.
            ValueRef::Null => return self.stop(Damage::NoDocument(rid)),
            _ => return self.stop(Damage::Column("id")),
        };
        let ValueRef::Blob(body) = row.get_raw(2) else { return self.stop(Damage::Column("body")) };
        self.bytes.extend_from_slice(id);
        let start = self.bytes.len();
        self.bytes.extend_from_slice(body);
        self.rows.push(Place { rid, body: start, end: self.bytes.len() });
        let overdue = std::mem::take(&mut self.left_out) >= MAX_LEFT_OUT;
        overdue || self.rows.len() >= self.wanted || self.bytes.len() >= BLOCK_BYTES
    }

    fn stop(&mut self, damage: Damage) -> bool {
        self.damage = Some(damage);
        true
    }

    /// Makes room for the next rows, `wanted` at most.
    fn empty(&mut self, wanted: usize) {
        self.rows.clear();
        self.bytes.clear();
        self.wanted = wanted;
    }

    /// Visits the rows; whether all of them were wanted.
    fn visit(&self, f: &mut impl FnMut(Stored<'_>) -> Result<bool, StoreError>) -> Result<bool, StoreError> {
        let mut start = 0;
        for Place { rid, body, end } in &self.rows {
            let (id, body) = self.bytes[start..*end].split_at(*body - start);
            start = *end;
            if !f((*rid, id, body))? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Makes the functions known to a connection.
pub(super) fn register(connection: &Connection) -> rusqlite::Result<()> {
    let flags = || FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DIRECTONLY;
    let keep = |row: &Context<'_>| Ok(FILLING.with_borrow_mut(|block| block.keeps(row)));
    connection.create_scalar_function("ditto_keep", 1, flags(), keep)?;
    let push = |row: &Context<'_>| Ok(FILLING.with_borrow_mut(|block| block.push(row)));
    connection.create_scalar_function("ditto_block", 3, flags(), push)
}

impl Db {
    /// Calls `f` for the documents with these row ids, deleted ones too, in their order and until it returns `false`. Few
    /// of them are such that `keep` is false.
    pub(crate) fn scan(
        &self,
        (first, last): (i64, i64),
        keep: Option<Keep>,
        enough: Option<usize>,
        f: impl FnMut(Stored<'_>) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let sql = if keep.is_some() { SCAN } else { SCAN_ALL };
        self.blocks(sql, &[Param::Int(first), Param::Int(last)], keep, enough, f)
    }

    /// Calls `f` for the documents that `ditto_block(rid, id, body)`, the last condition of `sql`, is asked about, in their order
    /// and until it returns `false`, which it is expected to do after `enough` rows.
    pub(crate) fn blocks(
        &self,
        sql: &str,
        params: &[Param<'_>],
        keep: Option<Keep>,
        enough: Option<usize>,
        mut f: impl FnMut(Stored<'_>) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let mut statement = self.wrap(self.conn.prepare_cached(sql))?;
        let mut rows = self.wrap(statement.query(rusqlite::params_from_iter(params)))?;
        let mut block = Block { keep, ..Block::new() };
        let (mut wanted, mut next) = (enough.unwrap_or(FIRST_ROWS).max(1), FIRST_ROWS);
        loop {
            block.empty(wanted);
            next = next.saturating_mul(4);
            wanted = next;
            // Only during the step: what visits the rows may scan as well.
            FILLING.set(block);
            let step = rows.next().map(|row| row.is_some());
            block = FILLING.take();
            let more = self.wrap(step)?;
            if !block.visit(&mut f)? {
                return Ok(());
            }
            match block.damage {
                None => {}
                Some(Damage::Column(name)) => return Err(self.wrong(name, "a value of the right type")),
                Some(Damage::NoDocument(rid)) => return Err(self.wrong_entry(rid, NO_DOCUMENT)),
            }
            if !more {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::Mode;

    fn table(rows: i64) -> (tempfile::TempDir, Db) {
        let directory = tempfile::tempdir().expect("a folder");
        let db = Db::open(&directory.path().join("t.db"), Mode::Create).expect("a file");
        db.batch("CREATE TABLE docs(rid INTEGER PRIMARY KEY, id, body)").expect("a table");
        for i in 0..rows {
            let id = i.to_be_bytes();
            let params = [Param::Int(i), Param::Blob(&id), Param::Blob(&body(i))];
            db.exec("INSERT INTO docs VALUES(?1, ?2, ?3)", &params).expect("a row");
        }
        (directory, db)
    }

    fn body(rid: i64) -> Vec<u8> {
        vec![rid as u8; (rid * 37 % 3000) as usize]
    }

    fn count(db: &Db, first: i64) -> usize {
        let mut seen = 0;
        db.scan((first, i64::MAX), None, None, |_| {
            seen += 1;
            Ok(true)
        })
        .expect("a scan");
        seen
    }

    #[test]
    fn every_row_comes_once_and_in_order_also_in_nested_scans() {
        let (_directory, db) = table(500);
        let mut seen = Vec::new();
        db.scan((7, 450), None, None, |(rid, id, found)| {
            assert_eq!(id, rid.to_be_bytes());
            assert_eq!(found, body(rid));
            if rid % 100 == 0 {
                assert_eq!(count(&db, rid), 500 - rid as usize);
            }
            seen.push(rid);
            Ok(true)
        })
        .expect("a scan");
        assert_eq!(seen, (7..=450).collect::<Vec<i64>>());
    }

    #[test]
    fn rows_are_left_out_but_not_for_long() {
        let (_directory, db) = table(1000);
        let keeps = |body: &[u8]| body.first() == Some(&50);
        let wanted: Vec<i64> = (0..1000).filter(|i| keeps(&body(*i))).collect();
        let (mut seen, mut last) = (Vec::new(), -1);
        db.scan((0, 999), Some(Box::new(keeps)), None, |(rid, _, body)| {
            assert!(rid > last && rid - last <= MAX_LEFT_OUT as i64 + 1, "{last}, then {rid}");
            last = rid;
            if keeps(body) {
                seen.push(rid);
            }
            Ok(true)
        })
        .expect("a scan");
        assert_eq!(seen, wanted);
        // Rows that are not wanted do come, but few.
        let mut others = 0;
        db.scan((0, 999), Some(Box::new(|_| false)), None, |_| {
            others += 1;
            Ok(true)
        })
        .expect("a scan");
        assert_eq!(others, 1000 / (MAX_LEFT_OUT + 1));
    }

    #[test]
    fn a_visit_ends_where_it_is_told_to_and_errors_come_through() {
        let (_directory, db) = table(50);
        for wanted in [1, 4, 5, 50] {
            let mut seen = 0;
            db.scan((0, 99), None, None, |_| {
                seen += 1;
                Ok(seen < wanted)
            })
            .expect("a scan");
            assert_eq!(seen, wanted);
        }
        let failed = db.scan((0, 99), None, None, |_| Err(StoreError::Cancelled));
        assert!(matches!(failed, Err(StoreError::Cancelled)));
        // A later scan starts with an empty block.
        assert_eq!(count(&db, 48), 2);
    }

    #[test]
    fn a_column_of_the_wrong_type_is_damage_after_the_rows_before_it() {
        let (_directory, db) = table(10);
        db.exec("UPDATE docs SET body = 'text' WHERE rid = 6", &[]).expect("a change");
        let keeps: [Option<Keep>; 2] = [None, Some(Box::new(|_| true))];
        for keep in keeps {
            let mut seen = 0;
            let error = db.scan((0, 99), keep, None, |_| {
                seen += 1;
                Ok(true)
            });
            assert_eq!(seen, 6);
            assert!(matches!(error, Err(StoreError::Corrupt { detail, .. }) if detail.contains("body")));
        }
    }
}
