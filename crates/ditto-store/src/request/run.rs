//! The way of a statement: prepared, bound, run where it belongs, counted.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ditto_dql::{Access, BindContext, Plan};
use ditto_types::Object;

use super::{Beginning, Cancellation, Request, Requests, failed_text, nanos};
use crate::StoreError;
use crate::core::Core;
use crate::driver::Db;
use crate::index::{self, Indexes};
use crate::mutate;
use crate::prepared::Statement;
use crate::readers::Reader;
use crate::result::QueryResult;
use crate::select::{StoreSource, select};
use crate::store::Inner;
use crate::transaction::Held;
use crate::unit::Unit;

/// How often a statement is planned again because an index was dropped meanwhile.
const MAX_ATTEMPTS: usize = 64;

/// Where a statement runs.
pub(crate) enum Place<'a> {
    /// With its own commit or snapshot.
    Own,
    /// In a read-write transaction.
    Write(&'a Held),
    /// In a read-only transaction.
    Read(&'a Reader),
}

/// Runs a statement text. The one entry for everything that executes text.
pub(crate) fn execute(
    store: &Inner,
    text: &str,
    args: &Object,
    place: &Place<'_>,
    cancel: Option<&Cancellation>,
) -> Result<QueryResult, StoreError> {
    let requests = &store.shared.requests;
    let settings = requests.settings.snapshot();
    let (started, started_ms) = (requests.clock.monotonic(), requests.clock.now_ms());
    let (statement, known) = match requests.statements.get(text, started_ms) {
        Ok(found) => found,
        Err(e) => {
            let e = StoreError::from(e);
            let (text, query_type) = (failed_text(text), "unknown");
            let b = Beginning { text, query_type, settings: &settings, started, started_ms, cancel };
            requests.end(&requests.begin(b), 0, 0, Some(&e));
            return Err(e);
        }
    };
    let counter = if known { &requests.vitals.cache_hits } else { &requests.vitals.cache_misses };
    counter.fetch_add(1, Ordering::Relaxed);
    let (text, query_type) = (statement.text.clone(), statement.query_type());
    let b = Beginning { text, query_type, settings: &settings, started, started_ms, cancel };
    let request = requests.begin(b);
    let result = run(store, requests, &statement, &request, args, place);
    let (rows, mutated) = match &result {
        Ok(r) => (r.item_count() as u64, r.mutated_document_ids().len() as u64),
        Err(_) => (0, 0),
    };
    let elapsed = requests.end(&request, rows, mutated, result.as_ref().err());
    statement.stats.add(elapsed, rows, result.is_err(), started_ms);
    result
}

fn run(
    store: &Inner,
    requests: &Requests,
    statement: &Statement,
    request: &Arc<Request>,
    args: &Object,
    place: &Place<'_>,
) -> Result<QueryResult, StoreError> {
    let mut attempts = 0;
    loop {
        request.poll()?;
        let before = requests.clock.monotonic();
        let indexes = indexes(store, place)?;
        let plan =
            statement.prepared.bind(args, &BindContext { catalog: &*indexes, ..BindContext::bare() })?;
        let planned = requests.clock.monotonic().saturating_sub(before);
        request.plan_ns.store(nanos(planned), Ordering::Relaxed);
        let result = match plan {
            Plan::Select(_) => read(store, request, plan, &indexes, place),
            Plan::CreateIndex(plan) if matches!(place, Place::Own) => {
                index::create::create(&store.desk, &plan).map(|_| QueryResult::default())
            }
            plan => write(store, request, plan, &indexes, place),
        };
        match result {
            // The plan is about an index that somebody has dropped since.
            Err(StoreError::IndexGone) if attempts < MAX_ATTEMPTS => attempts += 1,
            result => return result,
        }
    }
}

/// The indexes that a statement can use where it runs.
fn indexes(store: &Inner, place: &Place<'_>) -> Result<Arc<Indexes>, StoreError> {
    match place {
        Place::Own => Ok(store.shared.indexes.get()),
        Place::Write(held) => held.run(|core, _| Ok(core.indexes.clone())),
        // The snapshot may be older than the last commit.
        Place::Read(reader) => Ok(Arc::new(index::catalogue::load(reader.db()?, &store.shared.dict)?)),
    }
}

/// Runs a statement that reads documents.
fn read(
    store: &Inner,
    request: &Arc<Request>,
    plan: Plan,
    indexes: &Arc<Indexes>,
    place: &Place<'_>,
) -> Result<QueryResult, StoreError> {
    let shared = &store.shared;
    let Plan::Select(select_plan) = &plan else {
        return Err(StoreError::Internal("a statement that reads is no SELECT".to_string()));
    };
    let rows = |db: &Db| {
        let source = StoreSource::snapshot(db, &shared.dict, &shared.hash_key).with_system(shared);
        select(&source, select_plan)
    };
    let rows = match place {
        Place::Write(_) => return write(store, request, plan, indexes, place),
        Place::Read(_) if shared.is_closed() => return Err(StoreError::Closed),
        Place::Read(reader) => {
            request.begin();
            rows(reader.db()?)?
        }
        Place::Own => {
            let reader = shared.readers.get()?;
            request.begin();
            // One statement of the engine is a snapshot by itself.
            if is_one_read(select_plan.access()) { rows(reader.db()?)? } else { reader.snapshot(rows)? }
        }
    };
    Ok(QueryResult::rows(rows))
}

fn is_one_read(access: &Access) -> bool {
    match access {
        Access::Scan => true,
        Access::Ids(ids) => ids.len() <= 1,
        Access::Index(_) | Access::Union(_) | Access::Intersect(_) => false,
    }
}

/// Runs a statement on the writer.
fn write(
    store: &Inner,
    request: &Arc<Request>,
    plan: Plan,
    indexes: &Arc<Indexes>,
    place: &Place<'_>,
) -> Result<QueryResult, StoreError> {
    let (for_writer, indexes) = (request.clone(), indexes.clone());
    let run = move |core: &mut Core, unit: &mut Unit| {
        if !core.indexes.includes(&indexes) {
            return Err(StoreError::IndexGone);
        }
        if !for_writer.begin() {
            // Its caller has given it up and does not wait.
            return Err(StoreError::Cancelled);
        }
        core.request = Some(for_writer);
        let result = mutate::run(core, unit, &plan);
        core.request = None;
        result
    };
    match place {
        Place::Own => store.desk.write_watched(run, || request.abandon_if_over()),
        Place::Write(held) => held.run(run),
        Place::Read(_) => Err(StoreError::ReadOnly),
    }
}
