//! Applying what a peer sent: one commit of merged documents and the cursors that belong to them.
//!
//! As with INSERT, the keys of documents that may be new are claimed first, in the order of the table of keys. What turns
//! out to be new goes into the file in its encoded form, and its index entries are written at the end, in the order of each
//! index. Everything else is merged one by one.

use std::ops::Range;
use std::sync::Arc;

use ditto_crdt::{CanonicalDoc, Doc, DocView, VersionVector};
use ditto_types::{Hlc, HlcClock, KeyHash, SiteId};

use crate::StoreError;
use crate::commit::{Bodies, State};
use crate::core::{Before, Core, Held, insert_rows};
use crate::driver::Param;
use crate::index::{self, entries};
use crate::keys;
use crate::replication::{ApplyBatch, ApplyItem, CursorKey, CursorWrite, ItemBody, ItemOutcome, RefusalCode};
use crate::schema::khash_to_sql;
use crate::unit::{Effects, Touched, Unit};

/// Largest stored form of a merged document. Merging may exceed the limit of local writes, because two peers may
/// each add to a document; this only bounds what a hostile peer can make us keep.
const MAX_MERGED: usize = 64 * 1024 * 1024;

/// Self-contained forms above this size are merged like documents that exist. A stored form is never as many times larger
/// as would take it to [`MAX_MERGED`].
const MAX_STRAIGHT: usize = MAX_MERGED / 8;

/// 2026-01-01: no device that runs this code lives before it, whatever its clock says.
const BUILD_FLOOR_MS: u64 = 1_767_225_600_000;

/// Merges a batch. Runs inside the savepoint of its unit.
pub(crate) fn apply(
    core: &mut Core,
    unit: &mut Unit,
    batch: ApplyBatch,
) -> Result<Vec<ItemOutcome>, StoreError> {
    core.in_savepoint(unit, |core, unit, effects| {
        unit.src = if batch.source.is_empty() { 0 } else { core.dict.peer_ref(&batch.source) };
        unit.source = Some(batch.source);
        let floor_ms = core.clock.now_ms().max(BUILD_FLOOR_MS);
        let mut outcomes = vec![ItemOutcome::NotHeld; batch.items.len()];
        let mut items: Vec<_> = batch.items.into_iter().map(Some).collect();
        insert_new(core, unit, effects, floor_ms, &mut items, &mut outcomes)?;
        let mut rest: Vec<(usize, ApplyItem)> =
            items.into_iter().enumerate().filter_map(|(i, item)| Some((i, item?))).collect();
        // Neighbours in the file are written one after the other.
        rest.sort_by(|(_, a), (_, b)| (&a.collection, &a.id).cmp(&(&b.collection, &b.id)));
        for (i, item) in rest {
            outcomes[i] = merge_item(core, unit, effects, item, floor_ms)?;
        }
        for key in &batch.delete_cursors {
            delete_cursor(core, key)?;
        }
        for write in &batch.cursors {
            let coll = core.dict.collection_ref(&write.collection);
            // Its token claims documents that an EVICT, of which the caller did not know yet, has removed.
            if core.evicted_at.get(&coll).is_none_or(|at| *at <= batch.seen_seq) {
                put_cursor(core, coll, write)?;
            }
        }
        Ok(outcomes)
    })
}

/// A document that may be new.
struct Candidate {
    coll: u32,
    key: KeyHash,
    /// Its place in the batch.
    at: usize,
    /// Its row, when nothing has its key.
    rid: Option<i64>,
}

/// Writes the documents that the store does not hold, and takes them out of `items`.
fn insert_new(
    core: &mut Core,
    unit: &mut Unit,
    effects: &mut Effects,
    floor_ms: u64,
    items: &mut [Option<ApplyItem>],
    outcomes: &mut [ItemOutcome],
) -> Result<(), StoreError> {
    let mut candidates = Vec::new();
    for (at, item) in items.iter().enumerate() {
        let Some(ApplyItem { collection, id, body: ItemBody::Full(doc) }) = item else { continue };
        let too_new = HlcClock::is_too_far_ahead(doc.max_hlc(), floor_ms);
        if too_new || !doc.is_alive() || doc.bytes().len() > MAX_STRAIGHT {
            continue;
        }
        // One that may not be written to is refused with the others.
        let Ok(coll) = core.writable_collection(collection) else { continue };
        let key = core.hash_key.key_hash(collection, id);
        candidates.push(Candidate { coll, key, at, rid: None });
    }
    candidates.sort_unstable_by_key(|c| (c.coll, khash_to_sql(c.key), c.at));
    // Of several with one key the first may be new; the others meet it.
    candidates.dedup_by_key(|c| (c.coll, c.key));
    for of_collection in candidates.chunk_by_mut(|a, b| a.coll == b.coll) {
        claim(core, of_collection, items)?;
        // Rows in the order in which they came, which is that of the row ids.
        of_collection.sort_unstable_by_key(|c| c.rid);
        write_new(core, unit, effects, of_collection, items, outcomes)?;
    }
    Ok(())
}

/// Makes the entries of keys that nobody has yet.
fn claim(
    core: &mut Core,
    candidates: &mut [Candidate],
    items: &[Option<ApplyItem>],
) -> Result<(), StoreError> {
    let Some(coll) = candidates.first().map(|c| c.coll) else { return Ok(()) };
    let mut order: Vec<usize> = candidates.iter().map(|c| c.at).collect();
    order.sort_unstable();
    let first = core.take_rids(coll, candidates.len())?;
    let mut wanted = Vec::with_capacity(candidates.len());
    let mut places = Vec::with_capacity(candidates.len());
    for (place, Candidate { key, at, .. }) in candidates.iter().enumerate() {
        if let Some(Some(item)) = items.get(*at)
            && core.graves
            && core.load_grave(coll, &item.id, *key)?.is_some()
        {
            continue;
        }
        wanted.push((*key, first + order.binary_search(at).unwrap_or_default() as i64));
        places.push(place);
    }
    keys::claim_all(
        &core.db,
        coll,
        &wanted,
        || core.poll(),
        |i| candidates[places[i]].rid = Some(wanted[i].1),
    )
}

/// Writes the candidates that have a row.
fn write_new(
    core: &mut Core,
    unit: &Unit,
    effects: &mut Effects,
    candidates: &[Candidate],
    items: &mut [Option<ApplyItem>],
    outcomes: &mut [ItemOutcome],
) -> Result<(), StoreError> {
    let Some(coll) = candidates.first().map(|c| c.coll) else { return Ok(()) };
    let indexes = core.indexes.clone();
    let mut entries = entries::Batch::new(indexes.of(coll));
    let shared = core.dict.shared().clone();
    let (mut bodies, mut newest) = (Vec::new(), Hlc::ZERO);
    let Core { db, dict, hash_key, request, .. } = core;
    let mut new = Vec::with_capacity(candidates.len());
    for Candidate { key, at, rid, .. } in candidates {
        let Some(rid) = *rid else { continue };
        request.as_ref().map_or(Ok(()), |r| r.poll())?;
        let Some(ApplyItem { id, body: ItemBody::Full(doc), .. }) = items.get_mut(*at).and_then(Option::take)
        else {
            continue;
        };
        let start = bodies.len();
        doc.encode(dict, &mut bodies).map_err(|e| StoreError::Internal(e.to_string()))?;
        let digest = doc.digest(hash_key);
        if !entries.is_idle() {
            let view = DocView::new(&bodies[start..], &*shared);
            entries.add_view(rid, &id, &view.map_err(|e| StoreError::Internal(e.to_string()))?)?;
        }
        newest = newest.max(doc.max_hlc());
        outcomes[*at] = ItemOutcome::Changed { digest };
        new.push((id, *key, digest, rid, start..bodies.len()));
    }
    let (bodies, count) = (Bodies::new(bodies, &shared), new.len() as i64);
    let touched = |(id, key, digest, rid, at): (_, _, _, _, Range<usize>)| {
        let (positions, weight, new) = ((0, rid), at.len(), Some(State::stored(&bodies, at)));
        Touched { coll, id, key, digest, old: None, new, positions, weight }
    };
    let written: Vec<_> = new.into_iter().map(touched).collect();
    insert_rows(db, unit, coll, &written)?;
    let grown = entries.write(db)?;
    index::kinds::note(core, coll, grown)?;
    core.counts.add(coll, count);
    effects.touch_all(written, || core.shared.is_heard());
    core.state.clock.see(newest);
    Ok(())
}

fn merge_item(
    core: &mut Core,
    unit: &Unit,
    effects: &mut Effects,
    item: ApplyItem,
    floor_ms: u64,
) -> Result<ItemOutcome, StoreError> {
    let ApplyItem { collection, id, body } = item;
    let newest = match &body {
        ItemBody::Full(doc) => doc.max_hlc(),
        ItemBody::Tomb(doc) | ItemBody::Delta { doc, .. } => doc.max_hlc(),
    };
    if HlcClock::is_too_far_ahead(newest, floor_ms) {
        return Ok(ItemOutcome::Refused(RefusalCode::Future));
    }
    // Looked up before it is made up: an item that is not kept must not add to the dictionary of collections.
    let key = core.hash_key.key_hash(&collection, &id);
    let held = match core.dict.shared().collection_ref(&collection) {
        Some(coll) => core.load(coll, &id, key)?,
        None => None,
    };
    // The same as what is there: the common case of documents that come again.
    if let (ItemBody::Full(doc), Some(held)) = (&body, &held)
        && doc.digest(&core.hash_key) == held.digest
    {
        return Ok(ItemOutcome::Unchanged { digest: held.digest });
    }
    let (sent, base) = match body {
        ItemBody::Full(doc) => (built(&doc)?, None),
        ItemBody::Tomb(doc) => (doc, None),
        ItemBody::Delta { base, doc } => (doc, Some(base)),
    };
    if let Some(base) = &base {
        let vv = held.as_ref().map(|h| h.doc.vv()).unwrap_or_default();
        if !vv.covers_all(base) {
            return Ok(ItemOutcome::NeedsBase { vv });
        }
    }
    let Some(held) = held else {
        if !sent.is_alive() {
            return Ok(ItemOutcome::NotHeld);
        }
        let coll = match core.writable_collection(&collection) {
            Ok(coll) => coll,
            Err(_) => return Ok(ItemOutcome::Refused(RefusalCode::Collection)),
        };
        return write(core, unit, effects, (coll, id, key), None, sent, newest);
    };
    let mut merged = held.doc.as_ref().clone();
    merged.merge(&sent);
    if merged == *held.doc {
        let same = match &base {
            // The sender knows what its delta is based on and what is in it.
            Some(base) => covers_together(base, &sent.vv(), &held.doc.vv()),
            None => sent == *held.doc,
        };
        let digest = held.digest;
        return Ok(if same { ItemOutcome::Unchanged { digest } } else { ItemOutcome::LocalNewer { digest } });
    }
    let coll = core.writable_collection(&collection)?;
    write(core, unit, effects, (coll, id, key), Some(held), merged, newest)
}

fn write(
    core: &mut Core,
    unit: &Unit,
    effects: &mut Effects,
    place: (u32, ditto_types::DocId, ditto_types::KeyHash),
    held: Option<Held>,
    doc: Doc,
    newest: Hlc,
) -> Result<ItemOutcome, StoreError> {
    let before = held.map_or(Before::Absent { claimed: None }, Before::Held);
    let stored = core.store(unit, effects, place, before, Arc::new(doc), |_, size| {
        if size > MAX_MERGED {
            return Err(StoreError::TooLarge { id: String::new(), size, limit: MAX_MERGED });
        }
        Ok(())
    });
    match stored {
        Ok((digest, _)) => {
            core.state.clock.see(newest);
            Ok(ItemOutcome::Changed { digest })
        }
        // Nothing was written yet when the limit is asked.
        Err(StoreError::TooLarge { .. }) => Ok(ItemOutcome::Refused(RefusalCode::TooLarge)),
        Err(e) => Err(e),
    }
}

/// The document, which was checked when it was read.
fn built(doc: &CanonicalDoc) -> Result<Doc, StoreError> {
    doc.to_doc().map_err(|e| StoreError::Internal(e.to_string()))
}

/// Whether `a` and `b` together know everything in `all`. Of INITIAL leaves no vector can say which are known.
fn covers_together(a: &VersionVector, b: &VersionVector, all: &VersionVector) -> bool {
    all.get(&SiteId::ZERO).is_none()
        && all.iter().all(|(site, hlc)| a.get(site).max(b.get(site)) >= Some(hlc))
}

fn put_cursor(core: &Core, coll: u32, write: &CursorWrite) -> Result<(), StoreError> {
    let CursorWrite { key, cursor, .. } = write;
    let (token, own_seq) = (Param::Int(cursor.token as i64), Param::Int(cursor.own_seq as i64));
    let coll = Param::Int(coll.into());
    core.db.exec(
        "INSERT INTO cursor(store_id, epoch, query_hash, perm_hash, coll, token, own_seq)
         VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT(store_id, epoch, query_hash, perm_hash)
         DO UPDATE SET coll = excluded.coll, token = excluded.token, own_seq = excluded.own_seq",
        &[
            Param::Blob(&key.store_id),
            Param::Blob(&key.epoch),
            Param::Blob(&key.query_hash),
            Param::Blob(&key.perm_hash),
            coll,
            token,
            own_seq,
        ],
    )?;
    Ok(())
}

fn delete_cursor(core: &Core, key: &CursorKey) -> Result<(), StoreError> {
    core.db.exec(
        "DELETE FROM cursor WHERE store_id = ?1 AND epoch = ?2 AND query_hash = ?3 AND perm_hash = ?4",
        &[
            Param::Blob(&key.store_id),
            Param::Blob(&key.epoch),
            Param::Blob(&key.query_hash),
            Param::Blob(&key.perm_hash),
        ],
    )?;
    Ok(())
}

/// Deletes the cursors of a query at every sender.
pub(crate) fn delete_cursors_of(core: &Core, query_hash: &[u8; 16]) -> Result<(), StoreError> {
    core.db.exec("DELETE FROM cursor WHERE query_hash = ?1", &[Param::Blob(query_hash)])?;
    Ok(())
}
