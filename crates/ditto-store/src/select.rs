//! Reading: the rows of a collection for SELECT and for the choice of documents to change.

use ditto_crdt::DocView;
use ditto_dql::{
    Access, CollectionRef, DqlError, Item, Namespace, Row, RunContext, SelectPlan, Source, TermScan,
};
use ditto_types::{DocId, ErrorKind, HashKey, Value};

use crate::StoreError;
use crate::dict::Dict;
use crate::driver::{Db, Param, SqlRow};
use crate::row::ViewRow;
use crate::schema::{FLAG_DEAD, RID_SHIFT, khash_to_sql};

/// Largest collection ordinal whose row ids fit.
pub(crate) const MAX_COLLECTION_REF: u32 = (1 << (63 - RID_SHIFT)) - 1;

/// Runs a SELECT on the snapshot that `db` sees.
pub(crate) fn select(
    db: &Db,
    dict: &Dict,
    hash_key: &HashKey,
    plan: &SelectPlan,
) -> Result<Vec<Value>, StoreError> {
    let rows = plan.run(&StoreSource { db, dict, hash_key }, &RunContext::default())?;
    Ok(rows.items.into_iter().map(Item::into_value).collect())
}

/// The snapshot that a connection sees, as a source of rows.
#[derive(Clone, Copy)]
pub(crate) struct StoreSource<'a> {
    pub(crate) db: &'a Db,
    pub(crate) dict: &'a Dict,
    pub(crate) hash_key: &'a HashKey,
}

impl Source for StoreSource<'_> {
    type Error = StoreError;

    /// Documents come in the order of their ids for [`Access::Ids`], else in the order of their first arrival.
    fn visit(
        &self,
        scan: &TermScan<'_>,
        visit: &mut dyn FnMut(&dyn Row) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        // A collection without ordinal never held a document.
        let Some(coll) = self.collection_ref(scan.collection)? else { return Ok(()) };
        let StoreSource { db, dict, hash_key } = *self;
        match scan.access {
            Access::Ids(ids) => {
                for id in ids {
                    let khash = khash_to_sql(hash_key.key_hash(&scan.collection.name, id));
                    let go_on = db.query_one(
                        "SELECT flags, body FROM docs WHERE coll = ?1 AND khash = ?2 AND id = ?3",
                        &[Param::Int(coll.into()), Param::Int(khash), Param::Blob(id.as_bytes())],
                        |r| {
                            if r.int(0)? & FLAG_DEAD != 0 {
                                Ok(true)
                            } else {
                                with_row(db, dict, r, 1, id, |_, row| visit(row))
                            }
                        },
                    )?;
                    if go_on == Some(false) {
                        break;
                    }
                }
                Ok(())
            }
            Access::Scan => {
                let (first, last) = rid_range(coll);
                db.query(
                    "SELECT id, body FROM docs WHERE rid BETWEEN ?1 AND ?2 AND flags & 1 = 0",
                    &[Param::Int(first), Param::Int(last)],
                    |r| with_row(db, dict, r, 1, &doc_id(db, r.blob(0)?)?, |_, row| visit(row)),
                )
            }
            Access::Index(_) | Access::Union(_) | Access::Intersect(_) => {
                Err(unsupported("index scans").into())
            }
        }
    }

    fn count(&self, collection: &CollectionRef) -> Result<u64, StoreError> {
        let Some(coll) = self.collection_ref(collection)? else { return Ok(0) };
        let (first, last) = rid_range(coll);
        let count = self.db.query_one(
            "SELECT count(*) FROM docs WHERE rid BETWEEN ?1 AND ?2 AND flags & 1 = 0",
            &[Param::Int(first), Param::Int(last)],
            |r| r.uint(0),
        )?;
        Ok(count.unwrap_or(0))
    }
}

impl StoreSource<'_> {
    fn collection_ref(&self, collection: &CollectionRef) -> Result<Option<u32>, StoreError> {
        match collection.namespace {
            Namespace::Default => Ok(self.dict.collection_ref(&collection.name)),
            Namespace::System => Err(unsupported("system collections").into()),
        }
    }
}

/// What the language has and the store does not.
pub(crate) fn unsupported(construct: &str) -> DqlError {
    DqlError::new(ErrorKind::QueryUnsupported, format!("Unsupported feature: {construct}"))
}

/// Reads the body in column `column` in place and hands it to `f`.
pub(crate) fn with_row<T>(
    db: &Db,
    dict: &Dict,
    sql: &SqlRow<'_>,
    column: usize,
    id: &DocId,
    f: impl FnOnce(&DocId, &ViewRow<'_>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let view = DocView::new(sql.blob(column)?, dict).map_err(|e| damaged(db, id, &e))?;
    let row = ViewRow::new(id, view);
    let out = f(id, &row)?;
    match row.damage() {
        Some(e) => Err(damaged(db, id, &e)),
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
    StoreError::Corrupt { file: db.file().to_path_buf(), detail: format!("document {}: {e}", id_text(id)) }
}

/// A document id as JSON, for messages.
pub(crate) fn id_text(id: &DocId) -> String {
    ditto_types::json::to_string(&id.to_value())
}
