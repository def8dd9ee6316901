//! Writing statements: INSERT, UPDATE, DELETE and EVICT on the writer's connection.

mod images;
mod insert;
mod targets;

use std::sync::Arc;

use ditto_crdt::{Doc, Op};
use ditto_dql::{DeletePlan, Items, Plan, UpdatePlan};
use ditto_types::{Digest, DocId, KeyHash, Stamp};

use crate::StoreError;
use crate::core::{Before, Core, Held};
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
    let (mutated, rows) = core.in_late_savepoint(unit, |core, unit, effects| {
        effects.mutation = true;
        if !matches!(plan, Plan::Update(_) | Plan::Delete(_)) {
            core.protect()?;
        }
        match plan {
            Plan::Insert(plan) => insert::insert(core, unit, effects, plan),
            Plan::Update(plan) => update(core, unit, effects, plan),
            Plan::Delete(plan) => delete(core, unit, effects, plan),
            Plan::Evict(plan) => evict(core, unit, effects, plan),
            _ => Err(unsupported("this statement").into()),
        }
    })?;
    Ok(QueryResult::mutation(mutated, rows, unit.slot.clone()))
}

/// The ids that a mutation lists, and the rows of its RETURNING.
type Mutated = (Vec<DocId>, Items);

fn update(
    core: &mut Core,
    unit: &mut Unit,
    effects: &mut Effects,
    plan: &UpdatePlan,
) -> Result<Mutated, StoreError> {
    let candidates = Candidates::new(core);
    let targets = plan.targets(&candidates, &core.context(), |row| Ok(candidates.keep(row)))?;
    let typing = Typing { declared: plan.declared(), strict: plan.is_strict(), tokens: plan.tokens() };
    protect(core, targets.len(), plan.returning().is_some())?;
    let mut images = Images::new(core, plan.returning());
    let reading = Reading::new(plan.declared(), plan.is_strict());
    let ids = for_each(core, plan.collection(), targets, |core, place, held| {
        let changes = plan.ops(&DocRow::reading(&place.1, &held.doc, reading))?;
        let ops = fields::update_ops(changes, typing);
        let stamp = core.stamp(unit)?;
        let new = Arc::new(applied(held.doc.as_ref().clone(), &ops, stamp)?);
        let limits = SizeLimits::of(core, held.size);
        write(core, (unit, &mut *effects), &mut images, place, Before::Held(held), new, limits)
    })?;
    Ok((ids, images.rows(core)?))
}

fn delete(
    core: &mut Core,
    unit: &mut Unit,
    effects: &mut Effects,
    plan: &DeletePlan,
) -> Result<Mutated, StoreError> {
    let candidates = Candidates::new(core);
    let targets = plan.targets(&candidates, &core.context(), |row| Ok(candidates.keep(row)))?;
    protect(core, targets.len(), plan.returning().is_some())?;
    let mut images = Images::new(core, plan.returning());
    let ids = for_each(core, plan.collection(), targets, |core, place, held| {
        images.keep(core, (&place.1, &held.doc), held.size)?;
        let stamp = core.stamp(unit)?;
        let new = Arc::new(applied(held.doc.as_ref().clone(), &[Op::Delete], stamp)?);
        core.store(unit, effects, place, Before::Held(held), new, |_, _| Ok(()))?;
        Ok(())
    })?;
    Ok((ids, images.rows(core)?))
}

fn evict(
    core: &mut Core,
    unit: &Unit,
    effects: &mut Effects,
    plan: &DeletePlan,
) -> Result<Mutated, StoreError> {
    let candidates = Candidates::new(core);
    let targets = plan.targets(&candidates, &core.context(), |row| Ok(candidates.keep(row)))?;
    let mut images = Images::new(core, plan.returning());
    let ids = for_each(core, plan.collection(), targets, |core, place, held| {
        images.keep(core, (&place.1, &held.doc), held.size)?;
        core.forget(effects, place, held)
    })?;
    settle_eviction(core, unit, effects)?;
    Ok((ids, images.rows(core)?))
}

/// Writes the new state of a document, which RETURNING may show.
fn write(
    core: &mut Core,
    (unit, effects): (&Unit, &mut Effects),
    images: &mut Images<'_>,
    place: (u32, DocId, KeyHash),
    before: Before,
    new: Arc<Doc>,
    limits: SizeLimits,
) -> Result<(), StoreError> {
    let shown = images.are_shown().then(|| (place.1.clone(), new.clone()));
    let mut size = limits.old;
    core.store(unit, effects, place, before, new, |id, stored| {
        size = stored;
        limits.check(id, stored)
    })?;
    match shown {
        Some((id, doc)) => images.keep(core, (&id, &doc), size),
        None => Ok(()),
    }
}

/// What follows when documents were forgotten.
fn settle_eviction(core: &mut Core, unit: &Unit, effects: &Effects) -> Result<(), StoreError> {
    if let Some(coll) = effects.evicted.first().copied() {
        // Rule R2: every subscription on the collection has to reconcile, also those that did not match what is
        // gone, since other peers may hold a state of it that they match.
        core.db.exec("DELETE FROM cursor WHERE coll = ?1", &[Param::Int(coll.into())])?;
        core.evicted_at.insert(coll, unit.seq);
        core.mark_site_stale()?;
    }
    Ok(())
}

/// Forgets those of the documents that are still in the states with these digests. Gives their number.
pub(crate) fn evict_unchanged(
    core: &mut Core,
    unit: &mut Unit,
    collection: &str,
    documents: Vec<(DocId, Digest)>,
) -> Result<usize, StoreError> {
    core.in_savepoint(unit, |core, unit, effects| {
        let Some(coll) = core.dict.shared().collection_ref(collection) else { return Ok(0) };
        let mut evicted = 0;
        for (id, digest) in documents {
            let key = core.hash_key.key_hash(collection, &id);
            if let Some(held) = core.load(coll, &id, key)?.filter(|held| held.digest == digest) {
                core.forget(effects, (coll, id, key), held)?;
                evicted += 1;
            }
        }
        settle_eviction(core, unit, effects)?;
        Ok(evicted)
    })
}

/// Opens the savepoint of the statement unless the one document that it writes is the last thing it does.
fn protect(core: &mut Core, targets: usize, returning: bool) -> Result<(), StoreError> {
    if targets > 1 || returning { core.protect() } else { Ok(()) }
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

/// The check of a document's new size against the settings. A write that makes an oversized document smaller is allowed:
/// otherwise nothing could ever repair one that merging made too large.
#[derive(Clone, Copy)]
struct SizeLimits {
    soft: usize,
    hard: usize,
    /// Size before.
    old: usize,
}

impl SizeLimits {
    fn of(core: &Core, old: usize) -> Self {
        let (soft, hard) = core.size_limits();
        Self { soft, hard, old }
    }

    fn check(self, id: &DocId, size: usize) -> Result<(), StoreError> {
        let Self { soft, hard, old } = self;
        if size > hard && size >= old {
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
