//! Keeping the entries of indexes as documents change.

use ditto_crdt::Doc;
use ditto_dql::Row;
use ditto_types::DocId;

use super::Index;
use crate::StoreError;
use crate::driver::{Db, Param};
use crate::row::DocRow;

/// Brings the entries of one document up to date: `old` and `new` are its states before and after, dead or alive, or
/// `None` where the store did not have it. Only entries whose key changes are touched.
pub(crate) fn update(
    db: &Db,
    indexes: &[std::sync::Arc<Index>],
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
    db.exec(&index.insert_sql, &[Param::Blob(key), Param::Int(rid)])?;
    Ok(())
}

/// The key of a document; `None` when it has no entry.
pub(crate) fn key(index: &Index, id: &DocId, doc: Option<&Doc>) -> Option<Vec<u8>> {
    let row = DocRow::new(id, doc.filter(|d| d.is_alive())?);
    index.def.entry(|path| row.field(path))
}
