//! Writing statements: INSERT, UPDATE, DELETE and EVICT on the writer's connection.

mod images;
mod targets;

use std::collections::HashSet;
use std::sync::Arc;

use ditto_crdt::{Doc, Op};
use ditto_dql::{ConflictPolicy, DeletePlan, InsertPlan, Item, Plan, UpdatePlan};
use ditto_types::{DocId, KeyHash, Object, SmolStr, Stamp, Value};

use crate::StoreError;
use crate::core::{Core, Held};
use crate::driver::Param;
use crate::fields::{self, Typing};
use crate::index;
use crate::result::QueryResult;
use crate::row::{DocRow, Reading};
use crate::select::{StoreSource, id_text, select, unsupported};
use crate::unit::{Effects, Unit};
use images::Images;
use targets::{Candidates, Target};

/// Runs one statement inside its own savepoint: an error leaves no trace of it.
pub(crate) fn run(core: &mut Core, unit: &mut Unit, plan: &Plan) -> Result<QueryResult, StoreError> {
    if let Plan::Select(plan) = plan {
        return Ok(QueryResult::rows(select(&source(core), plan)?));
    }
    if let Plan::CreateIndex(_) | Plan::DropIndex(_) = plan {
        core.in_savepoint(unit, |core, _, _| match plan {
            Plan::CreateIndex(plan) => index::create::create_at_once(core, plan),
            Plan::DropIndex(plan) => index::create::drop_index(core, plan),
            _ => Ok(false),
        })?;
        return Ok(QueryResult::default());
    }
    let (mutated, rows) = core.in_savepoint(unit, |core, unit, effects| {
        effects.mutation = true;
        match plan {
            Plan::Insert(plan) => insert(core, unit, effects, plan),
            Plan::Update(plan) => update(core, unit, effects, plan),
            Plan::Delete(plan) => delete(core, unit, effects, plan),
            Plan::Evict(plan) => evict(core, unit, effects, plan),
            _ => Err(unsupported("this statement").into()),
        }
    })?;
    Ok(QueryResult::mutation(mutated, rows, unit.slot.clone()))
}

/// The ids that a mutation lists, and the rows of its RETURNING.
type Mutated = (Vec<DocId>, Vec<Item>);

fn insert(
    core: &mut Core,
    unit: &mut Unit,
    effects: &mut Effects,
    plan: &InsertPlan,
) -> Result<Mutated, StoreError> {
    let documents = plan.documents(&source(core), &core.context())?;
    let coll = core.writable_collection(plan.collection())?;
    let mut images = Images::new(plan.returning());
    let mut seen = HashSet::with_capacity(documents.len());
    let mut written = Vec::with_capacity(documents.len());
    for mut fields in documents {
        let id = match fields.remove("_id") {
            Some(value) => DocId::new(&value)?,
            None => generate_id(core)?,
        };
        if !seen.insert(id.clone()) {
            return Err(StoreError::DuplicateIds);
        }
        let key = core.hash_key.key_hash(plan.collection(), &id);
        let held = core.load(coll, &id, key)?;
        let Some(new) = inserted(core, unit, plan, &id, fields, held.as_ref())? else { continue };
        let old_size = held.as_ref().map_or(0, |h| h.size);
        let new = Arc::new(new);
        images.keep(&id, &new);
        core.store(unit, effects, (coll, id.clone(), key), held, new, check_size(core, old_size))?;
        written.push(id);
    }
    Ok((written, images.rows(&core.context())?))
}

/// The state of a document after an INSERT; `None` when it stays as it is.
fn inserted(
    core: &mut Core,
    unit: &mut Unit,
    plan: &InsertPlan,
    id: &DocId,
    fields: Object,
    held: Option<&Held>,
) -> Result<Option<Doc>, StoreError> {
    let typing = Typing { declared: plan.declared(), strict: plan.is_strict() };
    let Some(held) = held else {
        // Time zero: equal seeds on several devices are the same write.
        let stamp = if plan.is_initial() { Stamp::ZERO } else { core.stamp(unit)? };
        if typing.infers_everything() {
            fields::check_depth(&fields)?;
            return Ok(Some(Doc::fresh(&fields, stamp)));
        }
        let mut ops = vec![Op::Create];
        fields::set_all(fields, typing, &mut ops);
        return Ok(Some(applied(Doc::default(), &ops, stamp)?));
    };
    if plan.is_initial() {
        // A seed never wins against a document that exists, and never brings back one that was deleted.
        return Ok(None);
    }
    let mut ops = vec![Op::Create];
    if !held.doc.is_alive() {
        fields::set_all(fields, typing, &mut ops);
    } else {
        match plan.policy() {
            ConflictPolicy::Fail => return Err(StoreError::IdConflict(id_text(id))),
            ConflictPolicy::DoNothing => return Ok(None),
            ConflictPolicy::DoUpdate => fields::set_all(fields, typing, &mut ops),
            ConflictPolicy::DoUpdateLocalDiff => {
                fields::set_different(&held.doc, fields, typing, &mut ops);
                if ops.len() == 1 {
                    return Ok(None);
                }
            }
        }
    }
    let stamp = core.stamp(unit)?;
    Ok(Some(applied(held.doc.as_ref().clone(), &ops, stamp)?))
}

fn update(
    core: &mut Core,
    unit: &mut Unit,
    effects: &mut Effects,
    plan: &UpdatePlan,
) -> Result<Mutated, StoreError> {
    let candidates = Candidates::new(core);
    let targets = plan.targets(&candidates, &core.context(), |row| Ok(candidates.keep(row)))?;
    let typing = Typing { declared: plan.declared(), strict: plan.is_strict() };
    let mut images = Images::new(plan.returning());
    let reading = Reading::new(plan.declared(), plan.is_strict());
    let ids = for_each(core, plan.collection(), targets, |core, place, held| {
        let changes = plan.ops(&DocRow::reading(&place.1, &held.doc, reading))?;
        let ops = fields::update_ops(&held.doc, changes, typing);
        let stamp = core.stamp(unit)?;
        let new = Arc::new(applied(held.doc.as_ref().clone(), &ops, stamp)?);
        images.keep(&place.1, &new);
        let old_size = held.size;
        core.store(unit, effects, place, Some(held), new, check_size(core, old_size))?;
        Ok(())
    })?;
    Ok((ids, images.rows(&core.context())?))
}

fn delete(
    core: &mut Core,
    unit: &mut Unit,
    effects: &mut Effects,
    plan: &DeletePlan,
) -> Result<Mutated, StoreError> {
    let candidates = Candidates::new(core);
    let targets = plan.targets(&candidates, &core.context(), |row| Ok(candidates.keep(row)))?;
    let mut images = Images::new(plan.returning());
    let ids = for_each(core, plan.collection(), targets, |core, place, held| {
        images.keep(&place.1, &held.doc);
        let stamp = core.stamp(unit)?;
        let new = Arc::new(applied(held.doc.as_ref().clone(), &[Op::Delete], stamp)?);
        core.store(unit, effects, place, Some(held), new, |_, _| Ok(()))?;
        Ok(())
    })?;
    Ok((ids, images.rows(&core.context())?))
}

fn evict(
    core: &mut Core,
    unit: &Unit,
    effects: &mut Effects,
    plan: &DeletePlan,
) -> Result<Mutated, StoreError> {
    let candidates = Candidates::new(core);
    let targets = plan.targets(&candidates, &core.context(), |row| Ok(candidates.keep(row)))?;
    let mut images = Images::new(plan.returning());
    let ids = for_each(core, plan.collection(), targets, |core, place, held| {
        images.keep(&place.1, &held.doc);
        core.forget(effects, place, held)
    })?;
    if let Some(coll) = effects.evicted.first().copied() {
        // Rule R2: every subscription on the collection has to reconcile, also those that did not match what is
        // gone, since other peers may hold a state of it that they match.
        core.db.exec("DELETE FROM cursor WHERE coll = ?1", &[Param::Int(coll.into())])?;
        core.evicted_at.insert(coll, unit.seq);
        core.mark_site_stale()?;
    }
    Ok((ids, images.rows(&core.context())?))
}

fn source(core: &Core) -> StoreSource<'_> {
    StoreSource::writer(core)
}

/// Hands each chosen document whole to `f`. Gives their ids.
fn for_each(
    core: &mut Core,
    collection: &str,
    targets: Vec<Target>,
    mut f: impl FnMut(&mut Core, (u32, DocId, KeyHash), Held) -> Result<(), StoreError>,
) -> Result<Vec<DocId>, StoreError> {
    let mut ids = Vec::with_capacity(targets.len());
    let Some(coll) = core.dict.shared().collection_ref(collection) else { return Ok(ids) };
    for target in targets {
        let key = core.hash_key.key_hash(collection, &target.id);
        if let (id, Some(held)) = target.load(core, coll, key)? {
            ids.push(id.clone());
            f(core, (coll, id, key), held)?;
        }
    }
    Ok(ids)
}

fn applied(mut doc: Doc, ops: &[Op], stamp: Stamp) -> Result<Doc, StoreError> {
    for op in ops {
        doc.apply(op, stamp).map_err(fields::op_error)?;
    }
    Ok(doc)
}

fn generate_id(core: &Core) -> Result<DocId, StoreError> {
    let mut bytes = [0; 16];
    core.random.fill(&mut bytes);
    let id = uuid::Builder::from_random_bytes(bytes).into_uuid();
    Ok(DocId::new(&Value::Str(SmolStr::new(id.to_string())))?)
}

/// The check of a document's new size against the settings. A write that makes an oversized document smaller is allowed:
/// otherwise nothing could ever repair one that merging made too large.
fn check_size(core: &Core, old_size: usize) -> impl FnOnce(&DocId, usize) -> Result<(), StoreError> + use<> {
    let (soft, hard) = core.size_limits();
    move |id, size| {
        if size > hard && size >= old_size {
            return Err(StoreError::TooLarge { id: id_text(id), size, limit: hard });
        }
        if size > soft {
            let id = id_text(id);
            tracing::warn!(
                "Document `_id = {id}` size is {size} bytes and exceeds recommended limit of {soft} bytes"
            );
        }
        Ok(())
    }
}
