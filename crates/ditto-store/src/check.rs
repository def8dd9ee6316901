//! Verifies a file: everything that can be recomputed is.

mod indexes;

use std::collections::{BTreeSet, HashMap};

use ditto_types::{Digest, HashKey, Hlc, SmolStr};

use self::indexes::IndexCheck;
use crate::StoreError;
use crate::counts;
use crate::dict::{Dict, WriterDict};
use crate::driver::{Db, SqlRow};
use crate::keys;
use crate::meta;
use crate::reaper;
use crate::schema::{FLAG_DEAD, RID_SHIFT, khash_from_sql};
use crate::select::{doc_id, id_text};

/// Problems listed in a report; further ones are only counted.
const MAX_LISTED: usize = 1_000;

/// What [`crate::Store::check`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Documents that are not deleted.
    pub documents: usize,
    /// Deleted documents of which the tombstone is kept.
    pub tombstones: usize,
    /// Deleted documents of which only a gravestone is kept.
    pub gravestones: usize,
    /// Collections that ever held a document.
    pub collections: usize,
    /// Indexes that are complete.
    pub indexes: usize,
    /// Blobs of attachments that are whole.
    pub blobs: usize,
    /// Number of the newest commit.
    pub head: u64,
    /// What does not fit, in words; the first thousand.
    pub problems: Vec<String>,
    /// How many problems there are.
    pub problem_count: usize,
}

impl CheckReport {
    /// Whether everything fits.
    pub fn is_clean(&self) -> bool {
        self.problem_count == 0
    }

    pub(crate) fn problem(&mut self, text: String) {
        self.problem_count += 1;
        if self.problems.len() < MAX_LISTED {
            self.problems.push(text);
        }
    }
}

/// Checks the snapshot that `db` sees. Damage is reported, not returned as an error, as far as the engine can go on.
pub(crate) fn run(db: &Db, hash_key: &HashKey) -> Result<CheckReport, StoreError> {
    let mut report = CheckReport { head: meta::head(db)?, ..CheckReport::default() };
    for line in db.text_pragma("integrity_check(100)")? {
        if line != "ok" {
            report.problem(format!("storage engine: {line}"));
        }
    }
    // From the file, and not the one in memory, which may know entries that the file lacks.
    let dict = match WriterDict::load(db) {
        Ok(dict) => dict,
        Err(e) => {
            report.problem(e.to_string());
            return Ok(report);
        }
    };
    let names: HashMap<u32, SmolStr> = dict.shared().collection_list().into_iter().collect();
    report.collections = names.len();
    let peers = db.query_one("SELECT count(*) FROM peer", &[], |r| r.uint(0))?.unwrap_or(0);
    let mut indexes = match IndexCheck::new(db, dict.shared()) {
        Ok(indexes) => indexes,
        Err(e) => {
            report.problem(e.to_string());
            return Ok(report);
        }
    };
    report.indexes = indexes.count();
    let against =
        Against { db, dict: dict.shared(), names: &names, hash_key, peers, clock: meta::clock(db)? };
    // Rows so far; collection and first commit of the last one.
    let (mut rows, mut last) = (0, (0, 0));
    db.query(
        "SELECT rid, coll, id, khash, seq, digest, src, flags, body, born FROM docs ORDER BY rid",
        &[],
        |row| {
            rows += 1;
            match Document::read(row) {
                Ok(d) => {
                    if last.0 == d.coll && d.born < last.1 {
                        report
                            .problem(format!("row {}: made by an earlier commit than the row before", d.rid));
                    }
                    last = (d.coll, d.born);
                    d.check(&against, &mut indexes, &mut report)?;
                }
                Err(e) => report.problem(format!("row {}: {e}", row.int(0)?)),
            }
            Ok(true)
        },
    )?;
    keys::check(db, rows, &mut report)?;
    indexes.finish(&mut report)?;
    check_counts(db, &names, &mut report)?;
    reaper::check(&against, &mut report)?;
    db.query("SELECT own_seq FROM cursor", &[], |row| {
        if row.uint(0)? > report.head {
            report.problem(format!("a cursor stands at commit {}, after the newest", row.int(0)?));
        }
        Ok(true)
    })?;
    Ok(report)
}

/// Compares the counts of documents with the documents.
fn check_counts(db: &Db, names: &HashMap<u32, SmolStr>, report: &mut CheckReport) -> Result<(), StoreError> {
    let kept = match counts::all(db) {
        Ok(kept) => kept,
        Err(e) => {
            report.problem(e.to_string());
            return Ok(());
        }
    };
    let found = counts::count_documents(db)?;
    let every: BTreeSet<u32> = kept.keys().chain(found.keys()).copied().collect();
    for coll in every {
        let (kept, found) = (kept.get(&coll).unwrap_or(&0), found.get(&coll).unwrap_or(&0));
        if kept != found {
            let name = names.get(&coll).map_or_else(|| coll.to_string(), ToString::to_string);
            report.problem(format!("collection {name}: {found} documents, but {kept} are counted"));
        }
    }
    Ok(())
}

/// What documents are checked against.
pub(crate) struct Against<'a> {
    pub(crate) db: &'a Db,
    pub(crate) dict: &'a Dict,
    pub(crate) names: &'a HashMap<u32, SmolStr>,
    pub(crate) hash_key: &'a HashKey,
    peers: u64,
    clock: Hlc,
}

struct Document<'r> {
    rid: i64,
    coll: u32,
    id: &'r [u8],
    khash: i64,
    seq: u64,
    digest: Digest,
    src: u32,
    flags: i64,
    body: &'r [u8],
    born: u64,
}

impl<'r> Document<'r> {
    fn read(row: &'r SqlRow<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            rid: row.int(0)?,
            coll: row.ordinal(1)?,
            id: row.blob(2)?,
            khash: row.int(3)?,
            seq: row.uint(4)?,
            digest: Digest(row.array(5)?),
            src: row.ordinal(6)?,
            flags: row.int(7)?,
            body: row.blob(8)?,
            born: row.uint(9)?,
        })
    }

    fn check(
        &self,
        against: &Against<'_>,
        indexes: &mut IndexCheck<'_>,
        report: &mut CheckReport,
    ) -> Result<(), StoreError> {
        let at = format!("row {}", self.rid);
        let Some(name) = against.names.get(&self.coll) else {
            report.problem(format!("{at}: unknown collection {}", self.coll));
            return Ok(());
        };
        let id = match doc_id(against.db, self.id) {
            Ok(id) => id,
            Err(e) => {
                report.problem(format!("{at}: {e}"));
                return Ok(());
            }
        };
        let head = report.head;
        let at = format!("document {} of {name}", id_text(&id));
        let mut expect = |holds: bool, what: &str| {
            if !holds {
                report.problem(format!("{at}: {what}"));
            }
        };
        expect(self.rid >> RID_SHIFT == i64::from(self.coll), "the row lies outside of its collection");
        expect(khash_from_sql(self.khash) == against.hash_key.key_hash(name, &id), "the key hash is wrong");
        expect(self.seq >= 1, "it belongs to no commit");
        expect(self.born <= self.seq, "its row was made by a later commit");
        let entry = keys::entry(self.coll, khash_from_sql(self.khash), self.rid);
        let sql = "SELECT 1 FROM key WHERE coll = ?1 AND khash = ?2 AND rid = ?3";
        expect(against.db.query_one(sql, &entry, |_| Ok(()))?.is_some(), "it has no entry among the keys");
        expect(self.seq <= head, "it belongs to a commit after the newest");
        expect(u64::from(self.src) <= against.peers, "it names an unknown peer");
        match ditto_crdt::decode(self.body, against.dict) {
            Err(e) => expect(false, &format!("the stored state cannot be read: {e}")),
            Ok(doc) => {
                expect(doc.digest(against.hash_key) == self.digest, "the digest is wrong");
                expect(doc.is_alive() == (self.flags & FLAG_DEAD == 0), "the deletion flag is wrong");
                expect(doc.max_hlc() <= against.clock, "it has a stamp after the newest of the clock");
                if doc.is_alive() {
                    report.documents += 1;
                } else {
                    report.tombstones += 1;
                }
                indexes.document(self.coll, self.rid, &id, &doc, report)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
