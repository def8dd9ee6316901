//! Applying what a peer sent: one commit of merged documents and the cursors that belong to them.

use std::sync::Arc;

use ditto_crdt::{Doc, VersionVector};
use ditto_types::{Hlc, HlcClock, SiteId};

use crate::StoreError;
use crate::core::{Before, Core, Held};
use crate::driver::Param;
use crate::replication::{ApplyBatch, ApplyItem, CursorKey, CursorWrite, ItemBody, ItemOutcome, RefusalCode};
use crate::unit::{Effects, Unit};

/// Largest stored form of a merged document. Merging may exceed the limit of local writes, because two peers may
/// each add to a document; this only bounds what a hostile peer can make us keep.
const MAX_MERGED: usize = 64 * 1024 * 1024;

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
        let mut items: Vec<(usize, ApplyItem)> = batch.items.into_iter().enumerate().collect();
        // Neighbours in the file are written one after the other.
        items.sort_by(|(_, a), (_, b)| (&a.collection, &a.id).cmp(&(&b.collection, &b.id)));
        for (i, item) in items {
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

fn merge_item(
    core: &mut Core,
    unit: &Unit,
    effects: &mut Effects,
    item: ApplyItem,
    floor_ms: u64,
) -> Result<ItemOutcome, StoreError> {
    let (sent, base) = match &item.body {
        ItemBody::Full(doc) | ItemBody::Tomb(doc) => (doc, None),
        ItemBody::Delta { base, doc } => (doc, Some(base)),
    };
    let newest = sent.max_hlc();
    if HlcClock::is_too_far_ahead(newest, floor_ms) {
        return Ok(ItemOutcome::Refused(RefusalCode::Future));
    }
    // Looked up before it is made up: an item that is not kept must not add to the dictionary of collections.
    let key = core.hash_key.key_hash(&item.collection, &item.id);
    let held = match core.dict.shared().collection_ref(&item.collection) {
        Some(coll) => core.load(coll, &item.id, key)?,
        None => None,
    };
    if let Some(base) = base {
        let vv = held.as_ref().map(|h| h.doc.vv()).unwrap_or_default();
        if !vv.covers_all(base) {
            return Ok(ItemOutcome::NeedsBase { vv });
        }
    }
    let Some(held) = held else {
        if !sent.is_alive() {
            return Ok(ItemOutcome::NotHeld);
        }
        let coll = match core.writable_collection(&item.collection) {
            Ok(coll) => coll,
            Err(_) => return Ok(ItemOutcome::Refused(RefusalCode::Collection)),
        };
        let place = (coll, item.id, key);
        return write(core, unit, effects, place, None, into_doc(item.body), newest);
    };
    let mut merged = held.doc.as_ref().clone();
    merged.merge(sent);
    if merged == *held.doc {
        let same = match base {
            // The sender knows what its delta is based on and what is in it.
            Some(base) => covers_together(base, &sent.vv(), &held.doc.vv()),
            None => *sent == *held.doc,
        };
        let digest = held.digest;
        return Ok(if same { ItemOutcome::Unchanged { digest } } else { ItemOutcome::LocalNewer { digest } });
    }
    let coll = core.writable_collection(&item.collection)?;
    write(core, unit, effects, (coll, item.id, key), Some(held), merged, newest)
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

fn into_doc(body: ItemBody) -> Doc {
    match body {
        ItemBody::Full(doc) | ItemBody::Tomb(doc) | ItemBody::Delta { doc, .. } => doc,
    }
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
