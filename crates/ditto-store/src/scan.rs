//! Reading for sync: changes after a commit, views of a query, single documents and cursors.

use std::sync::Arc;

use ditto_crdt::Doc;
use ditto_types::{Digest, DocId, HashKey, KeyHash, SmolStr};

use crate::StoreError;
use crate::dict::Dict;
use crate::driver::{Db, Param, SqlRow};
use crate::meta;
use crate::replication::{ChangePage, CompiledQuery, Cursor, CursorKey, StoredDoc, ViewPage};
use crate::row::Reading;
use crate::schema::{FLAG_DEAD, khash_from_sql, khash_to_sql};
use crate::select::{damaged, doc_id, rid_range, with_row};

/// Bit of the column `flags` of [`GRAVE_COLUMNS`].
const FLAG_GRAVE: i64 = 2;

/// Columns of a gravestone that [`Scanned`] reads, in its order: no digest, dead, a gravestone.
const GRAVE_COLUMNS: &str = "id, khash, seq, zeroblob(16) AS digest, 3 AS flags, body";

/// Columns that [`Scanned`] reads, in its order.
const COLUMNS: &str = "id, khash, seq, digest, flags, body";

/// Changed documents outside of the view that one page lists at most, give or take one commit.
const MAX_OTHERS: usize = 65_536;

/// A row of `docs` while the statement stands on it.
struct Scanned {
    id: DocId,
    key: KeyHash,
    seq: u64,
    digest: Digest,
    alive: bool,
    /// Only a gravestone is left, which has no digest of its own.
    grave: bool,
}

impl Scanned {
    fn read(db: &Db, row: &SqlRow<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            id: doc_id(db, row.blob(0)?)?,
            key: khash_from_sql(row.int(1)?),
            seq: row.uint(2)?,
            digest: Digest(row.array(3)?),
            alive: row.int(4)? & FLAG_DEAD == 0,
            grave: row.int(4)? & FLAG_GRAVE != 0,
        })
    }

    /// Whether the document is alive and matches, read in place.
    fn matches(
        &self,
        db: &Db,
        dict: &Arc<Dict>,
        row: &SqlRow<'_>,
        query: &CompiledQuery,
    ) -> Result<bool, StoreError> {
        if !self.alive || query.is_whole_collection() {
            return Ok(self.alive);
        }
        // Where it stands does not matter to a condition.
        with_row(db, dict, (0, row.blob(0)?, row.blob(5)?), Reading::NEWEST, |r| {
            Ok(query.plan.matches(r).unwrap_or_else(|e| {
                tracing::debug!(error = %e, "a query condition cannot be evaluated on a document");
                false
            }))
        })
    }

    fn into_stored(
        self,
        db: &Db,
        dict: &Arc<Dict>,
        hash_key: &HashKey,
        row: &SqlRow<'_>,
        collection: &SmolStr,
    ) -> Result<StoredDoc, StoreError> {
        let doc = decode(db, dict, row.blob(5)?, &self.id)?;
        let digest = if self.grave { doc.digest(hash_key) } else { self.digest };
        let Scanned { id, key, seq, .. } = self;
        Ok(StoredDoc { collection: collection.clone(), id, key, digest, seq, doc })
    }
}

fn decode(db: &Db, dict: &Dict, body: &[u8], id: &DocId) -> Result<Doc, StoreError> {
    ditto_crdt::decode(body, dict).map_err(|e| damaged(db, id, &e))
}

/// Changes after commit `after`, whole commits only. A page ends with the commit in which a limit is reached.
pub(crate) fn changes(
    db: &Db,
    dict: &Arc<Dict>,
    hash_key: &HashKey,
    query: &CompiledQuery,
    after: u64,
    max_docs: usize,
    max_bytes: usize,
) -> Result<ChangePage, StoreError> {
    let head = meta::head(db)?;
    let mut page = ChangePage { scanned_to: head, done: true, ..ChangePage::default() };
    let name = SmolStr::new(query.collection());
    let Some(coll) = dict.collection_ref(&name) else { return Ok(page) };
    let (mut bytes, mut last) = (0, after);
    let params = [Param::Int(coll.into()), Param::Int(to_sql(after))];
    let buried =
        db.query_one("SELECT 1 FROM grave WHERE coll = ?1 AND seq > ?2 LIMIT 1", &params, |_| Ok(()))?;
    let graves = if buried.is_some() {
        format!("UNION ALL SELECT {GRAVE_COLUMNS} FROM grave WHERE coll = ?1 AND seq > ?2")
    } else {
        String::new()
    };
    let sql = format!("SELECT {COLUMNS} FROM docs WHERE coll = ?1 AND seq > ?2 {graves} ORDER BY seq");
    db.query(&sql, &params, |row| {
        let scanned = Scanned::read(db, row)?;
        let full = page.docs.len() >= max_docs || bytes >= max_bytes || page.others.len() >= MAX_OTHERS;
        if full && scanned.seq != last {
            (page.scanned_to, page.done) = (last, false);
            return Ok(false);
        }
        last = scanned.seq;
        if !scanned.alive || scanned.matches(db, dict, row, query)? {
            bytes += row.blob(5)?.len();
            page.docs.push(scanned.into_stored(db, dict, hash_key, row, &name)?);
        } else {
            page.others.push((scanned.key, scanned.digest));
        }
        Ok(true)
    })?;
    Ok(page)
}

/// Keys and digests of the view, ascending by key hash.
pub(crate) fn view(
    db: &Db,
    dict: &Arc<Dict>,
    query: &CompiledQuery,
) -> Result<Vec<(KeyHash, Digest)>, StoreError> {
    let mut out = Vec::new();
    let Some(coll) = dict.collection_ref(query.collection()) else { return Ok(out) };
    let (first, last) = rid_range(coll);
    // In the order of the table and sorted here: the order of key hashes would jump over the whole file.
    let sql = format!("SELECT {COLUMNS} FROM docs WHERE rid BETWEEN ?1 AND ?2 AND flags & 1 = 0");
    db.query(&sql, &[Param::Int(first), Param::Int(last)], |row| {
        let scanned = Scanned::read(db, row)?;
        if scanned.matches(db, dict, row, query)? {
            out.push((scanned.key, scanned.digest));
        }
        Ok(true)
    })?;
    out.sort_unstable();
    Ok(out)
}

/// Documents of the view after a key hash.
pub(crate) fn view_page(
    db: &Db,
    dict: &Arc<Dict>,
    hash_key: &HashKey,
    query: &CompiledQuery,
    after: Option<KeyHash>,
    max_docs: usize,
    max_bytes: usize,
) -> Result<ViewPage, StoreError> {
    let mut page = ViewPage::default();
    let name = SmolStr::new(query.collection());
    let Some(coll) = dict.collection_ref(&name) else { return Ok(page) };
    // The smallest integer stands for "from the beginning"; a document with exactly that hash is found because the
    // comparison includes it then.
    let (from, op) = after.map_or((i64::MIN, ">="), |k| (khash_to_sql(k), ">"));
    let sql = format!(
        "SELECT {COLUMNS} FROM docs WHERE coll = ?1 AND khash {op} ?2 AND flags & 1 = 0 ORDER BY khash, rid"
    );
    let (mut bytes, mut last) = (0, None);
    db.query(&sql, &[Param::Int(coll.into()), Param::Int(from)], |row| {
        let scanned = Scanned::read(db, row)?;
        // Documents with the same hash stay on one page, or the next page would skip the second.
        if (page.docs.len() >= max_docs || bytes >= max_bytes) && last != Some(scanned.key) {
            page.next = last;
            return Ok(false);
        }
        last = Some(scanned.key);
        if scanned.matches(db, dict, row, query)? {
            bytes += row.blob(5)?.len();
            page.docs.push(scanned.into_stored(db, dict, hash_key, row, &name)?);
        }
        Ok(true)
    })?;
    Ok(page)
}

/// The document with a key hash, in whatever collection it is; also one of which only the gravestone is left.
pub(crate) fn load(
    db: &Db,
    dict: &Arc<Dict>,
    hash_key: &HashKey,
    key: KeyHash,
) -> Result<Option<StoredDoc>, StoreError> {
    let tables = [
        format!("SELECT {COLUMNS} FROM docs WHERE coll = ?1 AND khash = ?2 ORDER BY rid LIMIT 1"),
        format!("SELECT {GRAVE_COLUMNS} FROM grave WHERE coll = ?1 AND khash = ?2"),
    ];
    let collections = dict.collection_list();
    for sql in &tables {
        for (coll, name) in &collections {
            let found =
                db.query_one(sql, &[Param::Int((*coll).into()), Param::Int(khash_to_sql(key))], |row| {
                    Scanned::read(db, row)?.into_stored(db, dict, hash_key, row, name)
                })?;
            if found.is_some() {
                return Ok(found);
            }
        }
    }
    Ok(None)
}

/// Keys and digests of documents in the view that changed after commit `after`; `None` when there are more than
/// `limit`.
pub(crate) fn own_changes(
    db: &Db,
    dict: &Arc<Dict>,
    query: &CompiledQuery,
    after: u64,
    limit: usize,
) -> Result<Option<Vec<(KeyHash, Digest)>>, StoreError> {
    let mut out = Vec::new();
    let Some(coll) = dict.collection_ref(query.collection()) else { return Ok(Some(out)) };
    let sql =
        format!("SELECT {COLUMNS} FROM docs WHERE coll = ?1 AND seq > ?2 AND flags & 1 = 0 ORDER BY seq");
    let mut too_many = false;
    db.query(&sql, &[Param::Int(coll.into()), Param::Int(to_sql(after))], |row| {
        let scanned = Scanned::read(db, row)?;
        if scanned.matches(db, dict, row, query)? {
            too_many = out.len() >= limit;
            if !too_many {
                out.push((scanned.key, scanned.digest));
            }
        }
        Ok(!too_many)
    })?;
    Ok((!too_many).then_some(out))
}

/// A cursor.
pub(crate) fn cursor(db: &Db, key: &CursorKey) -> Result<Option<Cursor>, StoreError> {
    db.query_one(
        "SELECT token, own_seq FROM cursor
         WHERE store_id = ?1 AND epoch = ?2 AND query_hash = ?3 AND perm_hash = ?4",
        &[
            Param::Blob(&key.store_id),
            Param::Blob(&key.epoch),
            Param::Blob(&key.query_hash),
            Param::Blob(&key.perm_hash),
        ],
        |r| Ok(Cursor { token: r.int(0)? as u64, own_seq: r.int(1)? as u64 }),
    )
}

/// A commit number from a peer as an integer of SQL. Numbers that no store reaches mean "nothing is newer".
fn to_sql(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}
