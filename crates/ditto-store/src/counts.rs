//! How many documents each collection has that are not deleted, so that COUNT(*) reads one row.
//!
//! The counts are rows of `meta`, beside the row of head and clock that every commit writes: a commit costs no further
//! page, and every snapshot sees the counts of its own documents.

use std::collections::{BTreeMap, HashMap};

use crate::StoreError;
use crate::driver::Db;
use crate::meta;

/// First letters of the rows; the ordinal of the collection follows.
const PREFIX: &str = "docs/";

/// The writer's counts: what the file says, and what has changed since BEGIN.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    stored: HashMap<u32, u64>,
    pending: BTreeMap<u32, i64>,
}

/// State of the changes since BEGIN, to come back to.
pub(crate) type Mark = BTreeMap<u32, i64>;

impl Counts {
    /// Reads the counts of a file.
    pub(crate) fn load(db: &Db) -> Result<Self, StoreError> {
        Ok(Self { stored: all(db)?.into_iter().collect(), pending: BTreeMap::new() })
    }

    /// Notes that `by` documents came into view, or went when it is negative.
    pub(crate) fn add(&mut self, coll: u32, by: i64) {
        if by != 0 {
            *self.pending.entry(coll).or_default() += by;
        }
    }

    /// Documents of a collection as the writer's connection sees them.
    pub(crate) fn get(&self, coll: u32) -> u64 {
        let stored = self.stored.get(&coll).copied().unwrap_or_default();
        stored.saturating_add_signed(self.pending.get(&coll).copied().unwrap_or_default())
    }

    /// Where a savepoint begins.
    pub(crate) fn mark(&self) -> Mark {
        self.pending.clone()
    }

    /// Takes back what came after a mark.
    pub(crate) fn reset(&mut self, mark: Mark) {
        self.pending = mark;
    }

    /// Writes what has changed, inside the transaction.
    pub(crate) fn write(&self, db: &Db) -> Result<(), StoreError> {
        for (coll, by) in self.pending.iter().filter(|(_, by)| **by != 0) {
            let stored = self.stored.get(coll).copied().unwrap_or_default();
            let now = stored.checked_add_signed(*by).ok_or_else(|| StoreError::Corrupt {
                file: db.file().to_path_buf(),
                detail: format!("collection {coll} has more documents than were counted ({stored})"),
            })?;
            put(db, *coll, now)?;
        }
        Ok(())
    }

    /// Notes that what [`Counts::write`] wrote is committed.
    pub(crate) fn committed(&mut self) {
        for (coll, by) in std::mem::take(&mut self.pending) {
            let stored = self.stored.entry(coll).or_default();
            *stored = stored.saturating_add_signed(by);
        }
    }

    /// Notes that everything since BEGIN was taken back.
    pub(crate) fn rolled_back(&mut self) {
        self.pending.clear();
    }
}

/// Documents of a collection in the snapshot that the connection sees.
pub(crate) fn read(db: &Db, coll: u32) -> Result<u64, StoreError> {
    match meta::get(db, &key(coll))? {
        Some(bytes) => decode(db, coll, &bytes),
        None => Ok(0),
    }
}

/// All counts in the snapshot that the connection sees, by ordinal of the collection. One that is not listed is zero.
pub(crate) fn all(db: &Db) -> Result<BTreeMap<u32, u64>, StoreError> {
    let mut out = BTreeMap::new();
    // Every key that begins with the prefix: '0' follows '/'.
    db.query("SELECT key, value FROM meta WHERE key >= 'docs/' AND key < 'docs0'", &[], |row| {
        let name = row.text(0)?;
        let coll = name.strip_prefix(PREFIX).and_then(|n| n.parse().ok()).ok_or_else(|| damaged(db, name))?;
        out.insert(coll, decode(db, coll, row.blob(1)?)?);
        Ok(true)
    })?;
    Ok(out)
}

/// Counts the documents themselves, by ordinal of the collection.
pub(crate) fn count_documents(db: &Db) -> Result<BTreeMap<u32, u64>, StoreError> {
    let mut out = BTreeMap::new();
    db.query("SELECT coll, count(*) FROM docs WHERE flags & 1 = 0 GROUP BY coll", &[], |row| {
        out.insert(row.ordinal(0)?, row.uint(1)?);
        Ok(true)
    })?;
    Ok(out)
}

/// Counts all documents and writes the counts, inside a transaction.
pub(crate) fn recompute(db: &Db) -> Result<(), StoreError> {
    db.exec("DELETE FROM meta WHERE key >= 'docs/' AND key < 'docs0'", &[])?;
    count_documents(db)?.into_iter().try_for_each(|(coll, n)| put(db, coll, n))
}

fn put(db: &Db, coll: u32, n: u64) -> Result<(), StoreError> {
    meta::put(db, &key(coll), &n.to_le_bytes())
}

fn key(coll: u32) -> String {
    format!("{PREFIX}{coll}")
}

fn decode(db: &Db, coll: u32, bytes: &[u8]) -> Result<u64, StoreError> {
    bytes.try_into().map(u64::from_le_bytes).map_err(|_| damaged(db, &key(coll)))
}

fn damaged(db: &Db, key: &str) -> StoreError {
    StoreError::Corrupt { file: db.file().to_path_buf(), detail: format!("meta row {key} is no count") }
}
