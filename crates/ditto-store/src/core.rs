//! The writer's hands: loading and storing documents, stamps, savepoints and commits on the one writing connection.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock};

use ditto_crdt::Doc;
use ditto_dql::{Interrupt, Profiler, RunContext, SharedSpill};
use ditto_types::{Digest, DocId, HashKey, KeyHash, Stamp};

use crate::StoreError;
use crate::commit::State as DocState;
use crate::counts::Counts;
use crate::dict::WriterDict;
use crate::driver::{Db, GROUP, GroupInsert, Param};
use crate::index::{self, Indexes, entries};
use crate::keys;
use crate::meta::{self, State};
use crate::options::{RandomSource, WallClock};
use crate::request::Request;
use crate::schema::{self, FLAG_DEAD, by_id, khash_to_sql};
use crate::select::{MAX_COLLECTION_REF, damaged, rid_range};
use crate::settings::Settings;
use crate::shared::Shared;
use crate::unit::{DECODED, Effects, Touched, Unit};

/// Longest name of a collection, in bytes.
const MAX_COLLECTION_BYTES: usize = 255;

/// A new row of `docs`. The commit that makes it is also that of its last change.
const INSERT_DOC: &str = "INSERT INTO docs(rid, coll, id, khash, seq, digest, src, flags, body, born)
     VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?5)";

/// [`INSERT_DOC`] for many rows.
static INSERT_DOCS: LazyLock<GroupInsert<3, 5>> = LazyLock::new(|| {
    GroupInsert::new(
        "INSERT OR FAIL INTO docs(rid, coll, id, khash, seq, born, digest, src, flags, body) VALUES",
        "(?, ?1, ?, ?, ?2, ?2, ?, ?3, 0, ?)",
    )
});

/// Writes the rows of new documents of a collection that live and are in their stored form.
pub(crate) fn insert_rows(db: &Db, unit: &Unit, coll: u32, new: &[Touched]) -> Result<(), StoreError> {
    let shared = [Param::Int(coll.into()), Param::Int(unit.seq as i64), Param::Int(unit.src.into())];
    let mut docs = INSERT_DOCS.with(db, shared);
    let mut rows = Vec::with_capacity(GROUP);
    for group in new.chunks(GROUP) {
        rows.clear();
        for t in group {
            let row = new_row(coll, t);
            rows.push(row.ok_or_else(|| StoreError::Internal("a new document without a body".to_string()))?);
        }
        docs.exec(&rows)?;
    }
    Ok(())
}

/// Parameters of [`INSERT_DOCS`].
fn new_row(coll: u32, t: &Touched) -> Option<[Param<'_>; 5]> {
    let body = t.new.as_ref()?.bytes()?;
    (t.coll == coll).then_some([
        Param::Int(t.positions.1),
        Param::Blob(t.id.as_bytes()),
        Param::Int(khash_to_sql(t.key)),
        Param::Blob(&t.digest.0),
        Param::Blob(body),
    ])
}

/// Everything that only the writer thread touches.
pub(crate) struct Core {
    pub(crate) db: Db,
    pub(crate) dict: WriterDict,
    pub(crate) state: State,
    pub(crate) counts: Counts,
    /// The indexes as this connection sees them, what is not committed included.
    pub(crate) indexes: Arc<Indexes>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) hash_key: HashKey,
    pub(crate) clock: Arc<dyn WallClock>,
    pub(crate) random: Arc<dyn RandomSource>,
    /// Next free row id per collection. May run ahead of the file after a rollback, which only leaves a gap.
    next_rid: HashMap<u32, i64>,
    /// Sequence number of the last EVICT per collection, since the store was opened. May name one that was rolled
    /// back, which only keeps a cursor from being written once.
    pub(crate) evicted_at: HashMap<u32, u64>,
    /// The next savepoint is all that its transaction will hold: a failure takes the whole transaction back.
    pub(crate) alone: bool,
    /// What a failure of the statement that runs takes back.
    undo: Undo,
    /// Whether there may be gravestones: most stores have none, and a new document need not be looked for there.
    pub(crate) graves: bool,
    /// The request whose statement runs.
    pub(crate) request: Option<Arc<Request>>,
    /// Next number of an index. Never given out twice while the store is open, so that a plan for an index that is gone
    /// cannot read another.
    next_index: u32,
}

/// What has to be taken back when a statement fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Undo {
    /// Nothing: it has not written.
    Nothing,
    /// Everything since its savepoint.
    Savepoint,
    /// The whole transaction of the engine.
    Transaction,
}

/// A document that the store has, dead or alive.
pub(crate) struct Held {
    /// `None` for a document of which only the gravestone is left.
    pub(crate) rid: Option<i64>,
    pub(crate) digest: Digest,
    pub(crate) doc: Arc<Doc>,
    /// Size of its stored form.
    pub(crate) size: usize,
}

/// What there is of a document that is going to be written.
pub(crate) enum Before {
    Held(Held),
    /// Nothing, or only the row id for which its key was [claimed](keys::CLAIM).
    Absent {
        claimed: Option<i64>,
    },
}

impl Core {
    pub(crate) fn new(
        db: Db,
        dict: WriterDict,
        state: State,
        hash_key: HashKey,
        clock: Arc<dyn WallClock>,
        random: Arc<dyn RandomSource>,
        shared: Arc<Shared>,
    ) -> Result<Self, StoreError> {
        let counts = Counts::load(&db)?;
        let graves = db.query_one("SELECT 1 FROM grave LIMIT 1", &[], |_| Ok(()))?.is_some();
        let indexes = shared.indexes.get();
        let next_index = indexes.iter().map(|i| i.def.id).max().map_or(1, |id| id.saturating_add(1));
        Ok(Self {
            db,
            dict,
            state,
            counts,
            indexes,
            shared,
            hash_key,
            clock,
            random,
            next_rid: HashMap::new(),
            evicted_at: HashMap::new(),
            alone: false,
            undo: Undo::Nothing,
            graves,
            request: None,
            next_index,
        })
    }

    /// Runs `f` in a savepoint: either all of its effects join `unit`, or none are left in the file.
    ///
    /// A panic inside `f` is a bug, but one statement's; it becomes an error of that statement.
    pub(crate) fn in_savepoint<T>(
        &mut self,
        unit: &mut Unit,
        f: impl FnOnce(&mut Core, &mut Unit, &mut Effects) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.in_late_savepoint(unit, |core, unit, effects| {
            core.protect()?;
            f(core, unit, effects)
        })
    }

    /// As [`Core::in_savepoint`], for an `f` that calls [`Core::protect`] unless it writes one document and nothing after
    /// that can fail but the engine. A savepoint costs a copy of every page that is changed; where there is none, a
    /// failure after the first write ends the whole transaction, as the engine does by itself when the disk fails.
    pub(crate) fn in_late_savepoint<T>(
        &mut self,
        unit: &mut Unit,
        f: impl FnOnce(&mut Core, &mut Unit, &mut Effects) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let (state, stamp, counts) = (self.state, unit.stamp, self.counts.mark());
        let indexes = self.indexes.clone();
        let mut effects = Effects::default();
        let alone = std::mem::take(&mut self.alone);
        let outer = std::mem::replace(&mut self.undo, if alone { Undo::Transaction } else { Undo::Nothing });
        let out = catch_unwind(AssertUnwindSafe(|| f(self, unit, &mut effects)))
            .unwrap_or_else(|p| Err(StoreError::Internal(panic_text(&*p))))
            .and_then(|out| match self.undo {
                Undo::Savepoint => self.db.exec("RELEASE one", &[]).map(|_| out),
                Undo::Nothing | Undo::Transaction => Ok(out),
            });
        let undo = std::mem::replace(&mut self.undo, outer);
        match out {
            Ok(out) => {
                unit.absorb(effects, || self.shared.is_heard());
                Ok(out)
            }
            Err(e) => {
                let last = self.state.clock.last();
                (self.state, unit.stamp) = (state, stamp);
                self.counts.reset(counts);
                self.indexes = indexes;
                // Time does not go back, or a stamp could be given out twice with different contents.
                self.state.clock.see(last);
                if self.db.in_transaction() {
                    match undo {
                        Undo::Nothing => {}
                        Undo::Savepoint => {
                            self.db.exec("ROLLBACK TO one", &[])?;
                            self.db.exec("RELEASE one", &[])?;
                        }
                        Undo::Transaction => {
                            self.db.exec("ROLLBACK", &[])?;
                        }
                    }
                }
                Err(e)
            }
        }
    }

    /// Opens the savepoint of the statement that runs, if it needs one and has none.
    pub(crate) fn protect(&mut self) -> Result<(), StoreError> {
        if self.undo == Undo::Nothing {
            self.db.exec("SAVEPOINT one", &[])?;
            self.undo = Undo::Savepoint;
        }
        Ok(())
    }

    /// Notes that the statement writes now, with or without a savepoint.
    fn writing(&mut self) {
        if self.undo == Undo::Nothing {
            self.undo = Undo::Transaction;
        }
    }

    /// Makes what happened since BEGIN durable, with new dictionary entries and the state.
    pub(crate) fn commit(&mut self, before: State) -> Result<(), StoreError> {
        if !self.db.in_transaction() {
            return Err(StoreError::Backend(
                "the storage engine rolled the transaction back after an earlier error".to_string(),
            ));
        }
        self.dict.write_pending(&self.db)?;
        if (self.state.head, self.state.clock.last()) != (before.head, before.clock.last()) {
            meta::save(&self.db, &self.state)?;
        }
        self.counts.write(&self.db)?;
        let unmarked = self.state.unmarked.take();
        if let Some(durability) = unmarked {
            meta::mark(&self.db, durability, &self.clock.boot_id())?;
        }
        self.db.exec("COMMIT", &[])?;
        if let Some(durability) = unmarked {
            meta::note_seal(&self.db);
            if let Err(e) = schema::set_durability(&self.db, durability) {
                tracing::warn!(error = %e, "commits go on to wait for the disk");
            }
        }
        self.dict.committed();
        self.counts.committed();
        self.shared.indexes.set(&self.indexes);
        Ok(())
    }

    /// Takes everything since BEGIN back.
    pub(crate) fn rollback(&mut self, before: State) {
        let last = self.state.clock.last();
        self.state = before;
        self.state.clock.see(last);
        self.counts.rolled_back();
        self.indexes = self.shared.indexes.get();
        if self.db.in_transaction()
            && let Err(e) = self.db.exec("ROLLBACK", &[])
        {
            tracing::error!(error = %e, "rollback failed");
        }
    }

    /// Fails when the request of the running statement is over.
    pub(crate) fn poll(&self) -> Result<(), StoreError> {
        self.request.as_ref().map_or(Ok(()), |r| r.poll())
    }

    /// How a statement is run here: its request may end it.
    pub(crate) fn context(&self) -> RunContext<'_> {
        let request = self.request.as_deref();
        RunContext {
            interrupt: request.map(|r| r as &dyn Interrupt),
            profiler: request.map(|r| r as &dyn Profiler),
            ..RunContext::default()
        }
    }

    /// Where a statement puts what memory does not hold, as the settings of its request have it.
    pub(crate) fn spill(&self) -> SharedSpill {
        match &self.request {
            Some(request) => self.shared.spill.for_run(&request.settings),
            None => self.shared.spill.for_run(&Settings::default()),
        }
    }

    /// Sizes above which a local write is warned of, and fails, in bytes of the stored form.
    pub(crate) fn size_limits(&self) -> (usize, usize) {
        let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let limits =
            |s: &Settings| (size(s.document_size_soft_limit_bytes), size(s.document_size_hard_limit_bytes));
        self.request.as_ref().map_or_else(|| limits(&Settings::default()), |r| limits(&r.settings))
    }

    /// The stamp of the unit's local writes.
    pub(crate) fn stamp(&mut self, unit: &mut Unit) -> Result<Stamp, StoreError> {
        if self.state.site_stale {
            self.protect()?;
            // Rule D3: who has forgotten documents must not sign with the old name any more.
            self.state.site.incarnation = self
                .state
                .site
                .incarnation
                .checked_add(1)
                .ok_or_else(|| StoreError::Internal("no site incarnation is left".to_string()))?;
            self.state.site_stale = false;
            meta::save_site(&self.db, &self.state)?;
            unit.stamp = None;
        }
        Ok(*unit
            .stamp
            .get_or_insert_with(|| Stamp::new(self.state.clock.now(self.clock.now_ms()), self.state.site)))
    }

    /// Ordinal of a collection that is going to be written to.
    pub(crate) fn writable_collection(&mut self, name: &str) -> Result<u32, StoreError> {
        if name.is_empty() {
            return Err(StoreError::Collection("the name is empty"));
        }
        if name.len() > MAX_COLLECTION_BYTES {
            return Err(StoreError::Collection("the name is longer than 255 bytes"));
        }
        self.refuse_system(name)?;
        let coll = self.dict.collection_ref(name);
        if coll > MAX_COLLECTION_REF {
            return Err(StoreError::Execution("the store has too many collections".to_string()));
        }
        Ok(coll)
    }

    /// Refuses to write to a virtual collection.
    pub(crate) fn refuse_system(&self, name: &str) -> Result<(), StoreError> {
        if name.starts_with("system:") {
            return Err(StoreError::Collection("system collections are read-only"));
        }
        Ok(())
    }

    /// Notes that the store has forgotten documents: the next local write is signed with a new incarnation.
    pub(crate) fn mark_site_stale(&mut self) -> Result<(), StoreError> {
        self.state.site_stale = true;
        meta::save_site(&self.db, &self.state)
    }

    /// Loads a document; a gravestone counts as the deleted document it stands for.
    pub(crate) fn load(&mut self, coll: u32, id: &DocId, key: KeyHash) -> Result<Option<Held>, StoreError> {
        let (db, dict) = (&self.db, self.dict.shared());
        let row = db.query_one(
            by_id!("rid, digest, body"),
            &[Param::Int(coll.into()), Param::Int(khash_to_sql(key)), Param::Blob(id.as_bytes())],
            |r| {
                let body = r.blob(2)?;
                let doc = ditto_crdt::decode(body, &**dict).map_err(|e| damaged(db, id, &e))?;
                Ok(Held {
                    rid: Some(r.int(0)?),
                    digest: Digest(r.array(1)?),
                    doc: Arc::new(doc),
                    size: body.len(),
                })
            },
        )?;
        match row {
            Some(held) => Ok(Some(held)),
            None if self.graves => self.load_grave(coll, id, key),
            None => Ok(None),
        }
    }

    pub(crate) fn load_grave(&self, coll: u32, id: &DocId, key: KeyHash) -> Result<Option<Held>, StoreError> {
        let (db, dict) = (&self.db, self.dict.shared());
        let doc = db.query_one(
            "SELECT body FROM grave WHERE coll = ?1 AND khash = ?2 AND id = ?3",
            &[Param::Int(coll.into()), Param::Int(khash_to_sql(key)), Param::Blob(id.as_bytes())],
            |r| ditto_crdt::decode(r.blob(0)?, &**dict).map_err(|e| damaged(db, id, &e)),
        )?;
        Ok(doc.map(|doc| {
            let digest = doc.digest(&self.hash_key);
            Held { rid: None, digest, doc: Arc::new(doc), size: 0 }
        }))
    }

    /// Writes the new state of a document. Returns its digest, and whether that differs from the old one.
    ///
    /// `limit` is asked with the size of the stored form before anything is written.
    pub(crate) fn store(
        &mut self,
        unit: &Unit,
        effects: &mut Effects,
        (coll, id, key): (u32, DocId, KeyHash),
        before: Before,
        new: Arc<Doc>,
        limit: impl FnOnce(&DocId, usize) -> Result<(), StoreError>,
    ) -> Result<(Digest, bool), StoreError> {
        self.poll()?;
        let (held, claimed) = match before {
            Before::Held(held) => (Some(held), None),
            Before::Absent { claimed } => (None, claimed),
        };
        let digest = new.digest(&self.hash_key);
        if let Some(held) = &held
            && held.digest == digest
        {
            return Ok((digest, false));
        }
        let body = ditto_crdt::encode(&new, &mut self.dict);
        limit(&id, body.len())?;
        let flags = if new.is_alive() { 0 } else { FLAG_DEAD };
        let (seq, src) = (Param::Int(unit.seq as i64), Param::Int(unit.src.into()));
        let held_rid = held.as_ref().and_then(|h| h.rid);
        self.writing();
        let rid = if let Some(rid) = held_rid {
            self.db.exec(
                "UPDATE docs SET seq = ?2, digest = ?3, src = ?4, flags = ?5, body = ?6 WHERE rid = ?1",
                &[Param::Int(rid), seq, Param::Blob(&digest.0), src, Param::Int(flags), Param::Blob(&body)],
            )?;
            rid
        } else {
            let rid = match claimed {
                Some(rid) => rid,
                None => {
                    let rid = self.take_rids(coll, 1)?;
                    keys::add(&self.db, coll, key, rid)?;
                    rid
                }
            };
            self.db.exec(
                INSERT_DOC,
                &[
                    Param::Int(rid),
                    Param::Int(coll.into()),
                    Param::Blob(id.as_bytes()),
                    Param::Int(khash_to_sql(key)),
                    seq,
                    Param::Blob(&digest.0),
                    src,
                    Param::Int(flags),
                    Param::Blob(&body),
                ],
            )?;
            if held.is_some() {
                self.db.exec(
                    "DELETE FROM grave WHERE coll = ?1 AND khash = ?2",
                    &[Param::Int(coll.into()), Param::Int(khash_to_sql(key))],
                )?;
            }
            rid
        };
        let size = body.len() + held.as_ref().map_or(0, |h| h.size);
        let old = held.map(|h| h.doc);
        entries::update(&self.db, self.indexes.of(coll), (rid, &id), old.as_deref(), Some(&new))?;
        index::kinds::document(self, coll, &new)?;
        let was_alive = old.as_ref().is_some_and(|d| d.is_alive());
        self.counts.add(coll, i64::from(new.is_alive()) - i64::from(was_alive));
        let positions = (held_rid.unwrap_or_default(), rid);
        let new = Some(DocState::Decoded(new));
        let weight = DECODED * size;
        let touched = Touched { coll, id, key, digest, old, new, positions, weight };
        effects.touch(touched, || self.shared.is_heard());
        Ok((digest, true))
    }

    /// Deletes a document's row; nothing of it is left here.
    pub(crate) fn forget(
        &mut self,
        effects: &mut Effects,
        (coll, id, key): (u32, DocId, KeyHash),
        held: Held,
    ) -> Result<(), StoreError> {
        self.poll()?;
        self.writing();
        if let Some(rid) = held.rid {
            self.db.exec("DELETE FROM docs WHERE rid = ?1", &[Param::Int(rid)])?;
            keys::remove(&self.db, coll, key, rid)?;
            entries::update(&self.db, self.indexes.of(coll), (rid, &id), Some(&held.doc), None)?;
        }
        self.counts.add(coll, -i64::from(held.doc.is_alive()));
        effects.evicted.insert(coll);
        let (digest, old, weight) = (held.digest, Some(held.doc), DECODED * held.size);
        let positions = (held.rid.unwrap_or_default(), 0);
        let touched = Touched { coll, id, key, digest, old, new: None, positions, weight };
        effects.touch(touched, || self.shared.is_heard());
        Ok(())
    }

    /// The number of a new index.
    pub(crate) fn next_index(&mut self) -> u32 {
        let id = self.next_index;
        self.next_index += 1;
        id
    }

    /// The first of `n` row ids in a row.
    pub(crate) fn take_rids(&mut self, coll: u32, n: usize) -> Result<i64, StoreError> {
        let (first, last) = rid_range(coll);
        let next = match self.next_rid.get(&coll) {
            Some(next) => *next,
            None => self
                .db
                .query_one(
                    "SELECT rid FROM docs WHERE rid BETWEEN ?1 AND ?2 ORDER BY rid DESC LIMIT 1",
                    &[Param::Int(first), Param::Int(last)],
                    |r| Ok(r.int(0)? + 1),
                )?
                .unwrap_or(first),
        };
        let end = i64::try_from(n).ok().and_then(|n| next.checked_add(n)).unwrap_or(i64::MAX);
        if end > last + 1 {
            return Err(StoreError::Execution("the collection is full".to_string()));
        }
        self.next_rid.insert(coll, end);
        Ok(next)
    }
}

pub(crate) fn panic_text(p: &(dyn std::any::Any + Send)) -> String {
    let text =
        p.downcast_ref::<&str>().map(ToString::to_string).or_else(|| p.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "panic".to_string())
}
