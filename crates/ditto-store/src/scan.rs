//! Reading for sync: changes after a commit, views of a query, single documents and cursors.

use std::sync::Arc;

use ditto_crdt::{DictWriter, Doc, Numbers};
use ditto_types::{Digest, DocId, HashKey, KeyHash, SmolStr};

use crate::StoreError;
use crate::counts;
use crate::dict::Dict;
use crate::driver::{Db, Param, Rows, SqlRow};
use crate::meta;
use crate::replication::{
    ChangePage, CompiledQuery, Cursor, CursorKey, Newest, StoredDoc, ViewDoc, ViewPage,
};
use crate::row::Reading;
use crate::schema::{FLAG_DEAD, by_id, khash_from_sql, khash_to_sql};
use crate::select::{StoreSource, damaged, doc_id, rid_range, select, with_row};

/// Bit of the column `flags` of [`GRAVE_COLUMNS`].
const FLAG_GRAVE: i64 = 2;

/// Columns of a gravestone that [`Scanned`] reads, in its order: no digest, dead, a gravestone.
const GRAVE_COLUMNS: &str = "id, khash, seq, zeroblob(16) AS digest, 3 AS flags, body";

/// Columns that [`Scanned`] reads, in its order.
const COLUMNS: &str = "id, docs.khash, seq, digest, flags, body";

/// Documents that were changed since they came, after commit ?2: the only ones in the index.
const CHANGED: &str = "FROM docs INDEXED BY docs_seq WHERE coll = ?1 AND seq > ?2 AND seq <> born";

/// Documents that are as they came, among the rows from ?1 to ?2. In the order of rows they are in that of commits.
const FRESH: &str = "FROM docs WHERE rid BETWEEN ?1 AND ?2 AND seq = born";

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
        body: &[u8],
        query: &CompiledQuery,
    ) -> Result<bool, StoreError> {
        if !self.alive || query.is_whole_collection() {
            return Ok(self.alive);
        }
        // Where it stands does not matter to a condition.
        with_row(db, dict, (0, self.id.as_bytes(), body), Reading::NEWEST, |r| {
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
        body: &[u8],
        collection: &SmolStr,
    ) -> Result<StoredDoc, StoreError> {
        let doc = decode(db, dict, body, &self.id)?;
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
    let rows = [Param::Int(first_after(db, coll, after)?), Param::Int(rid_range(coll).1)];
    let buried =
        db.query_one("SELECT 1 FROM grave WHERE coll = ?1 AND seq > ?2 LIMIT 1", &params, |_| Ok(()))?;
    let graves = if buried.is_some() {
        format!("UNION ALL SELECT {GRAVE_COLUMNS} FROM grave WHERE coll = ?1 AND seq > ?2")
    } else {
        String::new()
    };
    // Two streams in the order of commits, merged.
    let mut changed = db.prepare(&format!("SELECT {COLUMNS} {CHANGED} {graves} ORDER BY seq"))?;
    let mut fresh = db.prepare(&format!("SELECT {COLUMNS} {FRESH} ORDER BY rid"))?;
    let mut changed = Stream::new(db, changed.rows(&params)?)?;
    let mut fresh = Stream::new(db, fresh.rows(&rows)?)?;
    while let Some(stream) = earlier(&mut changed, &mut fresh) {
        let Some((scanned, body)) = stream.next()? else { break };
        let full = page.docs.len() >= max_docs || bytes >= max_bytes || page.others.len() >= MAX_OTHERS;
        if full && scanned.seq != last {
            (page.scanned_to, page.done) = (last, false);
            break;
        }
        last = scanned.seq;
        if !scanned.alive || scanned.matches(db, dict, &body, query)? {
            bytes += body.len();
            page.docs.push(scanned.into_stored(db, dict, hash_key, &body, &name)?);
        } else {
            page.others.push((scanned.key, scanned.digest));
        }
    }
    Ok(page)
}

/// Rows in the order of commits, one of them read ahead.
struct Stream<'a> {
    db: &'a Db,
    rows: Rows<'a>,
    head: Option<(Scanned, Vec<u8>)>,
}

impl<'a> Stream<'a> {
    fn new(db: &'a Db, rows: Rows<'a>) -> Result<Self, StoreError> {
        let mut this = Self { db, rows, head: None };
        this.next()?;
        Ok(this)
    }

    /// The row that was read ahead, with its body.
    fn next(&mut self) -> Result<Option<(Scanned, Vec<u8>)>, StoreError> {
        let next = match self.rows.next()? {
            Some(row) => Some((Scanned::read(self.db, &row)?, row.blob(5)?.to_vec())),
            None => None,
        };
        Ok(std::mem::replace(&mut self.head, next))
    }
}

/// The one whose next row is of the earlier commit; `None` at the end of both.
fn earlier<'s, 'a>(a: &'s mut Stream<'a>, b: &'s mut Stream<'a>) -> Option<&'s mut Stream<'a>> {
    match (&a.head, &b.head) {
        (None, None) => None,
        (Some((x, _)), Some((y, _))) if x.seq <= y.seq => Some(a),
        (Some(_), None) => Some(a),
        _ => Some(b),
    }
}

/// The first row of a collection that was made after commit `after`, or where it would be. Found by halving, since rows
/// are in the order of the commits that made them.
fn first_after(db: &Db, coll: u32, after: u64) -> Result<i64, StoreError> {
    let (first, end) = rid_range(coll);
    let sql = "SELECT rid, born FROM docs WHERE rid <= ?1 AND rid >= ?2 ORDER BY rid DESC LIMIT 1";
    let before = |rid: i64, from: i64| {
        db.query_one(sql, &[Param::Int(rid), Param::Int(from)], |r| Ok((r.int(0)?, r.uint(1)?)))
    };
    // Rows before `low` are not after the commit, those from `high` on are.
    let (mut low, mut high) = (first, end);
    // Mostly nothing is after it, or the last few.
    let mut probe = end;
    while low < high {
        match before(probe, low)? {
            Some((rid, born)) if born > after => high = rid,
            // Between that row and the place that was looked at there is none.
            _ => low = probe + 1,
        }
        probe = low + (high - low) / 2;
    }
    Ok(low)
}

/// Calls `each` with key and digest of every document of the view; gives the commit as of which that is.
pub(crate) fn view(
    db: &Db,
    dict: &Arc<Dict>,
    query: &CompiledQuery,
    each: &mut dyn FnMut(KeyHash, Digest),
) -> Result<u64, StoreError> {
    let head = meta::head(db)?;
    let Some(coll) = dict.collection_ref(query.collection()) else { return Ok(head) };
    let (first, last) = rid_range(coll);
    // In the order of the table: that of key hashes would jump over the whole file.
    let sql = format!("SELECT {COLUMNS} FROM docs WHERE rid BETWEEN ?1 AND ?2 AND flags & 1 = 0");
    db.query(&sql, &[Param::Int(first), Param::Int(last)], |row| {
        let scanned = Scanned::read(db, row)?;
        if scanned.matches(db, dict, row.blob(5)?, query)? {
            each(scanned.key, scanned.digest);
        }
        Ok(true)
    })?;
    Ok(head)
}

/// Documents in the view of a whole collection.
pub(crate) fn count(db: &Db, dict: &Dict, query: &CompiledQuery) -> Result<Option<u64>, StoreError> {
    match dict.collection_ref(query.collection()) {
        _ if !query.is_whole_collection() => Ok(None),
        Some(coll) => counts::read(db, coll).map(Some),
        None => Ok(Some(0)),
    }
}

/// The rows of the query's result, with its ORDER BY, LIMIT and OFFSET, ascending.
pub(crate) fn first_rows(
    db: &Db,
    dict: &Arc<Dict>,
    hash_key: &HashKey,
    query: &CompiledQuery,
) -> Result<Arc<[i64]>, StoreError> {
    let Some(coll) = dict.collection_ref(query.collection()) else { return Ok(Arc::default()) };
    let found = select(&StoreSource::snapshot(db, dict, hash_key), &query.plan)?;
    let mut rows = Vec::with_capacity(found.len());
    for item in &found {
        let id = item.value().get("_id").map(DocId::new).transpose()?;
        let Some(id) = id else { continue };
        let khash = khash_to_sql(hash_key.key_hash(query.collection(), &id));
        let place = [Param::Int(coll.into()), Param::Int(khash), Param::Blob(id.as_bytes())];
        rows.extend(db.query_one(by_id!("rid"), &place, |r| r.int(0))?);
    }
    rows.sort_unstable();
    Ok(rows.into())
}

/// As [`view`], of the documents in the query's result alone.
pub(crate) fn first_view(
    db: &Db,
    dict: &Arc<Dict>,
    hash_key: &HashKey,
    query: &CompiledQuery,
    each: &mut dyn FnMut(KeyHash, Digest),
) -> Result<u64, StoreError> {
    for rid in &*first_rows(db, dict, hash_key, query)? {
        let sql = "SELECT khash, digest FROM docs WHERE rid = ?1";
        let found =
            db.query_one(sql, &[Param::Int(*rid)], |r| Ok((khash_from_sql(r.int(0)?), Digest(r.array(1)?))))?;
        if let Some((key, digest)) = found {
            each(key, digest);
        }
    }
    meta::head(db)
}

/// Documents of the view behind a place, which is a row id. Rows stay where they are as long as they exist.
pub(crate) fn view_page(
    db: &Db,
    dict: &Arc<Dict>,
    query: &CompiledQuery,
    after: Option<u64>,
    (max_docs, max_bytes): (usize, usize),
    to: &mut dyn DictWriter,
) -> Result<ViewPage, StoreError> {
    let mut page = ViewPage::default();
    let Some(coll) = dict.collection_ref(query.collection()) else { return Ok(page) };
    let (first, last) = rid_range(coll);
    let from = match after {
        // A place that is none is behind everything.
        Some(after) => i64::try_from(after).ok().and_then(|rid| rid.checked_add(1)).unwrap_or(i64::MAX),
        None => first,
    };
    let wanted = query.is_bounded().then(|| query.first_rows());
    let (mut bytes, mut at) = (0, from);
    let mut numbers = Numbers::default();
    let sql = format!("SELECT {COLUMNS}, rid FROM docs WHERE rid BETWEEN ?1 AND ?2 AND flags & 1 = 0");
    db.query(&sql, &[Param::Int(from.max(first)), Param::Int(last)], |row| {
        if page.docs.len() >= max_docs || bytes >= max_bytes {
            page.next = u64::try_from(at).ok();
            return Ok(false);
        }
        at = row.int(6)?;
        if wanted.as_ref().is_some_and(|rows| rows.binary_search(&at).is_err()) {
            return Ok(true);
        }
        let (scanned, stored) = (Scanned::read(db, row)?, row.blob(5)?);
        if scanned.matches(db, dict, stored, query)? {
            let body = ditto_crdt::recode(stored, &**dict, to, &mut numbers);
            let body = body.map_err(|e| damaged(db, &scanned.id, &e))?;
            bytes += body.len();
            let Scanned { id, key, digest, .. } = scanned;
            page.docs.push(ViewDoc { id, key, digest, body });
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
        format!(
            "SELECT {COLUMNS} FROM key CROSS JOIN docs USING (rid)
             WHERE key.coll = ?1 AND key.khash = ?2 ORDER BY key.twin LIMIT 1"
        ),
        format!("SELECT {GRAVE_COLUMNS} FROM grave WHERE coll = ?1 AND khash = ?2"),
    ];
    let collections = dict.collection_list();
    for sql in &tables {
        for (coll, name) in &collections {
            let found =
                db.query_one(sql, &[Param::Int((*coll).into()), Param::Int(khash_to_sql(key))], |row| {
                    Scanned::read(db, row)?.into_stored(db, dict, hash_key, row.blob(5)?, name)
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
    let mut too_many = false;
    let mut look = |row: &SqlRow<'_>| {
        let scanned = Scanned::read(db, row)?;
        if scanned.matches(db, dict, row.blob(5)?, query)? {
            too_many |= out.len() >= limit;
            if !too_many {
                out.push((scanned.key, scanned.digest));
            }
        }
        Ok(!too_many)
    };
    let sql = format!("SELECT {COLUMNS} {CHANGED} AND flags & 1 = 0");
    db.query(&sql, &[Param::Int(coll.into()), Param::Int(to_sql(after))], &mut look)?;
    let sql = format!("SELECT {COLUMNS} {FRESH} AND flags & 1 = 0");
    let first = first_after(db, coll, after)?;
    db.query(&sql, &[Param::Int(first), Param::Int(rid_range(coll).1)], &mut look)?;
    Ok((!too_many).then_some(out))
}

/// The documents of the view that changed last, the newest commit first: `limit` at most, among four times as many of
/// the collection.
pub(crate) fn newest(
    db: &Db,
    dict: &Arc<Dict>,
    query: &CompiledQuery,
    limit: usize,
) -> Result<Vec<Newest>, StoreError> {
    let mut out = Vec::new();
    let Some(coll) = dict.collection_ref(query.collection()) else { return Ok(out) };
    let (first, last) = rid_range(coll);
    // Two streams in the order of commits, merged.
    let changed = "FROM docs INDEXED BY docs_seq WHERE coll = ?1 AND seq <> born ORDER BY seq DESC";
    let fresh = "FROM docs WHERE rid BETWEEN ?1 AND ?2 AND seq = born ORDER BY rid DESC";
    let mut changed = db.prepare(&format!("SELECT {COLUMNS} {changed}"))?;
    let mut fresh = db.prepare(&format!("SELECT {COLUMNS} {fresh}"))?;
    let mut changed = Stream::new(db, changed.rows(&[Param::Int(coll.into())])?)?;
    let mut fresh = Stream::new(db, fresh.rows(&[Param::Int(first), Param::Int(last)])?)?;
    for _ in 0..limit.saturating_mul(4) {
        let stream = match (&changed.head, &fresh.head) {
            (None, None) => break,
            (Some((a, _)), Some((b, _))) if a.seq >= b.seq => &mut changed,
            (Some(_), None) => &mut changed,
            _ => &mut fresh,
        };
        let Some((scanned, body)) = stream.next()? else { break };
        if scanned.matches(db, dict, &body, query)? {
            let Scanned { seq, key, digest, .. } = scanned;
            out.push(Newest { seq, key, digest, bytes: body.len() });
            if out.len() >= limit {
                break;
            }
        }
    }
    Ok(out)
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
