//! INSERT.
//!
//! The keys of a batch of documents, mostly all of them, are claimed first, in the order of the table of keys: that shows which documents exist. What
//! does not goes from its fields into the file without a document in between, and its index entries are written at the
//! end, in the order of each index.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use ditto_crdt::{Doc, Op};
use ditto_dql::{ConflictPolicy, InsertPlan, RunContext};
use ditto_types::{DocId, KeyHash, Object, SmolStr, Stamp, Value};

use super::images::Images;
use super::{Mutated, SizeLimits, applied, source, write};
use crate::StoreError;
use crate::commit::{Bodies, State};
use crate::core::{Before, Core, Held, insert_rows};
use crate::fields::{self, Typing};
use crate::index::{self, entries};
use crate::keys;
use crate::schema::khash_to_sql;
use crate::select::id_text;
use crate::unit::{Effects, Touched, Unit};

/// A document of the statement.
struct New<'p> {
    id: DocId,
    key: KeyHash,
    fields: Cow<'p, Object>,
    /// The row that it gets, if it does not exist.
    claimed: Option<i64>,
    written: bool,
}

pub(super) fn insert(
    core: &mut Core,
    unit: &mut Unit,
    effects: &mut Effects,
    plan: &InsertPlan,
) -> Result<Mutated, StoreError> {
    let spill = core.spill();
    let context = RunContext { spill: Some(&spill), ..core.context() };
    let mut documents = plan.documents(&source(core), &context)?;
    let coll = core.writable_collection(plan.collection())?;
    let mut images = Images::new(core, plan.returning());
    let mut written = Vec::with_capacity(documents.len());
    while let Some(batch) = documents.next_batch()? {
        let mut all = Vec::with_capacity(batch.len());
        for document in batch {
            let id = document.id.map_or_else(|| generate_id(core), Ok)?;
            let key = core.hash_key.key_hash(plan.collection(), &id);
            all.push(New { id, key, fields: document.fields, claimed: None, written: false });
        }
        insert_batch(core, (&mut *unit, &mut *effects), plan, coll, &mut all, &mut images)?;
        written.extend(all.into_iter().filter(|new| new.written).map(|new| new.id));
    }
    Ok((written, images.rows(core)?))
}

/// Writes documents whose ids differ.
fn insert_batch(
    core: &mut Core,
    (unit, effects): (&mut Unit, &mut Effects),
    plan: &InsertPlan,
    coll: u32,
    all: &mut [New<'_>],
    images: &mut Images<'_>,
) -> Result<(), StoreError> {
    claim(core, coll, all)?;
    let typing = Typing { declared: plan.declared(), strict: plan.is_strict(), tokens: plan.tokens() };
    let straight = typing.infers_everything() && !images.are_shown();
    for new in all.iter_mut().filter(|new| !straight || new.claimed.is_none()) {
        let held = match new.claimed {
            Some(_) => None,
            None => core.load(coll, &new.id, new.key)?,
        };
        let limits = SizeLimits::of(core, held.as_ref().map_or(0, |h| h.size));
        let Some(doc) = inserted(core, unit, plan, new, held.as_ref())? else { continue };
        let before = held.map_or(Before::Absent { claimed: new.claimed }, Before::Held);
        let place = (coll, new.id.clone(), new.key);
        write(core, (&*unit, &mut *effects), images, place, before, Arc::new(doc), limits)?;
        new.written = true;
    }
    if straight {
        write_new(core, unit, effects, coll, plan.is_initial(), all)?;
    }
    Ok(())
}

/// Makes the entries of the documents' keys, and gives row ids to those that have none yet. A document that exists, one of
/// which there is a gravestone, and one whose hash another has are left.
fn claim(core: &mut Core, coll: u32, all: &mut [New<'_>]) -> Result<(), StoreError> {
    let mut order: Vec<usize> = (0..all.len()).collect();
    order.sort_unstable_by(|a, b| {
        let of = |i: &usize| (khash_to_sql(all[*i].key), &all[*i].id);
        of(a).cmp(&of(b))
    });
    if order.windows(2).any(|pair| all[pair[0]].id == all[pair[1]].id) {
        return Err(StoreError::DuplicateIds);
    }
    let first = core.take_rids(coll, all.len())?;
    if core.graves {
        let mut free = Vec::with_capacity(order.len());
        for i in order {
            core.poll()?;
            if core.load_grave(coll, &all[i].id, all[i].key)?.is_none() {
                free.push(i);
            }
        }
        order = free;
    }
    let wanted: Vec<_> = order.iter().map(|i| (all[*i].key, first + *i as i64)).collect();
    keys::claim_all(&core.db, coll, &wanted, || core.poll(), |i| all[order[i]].claimed = Some(wanted[i].1))
}

/// Writes the documents that have a row id and are not written yet.
fn write_new(
    core: &mut Core,
    unit: &mut Unit,
    effects: &mut Effects,
    coll: u32,
    initial: bool,
    all: &mut [New<'_>],
) -> Result<(), StoreError> {
    if all.iter().all(|new| new.claimed.is_none()) {
        return Ok(());
    }
    let stamp = stamp(core, unit, initial)?;
    let limits = SizeLimits::of(core, 0);
    let indexes = core.indexes.clone();
    let mut entries = entries::Batch::new(indexes.of(coll));
    let shared = core.dict.shared().clone();
    let (mut bodies, mut canonical, mut count) = (Vec::new(), Vec::new(), 0);
    let Core { db, dict, hash_key, request, .. } = core;
    let mut made = Vec::with_capacity(all.len());
    for new in all.iter_mut() {
        let Some(rid) = new.claimed else { continue };
        request.as_ref().map_or(Ok(()), |r| r.poll())?;
        let start = bodies.len();
        canonical.clear();
        ditto_crdt::encode_fresh(&new.fields, stamp, dict, &mut bodies, &mut canonical);
        limits.check(&new.id, bodies.len() - start)?;
        let digest = hash_key.digest(&canonical);
        entries.add(rid, &new.id, &new.fields);
        made.push((new.id.clone(), new.key, digest, rid, start..bodies.len()));
        new.written = true;
        count += 1;
    }
    let bodies = Bodies::new(bodies, &shared);
    let touched = |(id, key, digest, rid, at): (_, _, _, _, Range<usize>)| {
        let (positions, weight, new) = ((0, rid), at.len(), Some(State::stored(&bodies, at)));
        Touched { coll, id, key, digest, old: None, new, positions, weight }
    };
    let written: Vec<_> = made.into_iter().map(touched).collect();
    insert_rows(db, unit, coll, &written)?;
    let grown = entries.write(db)?;
    index::kinds::note(core, coll, grown)?;
    core.counts.add(coll, count);
    effects.touch_all(written, || core.shared.is_heard());
    Ok(())
}

/// The state of a document after an INSERT; `None` when it stays as it is.
fn inserted(
    core: &mut Core,
    unit: &mut Unit,
    plan: &InsertPlan,
    new: &mut New<'_>,
    held: Option<&Held>,
) -> Result<Option<Doc>, StoreError> {
    let typing = Typing { declared: plan.declared(), strict: plan.is_strict(), tokens: plan.tokens() };
    let mut fields = std::mem::take(&mut new.fields).into_owned();
    fields.remove("_id");
    let Some(held) = held else {
        let stamp = stamp(core, unit, plan.is_initial())?;
        if typing.infers_everything() {
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
            ConflictPolicy::Fail => return Err(StoreError::IdConflict(id_text(&new.id))),
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

/// The stamp of new documents.
fn stamp(core: &mut Core, unit: &mut Unit, initial: bool) -> Result<Stamp, StoreError> {
    // Time zero: equal seeds on several devices are the same write.
    if initial { Ok(Stamp::ZERO) } else { core.stamp(unit) }
}

fn generate_id(core: &Core) -> Result<DocId, StoreError> {
    let mut bytes = [0; 16];
    core.random.fill(&mut bytes);
    let id = uuid::Builder::from_random_bytes(bytes).into_uuid();
    Ok(DocId::new(&Value::Str(SmolStr::new(id.to_string())))?)
}
