//! The rows of `idx`: definitions of indexes.

use std::sync::Arc;

use ditto_dql::{IndexDef, IndexKey, IndexKinds, MAX_INDEX_KEYS};
use ditto_types::wire::{Reader, WireError, put_str, put_varint};
use ditto_types::{KindSet, MAX_DEPTH, Path, SmolStr};

use super::{Index, Indexes};
use crate::StoreError;
use crate::dict::Dict;
use crate::driver::{Db, Param};
use crate::schema;

/// State of an index of which the entries of some documents are missing.
const BUILDING: i64 = 0;
/// State of an index that can be used.
const COMPLETE: i64 = 1;

/// Bits of a key's first byte.
const DESCENDING: u8 = 1;
const INCLUDE_MISSING: u8 = 2;

/// Reads the indexes in the snapshot that the connection sees.
pub(crate) fn load(db: &Db, dict: &Dict) -> Result<Indexes, StoreError> {
    let mut out = Indexes::default();
    db.query("SELECT id, coll, name, def, state, kinds FROM idx ORDER BY id", &[], |row| {
        let (id, coll) = (row.ordinal(0)?, row.ordinal(1)?);
        let damaged = |why: &dyn std::fmt::Display| StoreError::Corrupt {
            file: db.file().to_path_buf(),
            detail: format!("index {id}: {why}"),
        };
        let collection =
            dict.collection(coll).ok_or_else(|| damaged(&format!("unknown collection {coll}")))?;
        let keys = decode(row.blob(3)?).map_err(|e| damaged(&e))?;
        let kinds = match row.is_null(5) {
            true => None,
            false => Some(kinds(&keys, row.blob(5)?).ok_or_else(|| damaged(&"kinds of values"))?),
        };
        let (name, collection) = (SmolStr::new(row.text(2)?), collection.clone());
        let def = IndexDef { id, name, collection, keys, kinds };
        out.put(Index::new(Arc::new(def), coll, row.int(4)? == COMPLETE));
        Ok(true)
    })?;
    Ok(out)
}

/// Drops what was not finished before the file was opened. Nobody was told that it exists.
pub(super) fn drop_unfinished(db: &Db, indexes: &mut Indexes) -> Result<(), StoreError> {
    let unfinished: Vec<Arc<Index>> = indexes.iter().filter(|i| !i.complete).cloned().collect();
    if unfinished.is_empty() {
        return Ok(());
    }
    db.batch("BEGIN IMMEDIATE")?;
    let dropped = unfinished.iter().try_for_each(|i| delete(db, i)).and_then(|()| db.batch("COMMIT"));
    if let Err(e) = dropped {
        if db.in_transaction() {
            db.batch("ROLLBACK")?;
        }
        return Err(e);
    }
    for index in unfinished {
        let (collection, name) = (&index.def.collection, &index.def.name);
        tracing::warn!(%collection, index = %name, "an index was not finished before the last end and is gone");
        indexes.remove(&index);
    }
    Ok(())
}

/// Writes the row and the empty table of an index that is going to be built.
pub(super) fn insert(db: &Db, index: &Index) -> Result<(), StoreError> {
    db.exec(
        "INSERT INTO idx(id, coll, name, def, state) VALUES(?1, ?2, ?3, ?4, ?5)",
        &[
            Param::Int(index.def.id.into()),
            Param::Int(index.coll.into()),
            Param::Text(&index.def.name),
            Param::Blob(&encode(&index.def.keys)),
            Param::Int(if index.complete { COMPLETE } else { BUILDING }),
        ],
    )?;
    if let Some(kinds) = &index.def.kinds {
        save_kinds(db, index.def.id, kinds)?;
    }
    db.batch(&schema::create_index_table(index.def.id))
}

/// Marks an index as complete.
pub(super) fn complete(db: &Db, id: u32) -> Result<(), StoreError> {
    db.exec("UPDATE idx SET state = ?2 WHERE id = ?1", &[Param::Int(id.into()), Param::Int(COMPLETE)])?;
    Ok(())
}

/// Notes the kinds of values of an index.
pub(super) fn save_kinds(db: &Db, id: u32, kinds: &IndexKinds) -> Result<(), StoreError> {
    db.exec("UPDATE idx SET kinds = ?2 WHERE id = ?1", &[Param::Int(id.into()), Param::Blob(&bytes(kinds))])?;
    Ok(())
}

/// The kinds of values of an index in the snapshot that the connection sees; `None` when they are not known, or the index
/// is not there.
pub(crate) fn load_kinds(db: &Db, index: &IndexDef) -> Result<Option<IndexKinds>, StoreError> {
    let found =
        db.query_one("SELECT kinds FROM idx WHERE id = ?1", &[Param::Int(index.id.into())], |row| {
            if row.is_null(0) { Ok(None) } else { Ok(kinds(&index.keys, row.blob(0)?)) }
        })?;
    Ok(found.flatten())
}

fn bytes(kinds: &IndexKinds) -> Vec<u8> {
    kinds.sets().iter().map(|set| set.bits()).collect()
}

fn kinds(keys: &[IndexKey], bytes: &[u8]) -> Option<IndexKinds> {
    let sets = bytes.iter().map(|b| KindSet::from_bits(*b)).collect::<Option<_>>()?;
    IndexKinds::from_sets(keys, sets)
}

/// Deletes the row and the table of an index.
pub(super) fn delete(db: &Db, index: &Index) -> Result<(), StoreError> {
    db.exec("DELETE FROM idx WHERE id = ?1", &[Param::Int(index.def.id.into())])?;
    db.batch(&format!("DROP TABLE IF EXISTS {}", schema::index_table(index.def.id)))
}

fn encode(keys: &[IndexKey]) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint(&mut out, keys.len() as u64);
    for key in keys {
        let flags =
            (u8::from(key.descending) * DESCENDING) | (u8::from(key.include_missing) * INCLUDE_MISSING);
        out.push(flags);
        put_varint(&mut out, key.path.names().len() as u64);
        key.path.names().iter().for_each(|name| put_str(&mut out, name));
    }
    out
}

fn decode(bytes: &[u8]) -> Result<Vec<IndexKey>, WireError> {
    let mut r = Reader::new(bytes);
    let mut keys = Vec::new();
    let n = r.len(MAX_INDEX_KEYS)?;
    if n == 0 {
        return Err(r.invalid("count of keys"));
    }
    for _ in 0..n {
        let flags = r.u8()?;
        if flags & !(DESCENDING | INCLUDE_MISSING) != 0 {
            return Err(r.invalid("flags of a key"));
        }
        let mut names = Vec::new();
        let levels = r.len(MAX_DEPTH)?;
        if levels == 0 {
            return Err(r.invalid("path of a key"));
        }
        for _ in 0..levels {
            names.push(SmolStr::new(r.str(usize::MAX)?));
        }
        keys.push(IndexKey {
            path: Path::from(names),
            descending: flags & DESCENDING != 0,
            include_missing: flags & INCLUDE_MISSING != 0,
        });
    }
    r.finish()?;
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_come_back_and_damaged_ones_are_refused() {
        let keys = vec![
            IndexKey { path: Path::new(["a"]), descending: false, include_missing: true },
            IndexKey { path: Path::new(["b", "ü.x"]), descending: true, include_missing: false },
        ];
        let bytes = encode(&keys);
        assert_eq!(decode(&bytes), Ok(keys));
        for end in 0..bytes.len() {
            assert!(decode(&bytes[..end]).is_err(), "{end}");
        }
        assert!(decode(&[bytes.as_slice(), &[0]].concat()).is_err());
        // No keys, too many, a flag of the future, no name.
        for bad in [&[0][..], &[200, 1], &[1, 4, 1, 1, b'a'], &[1, 0, 0]] {
            assert!(decode(bad).is_err(), "{bad:?}");
        }
    }
}
