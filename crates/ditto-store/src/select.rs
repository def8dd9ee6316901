//! Reading: the rows of a collection for SELECT and for the choice of documents to change.

mod entries;
mod rids;
mod system;

use std::sync::Arc;

use ditto_dql::{
    Access, CollectionRef, DqlError, Interrupt, Items, Namespace, Row, RunContext, SelectPlan, Source,
    TermScan,
};
use ditto_types::json::JsonText;
use ditto_types::{DocId, ErrorKind, HashKey};

use crate::StoreError;
use crate::core::Core;
use crate::counts::{self, Counts};
use crate::dict::Dict;
use crate::driver::{Db, Param, Stored};
use crate::row::{self, Reading, Trails, ViewRow};
use crate::schema::{FLAG_DEAD, RID_SHIFT, by_id, khash_to_sql};
use crate::shared::Shared;

/// Largest collection ordinal whose row ids fit.
pub(crate) const MAX_COLLECTION_REF: u32 = (1 << (63 - RID_SHIFT)) - 1;

/// What the executor calls with each row; `false` ends the visit.
type Visit<'v> = dyn FnMut(&dyn Row) -> Result<bool, StoreError> + 'v;

/// Runs a SELECT.
pub(crate) fn select(source: &StoreSource<'_>, plan: &SelectPlan) -> Result<Items, StoreError> {
    plan.run(source, &RunContext::default())
}

/// What a connection sees, as a source of rows: a snapshot, or what the writer has done so far.
#[derive(Clone, Copy)]
pub(crate) struct StoreSource<'a> {
    db: &'a Db,
    dict: &'a Arc<Dict>,
    hash_key: &'a HashKey,
    /// Counts of what is not committed; `None` for a snapshot.
    counts: Option<&'a Counts>,
    /// What the system collections are made of.
    system: Option<&'a Shared>,
    /// Who may end a long search before it gives its first row.
    interrupt: Option<&'a dyn Interrupt>,
}

impl<'a> StoreSource<'a> {
    /// The snapshot that a reading connection sees.
    pub(crate) fn snapshot(db: &'a Db, dict: &'a Arc<Dict>, hash_key: &'a HashKey) -> Self {
        Self { db, dict, hash_key, counts: None, system: None, interrupt: None }
    }

    /// With the system collections.
    pub(crate) fn with_system(self, shared: &'a Shared) -> Self {
        Self { system: Some(shared), ..self }
    }

    /// As long as `interrupt` lets it.
    pub(crate) fn interrupted_by(self, interrupt: &'a dyn Interrupt) -> Self {
        Self { interrupt: Some(interrupt), ..self }
    }

    /// What the writer sees.
    pub(crate) fn writer(core: &'a Core) -> Self {
        Self {
            db: &core.db,
            dict: core.dict.shared(),
            hash_key: &core.hash_key,
            counts: Some(&core.counts),
            system: Some(&core.shared),
            interrupt: core.request.as_deref().map(|r| r as &dyn Interrupt),
        }
    }

    fn visit_ids(
        &self,
        coll: u32,
        scan: &TermScan<'_>,
        ids: &[DocId],
        visit: &mut Visit<'_>,
    ) -> Result<(), StoreError> {
        let reading = Reading::new(scan.declared, scan.strict);
        for id in ids {
            let khash = khash_to_sql(self.hash_key.key_hash(&scan.collection.name, id));
            let go_on = self.db.query_one(
                by_id!("flags, body, rid"),
                &[Param::Int(coll.into()), Param::Int(khash), Param::Blob(id.as_bytes())],
                |r| {
                    if r.int(0)? & FLAG_DEAD != 0 {
                        return Ok(true);
                    }
                    self.with_row((r.int(2)?, id.as_bytes(), r.blob(1)?), reading, visit)
                },
            )?;
            if go_on == Some(false) {
                break;
            }
        }
        Ok(())
    }

    /// Hands one stored document to the executor.
    fn with_row(
        &self,
        document: Stored<'_>,
        reading: Reading<'_>,
        visit: &mut Visit<'_>,
    ) -> Result<bool, StoreError> {
        with_row(self.db, self.dict, document, reading, |row| visit(row))
    }
}

impl Source for StoreSource<'_> {
    type Error = StoreError;

    /// Documents come in the order of their ids for [`Access::Ids`], of the entries for [`Access::Index`], else in the
    /// order of their first arrival.
    fn visit(&self, scan: &TermScan<'_>, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        if scan.collection.namespace == Namespace::System {
            return self.visit_system(scan, visit);
        }
        // A collection without ordinal never held a document.
        let Some(coll) = self.dict.collection_ref(&scan.collection.name) else { return Ok(()) };
        let trails = Trails::default();
        let reading = Reading::new(scan.declared, scan.strict).along(&trails);
        match scan.access {
            Access::Ids(ids) => self.visit_ids(coll, scan, ids, visit),
            Access::Scan => {
                // Entries of an index and rows by id are few; here most rows may be unwanted.
                let filter = scan.filter.filter(|_| reading.is_newest());
                let keep = filter.map(|f| row::keep(f.to_filter(), self.dict.clone()));
                let enough = scan.enough.filter(|_| keep.is_none());
                self.db.scan(rid_range(coll), keep, enough, |stored| {
                    let row = ViewRow::new(stored, self.dict, reading);
                    let row = row.map_err(|e| damaged_bytes(self.db, stored.1, &e))?;
                    // Whether a document is deleted stands in its body too, which is read in any case.
                    if row.is_alive() { sound(self.db, &row, |row| visit(row)) } else { Ok(true) }
                })
            }
            Access::Index(index) => self.visit_entries(scan.collection, index, reading, scan.enough, visit),
            Access::Union(_) | Access::Intersect(_) => {
                let rids = self.rids(coll, scan.collection, scan.access, reading)?;
                self.visit_rids(&rids, reading, visit)
            }
        }
    }

    fn count(&self, collection: &CollectionRef) -> Result<u64, StoreError> {
        if collection.namespace == Namespace::System {
            return Ok(self.system_rows(&collection.name)?.len() as u64);
        }
        match (self.dict.collection_ref(&collection.name), self.counts) {
            (None, _) => Ok(0),
            (Some(coll), Some(counts)) => Ok(counts.get(coll)),
            (Some(coll), None) => counts::read(self.db, coll),
        }
    }
}

/// What the language has and the store does not.
pub(crate) fn unsupported(construct: &str) -> DqlError {
    DqlError::new(ErrorKind::QueryUnsupported, format!("Unsupported feature: {construct}"))
}

/// Reads the stored form of a document, its row id, id and body, in place and hands it to `f`. Damage that `f` met is the
/// error.
pub(crate) fn with_row<T>(
    db: &Db,
    dict: &Arc<Dict>,
    stored: Stored<'_>,
    reading: Reading<'_>,
    f: impl FnOnce(&ViewRow<'_>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let row = ViewRow::new(stored, dict, reading).map_err(|e| damaged_bytes(db, stored.1, &e))?;
    sound(db, &row, f)
}

/// What `f` makes of a row, unless it met damage.
fn sound<T>(
    db: &Db,
    row: &ViewRow<'_>,
    f: impl FnOnce(&ViewRow<'_>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let out = f(row)?;
    match row.damage() {
        Some(e) => Err(damaged_bytes(db, row.id_bytes(), &e)),
        None => Ok(out),
    }
}

/// Smallest and largest row id of a collection.
pub(crate) fn rid_range(coll: u32) -> (i64, i64) {
    let first = i64::from(coll) << RID_SHIFT;
    (first, first | ((1 << RID_SHIFT) - 1))
}

/// An id from the file.
pub(crate) fn doc_id(db: &Db, bytes: &[u8]) -> Result<DocId, StoreError> {
    DocId::from_bytes(bytes).map_err(|e| StoreError::Corrupt {
        file: db.file().to_path_buf(),
        detail: format!("a document id: {e}"),
    })
}

/// A document of the file that cannot be read.
pub(crate) fn damaged(db: &Db, id: &DocId, e: &dyn std::fmt::Display) -> StoreError {
    damaged_bytes(db, id.as_bytes(), e)
}

fn damaged_bytes(db: &Db, id: &[u8], e: &dyn std::fmt::Display) -> StoreError {
    let id = JsonText::of_encoded(id).unwrap_or_else(|_| format!("with the malformed id {id:02x?}"));
    StoreError::Corrupt { file: db.file().to_path_buf(), detail: format!("document {id}: {e}") }
}

/// A document id as JSON, for messages.
pub(crate) fn id_text(id: &DocId) -> String {
    ditto_types::json::to_string(&id.to_value())
}
