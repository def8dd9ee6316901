//! Old tombstones (dql.md 7.6): each becomes a gravestone, which is a smaller row outside of the documents; a gravestone
//! goes after [`GRAVESTONE_DAYS`].
//!
//! A gravestone stands for the deleted document in every respect: it is found by id and by key hash, is merged with
//! what peers send, and is listed among the changes of its commit. So reaping changes nothing that a peer can see, and
//! needs no commit of its own in the store's sequence. What comes back after the gravestone is gone comes back: a
//! peer that was away for longer than that can bring a deleted document with it.

mod schedule;

use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, select};
use ditto_crdt::Doc;
use ditto_types::DocId;

use crate::StoreError;
use crate::check::{Against, CheckReport};
use crate::core::Core;
use crate::desk::Desk;
use crate::driver::Param;
use crate::keys;
use crate::request::Requests;
use crate::schema::khash_from_sql;
use crate::select::{damaged, doc_id, id_text};
use crate::shared::Shared;

/// Days that a gravestone is kept, counted from the deletion. As long as the guard against stamps in the future: a
/// write of longer ago is refused nowhere.
pub(crate) const GRAVESTONE_DAYS: u64 = 400;

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;

/// What a run of the reaper did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReapReport {
    /// Tombstones that were looked at.
    pub examined: usize,
    /// Tombstones that became gravestones.
    pub buried: usize,
    /// Gravestones that went.
    pub dropped: usize,
}

/// Runs once over everything, in transactions of `tombstone_reap_batch_size` documents.
pub(crate) fn run(desk: &Desk, requests: &Requests) -> Result<ReapReport, StoreError> {
    let mut report = ReapReport::default();
    let settings = requests.settings.snapshot();
    if !settings.tombstone_ttl_enabled {
        return Ok(report);
    }
    let now_ms = requests.clock.now_ms();
    let batch = settings.tombstone_reap_batch_size;
    let ttl_ms = settings.tombstone_ttl_hours.saturating_mul(HOUR_MS);
    // The age is that by the clock of the peer that deleted.
    let before = now_ms.saturating_sub(ttl_ms);
    let mut after = Some(i64::MIN);
    while let Some(from) = after {
        let step = desk
            .write(move |core, unit| core.in_savepoint(unit, |core, _, _| bury(core, from, batch, before)))?;
        report.examined += step.examined;
        report.buried += step.buried;
        after = step.next;
    }
    let before = now_ms.saturating_sub((GRAVESTONE_DAYS * DAY_MS).max(ttl_ms));
    let mut after = Some((-1, i64::MIN));
    while let Some(from) = after {
        let (dropped, next) = desk.write(move |core, unit| {
            core.in_savepoint(unit, |core, _, _| clear(core, from, batch, before))
        })?;
        report.dropped += dropped;
        after = next;
    }
    Ok(report)
}

struct Step {
    examined: usize,
    buried: usize,
    /// Row after which the next step goes on.
    next: Option<i64>,
}

struct Tombstone {
    rid: i64,
    coll: u32,
    khash: i64,
    id: DocId,
    seq: i64,
    at: u64,
    body: Vec<u8>,
}

/// Makes gravestones of the expired ones among the next `limit` tombstones after row `from`.
fn bury(core: &mut Core, from: i64, limit: u64, before_ms: u64) -> Result<Step, StoreError> {
    let (db, dict) = (&core.db, core.dict.shared());
    let (mut examined, mut last, mut expired) = (0, from, Vec::new());
    let limit_sql = i64::try_from(limit).unwrap_or(i64::MAX);
    db.query(
        "SELECT rid, coll, khash, id, seq, body FROM docs INDEXED BY docs_dead
         WHERE flags & 1 AND rid > ?1 ORDER BY rid LIMIT ?2",
        &[Param::Int(from), Param::Int(limit_sql)],
        |row| {
            examined += 1;
            last = row.int(0)?;
            let (id, body) = (doc_id(db, row.blob(3)?)?, row.blob(5)?);
            let doc = ditto_crdt::decode(body, &**dict).map_err(|e| damaged(db, &id, &e))?;
            let at = deleted_at(&doc);
            if let Some(at) = at.filter(|at| *at < before_ms) {
                let (rid, coll, khash, seq) = (last, row.ordinal(1)?, row.int(2)?, row.int(4)?);
                expired.push(Tombstone { rid, coll, khash, id, seq, at, body: body.to_vec() });
            }
            Ok(true)
        },
    )?;
    let buried = expired.len();
    core.graves |= buried > 0;
    let db = &core.db;
    for t in &expired {
        db.exec("DELETE FROM docs WHERE rid = ?1", &[Param::Int(t.rid)])?;
        keys::remove(db, t.coll, khash_from_sql(t.khash), t.rid)?;
        db.exec(
            "INSERT INTO grave(coll, khash, id, seq, at, body) VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
            &[
                Param::Int(t.coll.into()),
                Param::Int(t.khash),
                Param::Blob(t.id.as_bytes()),
                Param::Int(t.seq),
                Param::Int(i64::try_from(t.at).unwrap_or(i64::MAX)),
                Param::Blob(&t.body),
            ],
        )?;
    }
    let next = (examined as u64 >= limit).then_some(last);
    Ok(Step { examined, buried, next })
}

/// Drops the old ones among the next `limit` gravestones. Gives how many, and where to go on.
fn clear(
    core: &mut Core,
    from: (i64, i64),
    limit: u64,
    before_ms: u64,
) -> Result<(usize, Option<(i64, i64)>), StoreError> {
    let (mut examined, mut last, mut old) = (0u64, from, Vec::new());
    core.db.query(
        "SELECT coll, khash, at FROM grave WHERE (coll, khash) > (?1, ?2) ORDER BY coll, khash LIMIT ?3",
        &[Param::Int(from.0), Param::Int(from.1), Param::Int(i64::try_from(limit).unwrap_or(i64::MAX))],
        |row| {
            examined += 1;
            last = (row.int(0)?, row.int(1)?);
            if row.uint(2)? < before_ms {
                old.push(last);
            }
            Ok(true)
        },
    )?;
    for (coll, khash) in &old {
        core.db.exec(
            "DELETE FROM grave WHERE coll = ?1 AND khash = ?2",
            &[Param::Int(*coll), Param::Int(*khash)],
        )?;
    }
    if !old.is_empty() {
        // Rule D3: what was known of these documents is given up.
        core.mark_site_stale()?;
    }
    Ok((old.len(), (examined >= limit).then_some(last)))
}

/// Unix milliseconds of the deletion, by the clock of who deleted; `None` for a document that is not deleted.
fn deleted_at(doc: &Doc) -> Option<u64> {
    if doc.is_alive() { None } else { doc.dead().map(|s| s.hlc.ms()) }
}

/// Checks the gravestones of a file.
pub(crate) fn check(against: &Against<'_>, report: &mut CheckReport) -> Result<(), StoreError> {
    let sql = "SELECT g.coll, g.khash, g.id, g.seq, g.at, g.body, EXISTS (
                 SELECT 1 FROM key k CROSS JOIN docs d USING (rid)
                 WHERE k.coll = g.coll AND k.khash = g.khash AND d.id = g.id)
               FROM grave g";
    against.db.query(sql, &[], |row| {
        report.gravestones += 1;
        let (Some(name), Ok(id)) = (against.names.get(&row.ordinal(0)?), doc_id(against.db, row.blob(2)?))
        else {
            report.problem("a gravestone names an unknown collection or holds no document id".to_string());
            return Ok(true);
        };
        let at = format!("gravestone of {} of {name}", id_text(&id));
        let head = report.head;
        let mut expect = |holds: bool, what: &str| {
            if !holds {
                report.problem(format!("{at}: {what}"));
            }
        };
        expect(khash_from_sql(row.int(1)?) == against.hash_key.key_hash(name, &id), "the key hash is wrong");
        expect((1..=head).contains(&row.uint(3)?), "it belongs to no commit");
        expect(row.int(6)? == 0, "there is a document beside it");
        match ditto_crdt::decode(row.blob(5)?, against.dict) {
            Err(e) => expect(false, &format!("the stored state cannot be read: {e}")),
            Ok(doc) => {
                let when = deleted_at(&doc);
                expect(when.is_some(), "it is not deleted");
                expect(when == Some(row.uint(4)?), "its time is wrong");
            }
        }
        Ok(true)
    })
}

/// The thread that runs the reaper when it is due. Ends when dropped.
pub(crate) struct Thread {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// How often the thread looks at the clock at least: it may be set, and the machine may sleep.
const LOOK: Duration = Duration::from_secs(3600);

impl Thread {
    /// `None` when the system gives no thread; the store works without.
    pub(crate) fn start(desk: Desk, shared: std::sync::Arc<Shared>) -> Option<Self> {
        let (stop, stopped) = bounded(0);
        // Not on the thread, which may start late.
        let (opened, changed) = (shared.requests.clock.now_ms(), shared.requests.settings.subscribe());
        let thread = std::thread::Builder::new()
            .name("ditto-reaper".to_string())
            .spawn(move || serve(&desk, &shared.requests, opened, (&stopped, &changed)));
        match thread {
            Ok(thread) => Some(Self { stop: Some(stop), thread: Some(thread) }),
            Err(e) => {
                tracing::error!(error = %e, "no thread for the reaper; tombstones stay");
                None
            }
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the reaper has panicked");
        }
    }
}

fn serve(desk: &Desk, requests: &Requests, opened: u64, (stopped, changed): (&Receiver<()>, &Receiver<()>)) {
    let mut last = None;
    loop {
        let now = requests.clock.now_ms();
        let due = schedule::next_run(opened, last, &requests.settings.snapshot());
        if due.is_some_and(|due| due <= now) {
            last = Some(now);
            match run(desk, requests) {
                Ok(report) => tracing::debug!(?report, "tombstones reaped"),
                Err(StoreError::Closed) => return,
                Err(e) => tracing::warn!(error = %e, "tombstones cannot be reaped"),
            }
            continue;
        }
        let patience = due.map_or(LOOK, |due| Duration::from_millis(due.saturating_sub(now)).min(LOOK));
        select! {
            recv(stopped) -> _ => return,
            recv(changed) -> _ => {}
            default(patience) => {}
        }
    }
}

/// Takes the gravestones away, to show what they are good for.
#[cfg(test)]
pub(crate) fn open_graves(db: &crate::driver::Db) -> Result<(), StoreError> {
    db.exec("DELETE FROM grave", &[]).map(|_| ())
}

#[cfg(test)]
mod tests;
