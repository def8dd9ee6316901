//! CREATE INDEX and DROP INDEX.
//!
//! An index on a large collection is built in steps, each a short piece of work of the writer, so that other writes get
//! in between; readers are never blocked. From the first step on every write keeps the new index, and after the last
//! one readers see it. What a crash leaves unfinished is dropped at the next open.

use std::sync::Arc;

use ditto_dql::{CreateIndexPlan, DropIndexPlan, IndexDef, IndexKinds, MAX_INDEX_KEYS, Row};

use super::kinds::{self, Growth};
use super::{Index, Indexes, MAX_INDEXES, catalogue, entries};
use crate::StoreError;
use crate::core::Core;
use crate::desk::Desk;
use crate::driver::Param;
use crate::row::Reading;
use crate::select::{rid_range, with_row};

/// Documents of one step at most.
const STEP_DOCUMENTS: usize = 1_000;

/// Bytes of the keys of one step at most, give or take one document.
const STEP_BYTES: usize = 4 * 1024 * 1024;

/// Creates an index outside of a transaction. Returns whether it did: with IF NOT EXISTS there may be one.
///
/// Blocks until the index is complete. An index of this name that somebody else is still building counts as one that
/// exists. `poll` is asked before each step; its error ends the work, and nothing of the index is left.
pub(crate) fn create(
    desk: &Desk,
    plan: &CreateIndexPlan,
    poll: impl Fn() -> Result<(), StoreError>,
) -> Result<bool, StoreError> {
    poll()?;
    let begin = plan.clone();
    let first = desk.write(move |core, unit| {
        core.in_savepoint(unit, |core, _, _| {
            let Some(index) = register(core, &begin)? else { return Ok(None) };
            let next = step(core, &index, rid_range(index.coll).0)?;
            Ok(Some((index.def.id, index.coll, next)))
        })
    })?;
    let Some((id, coll, mut next)) = first else { return Ok(false) };
    while let Some(from) = next {
        let stepped = poll().and_then(|()| {
            desk.write(move |core, unit| {
                core.in_savepoint(unit, |core, _, _| {
                    let index = building(core, coll, id).ok_or_else(|| {
                        StoreError::Execution("the index was dropped before it was complete".to_string())
                    })?;
                    step(core, &index, from)
                })
            })
        });
        next = match stepped {
            Ok(next) => next,
            Err(e) => {
                give_up(desk, coll, id);
                return Err(e);
            }
        };
    }
    Ok(true)
}

/// Drops what could not be built. If that fails too, the next open does it.
fn give_up(desk: &Desk, coll: u32, id: u32) {
    let dropped = desk.write(move |core, unit| {
        core.in_savepoint(unit, |core, _, _| match building(core, coll, id) {
            Some(index) => remove(core, &index),
            None => Ok(()),
        })
    });
    if let Err(e) = dropped {
        tracing::debug!(error = %e, "an unfinished index stays until the next open");
    }
}

/// An index as it is now.
fn building(core: &Core, coll: u32, id: u32) -> Option<Arc<Index>> {
    core.indexes.of(coll).iter().find(|i| i.def.id == id).cloned()
}

/// Creates an index at once, inside the savepoint of a transaction's statement. Returns whether it did.
pub(crate) fn create_at_once(core: &mut Core, plan: &CreateIndexPlan) -> Result<bool, StoreError> {
    let Some(index) = register(core, plan)? else { return Ok(false) };
    let (coll, id, mut next) = (index.coll, index.def.id, Some(rid_range(index.coll).0));
    while let Some(from) = next {
        core.poll()?;
        let Some(index) = building(core, coll, id) else { return Ok(false) };
        next = step(core, &index, from)?;
    }
    Ok(true)
}

/// Drops an index, inside a savepoint. Returns whether there was one.
pub(crate) fn drop_index(core: &mut Core, plan: &DropIndexPlan) -> Result<bool, StoreError> {
    let coll = core.dict.shared().collection_ref(&plan.collection);
    let index = coll.and_then(|coll| core.indexes.named(coll, &plan.name)).cloned();
    match index {
        Some(index) => remove(core, &index).map(|()| true),
        None if plan.if_present => Ok(false),
        None => Err(StoreError::NoSuchIndex { name: plan.name.clone(), collection: plan.collection.clone() }),
    }
}

/// The indexes of a file that was just opened; what is not finished is dropped.
pub(crate) fn open(db: &crate::driver::Db, dict: &crate::dict::Dict) -> Result<Indexes, StoreError> {
    let mut indexes = catalogue::load(db, dict)?;
    catalogue::drop_unfinished(db, &mut indexes)?;
    Ok(indexes)
}

/// Adds an index without entries. From here on writes keep it.
fn register(core: &mut Core, plan: &CreateIndexPlan) -> Result<Option<Arc<Index>>, StoreError> {
    let coll = core.writable_collection(&plan.collection)?;
    if core.indexes.named(coll, &plan.name).is_some() {
        return if plan.if_absent { Ok(None) } else { Err(StoreError::IndexExists) };
    }
    if plan.name.is_empty() {
        return Err(StoreError::Execution("the name of an index is empty".to_string()));
    }
    if !(1..=MAX_INDEX_KEYS).contains(&plan.keys.len()) {
        return Err(StoreError::Execution(format!("an index has 1 to {MAX_INDEX_KEYS} keys")));
    }
    if core.indexes.of(coll).len() >= MAX_INDEXES {
        return Err(StoreError::Execution(format!(
            "a collection has at most {MAX_INDEXES} indexes, and {} has as many",
            plan.collection
        )));
    }
    let def = IndexDef {
        id: core.next_index(),
        name: plan.name.clone(),
        collection: plan.collection.clone(),
        keys: plan.keys.clone(),
        kinds: Some(IndexKinds::none(&plan.keys)),
    };
    let index = Index::new(Arc::new(def), coll, false);
    catalogue::insert(&core.db, &index)?;
    let def = index.def.clone();
    put(core, index);
    Ok(core.indexes.named(coll, &def.name).cloned())
}

/// Adds the entries of the next documents, from a row id on. Returns where to go on; `None` when the index is
/// complete, and marked so.
fn step(core: &mut Core, index: &Arc<Index>, from: i64) -> Result<Option<i64>, StoreError> {
    let (db, dict) = (&core.db, core.dict.shared());
    let (_, last) = rid_range(index.coll);
    let mut found: Vec<(Vec<u8>, i64)> = Vec::new();
    let (mut bytes, mut documents, mut next) = (0, 0, None);
    let of_index = std::slice::from_ref(index);
    let mut kinds = Growth::new(of_index);
    db.query(
        "SELECT rid, id, body FROM docs WHERE rid BETWEEN ?1 AND ?2 AND flags & 1 = 0 ORDER BY rid",
        &[Param::Int(from), Param::Int(last)],
        |row| {
            let rid = row.int(0)?;
            if documents >= STEP_DOCUMENTS || bytes >= STEP_BYTES {
                next = Some(rid);
                return Ok(false);
            }
            documents += 1;
            let document = (rid, row.blob(1)?, row.blob(2)?);
            let key = with_row(db, dict, document, Reading::NEWEST, |row| {
                kinds.see(|path, see| row.kinds_along(path, see));
                Ok(index.def.entry(|path| row.field(path)))
            })?;
            if let Some(key) = key {
                bytes += key.len();
                found.push((key, rid));
            }
            Ok(true)
        },
    )?;
    // Neighbours in the index are written one after the other.
    found.sort_unstable();
    for (key, rid) in &found {
        entries::insert(db, index, key, *rid)?;
    }
    let grown = kinds.finish();
    kinds::note(core, index.coll, grown)?;
    if next.is_none()
        && let Some(index) = building(core, index.coll, index.def.id)
    {
        catalogue::complete(&core.db, index.def.id)?;
        put(core, Index::new(index.def.clone(), index.coll, true));
    }
    Ok(next)
}

fn remove(core: &mut Core, index: &Index) -> Result<(), StoreError> {
    catalogue::delete(&core.db, index)?;
    let mut indexes = Indexes::clone(&core.indexes);
    indexes.remove(index);
    core.indexes = Arc::new(indexes);
    Ok(())
}

pub(super) fn put(core: &mut Core, index: Index) {
    let mut indexes = Indexes::clone(&core.indexes);
    indexes.put(index);
    core.indexes = Arc::new(indexes);
}
