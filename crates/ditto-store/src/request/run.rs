//! The way of a statement: prepared, bound, run where it belongs, counted.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ditto_dql::{Access, Env, Item, Items, Namespace, Plan, RunContext, SelectPlan};
use ditto_types::Object;

use super::{Beginning, Bound, Cancellation, How, Request, Requests, failed_text, nanos, other};
use crate::StoreError;
use crate::core::Core;
use crate::driver::Db;
use crate::index::{self, Indexes};
use crate::mutate;
use crate::prepared::Statement;
use crate::result::QueryResult;
use crate::select::StoreSource;
use crate::store::Inner;
use crate::system;
use crate::transaction::{Held, Snapshot};
use crate::unit::Unit;

/// How often a statement is planned again because an index was dropped or changed meanwhile.
const MAX_ATTEMPTS: u64 = 64;

/// Whether a statement that met a change of an index is planned again. A reader can see a commit a moment before the set of
/// indexes that it is planned with: the more often that happens, the longer it waits for it, a second at most in total.
pub(crate) fn may_plan_again(attempts: &mut u64) -> bool {
    *attempts += 1;
    if *attempts > 3 {
        std::thread::sleep(Duration::from_millis((*attempts).min(20)));
    }
    *attempts <= MAX_ATTEMPTS
}

/// Where a statement runs.
pub(crate) enum Place<'a> {
    /// With its own commit or snapshot.
    Own,
    /// In a read-write transaction.
    Write(&'a Held),
    /// In a read-only transaction.
    Read(&'a Snapshot),
}

/// Runs a statement text. The one entry for everything that executes text.
pub(crate) fn execute(
    store: &Inner,
    text: &str,
    args: Cow<'_, Object>,
    place: &Place<'_>,
    cancel: Option<&Cancellation>,
) -> Result<QueryResult, StoreError> {
    let requests = &store.shared.requests;
    let settings = requests.settings.snapshot();
    let (started, started_ms) = (requests.clock.monotonic(), requests.clock.now_ms());
    let (statement, known) = match requests.statements.get(text, started_ms, &settings.directives) {
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
    statement: &Arc<Statement>,
    request: &Arc<Request>,
    args: Cow<'_, Object>,
    place: &Place<'_>,
) -> Result<QueryResult, StoreError> {
    let env = Arc::new(env(requests, statement, request));
    request.note_arguments(&args);
    let args = statement.prepared.arguments(args)?;
    let mut attempts = 0;
    loop {
        request.poll()?;
        let before = requests.clock.monotonic();
        let indexes = indexes(store, place)?;
        let bound = Bound { statement: statement.clone(), args: args.clone(), indexes, env: env.clone() };
        let plan = bound.plan(&request.settings)?;
        let planned = requests.clock.monotonic().saturating_sub(before);
        request.plan_ns.store(nanos(planned), Ordering::Relaxed);
        let run = Run { store, request, bound: &bound, place };
        match run.plan(plan, false) {
            // The plan is about an index that somebody has dropped or changed since.
            Err(StoreError::IndexGone) if may_plan_again(&mut attempts) => {}
            result => return result,
        }
    }
}

/// The indexes that a statement can use where it runs.
fn indexes(store: &Inner, place: &Place<'_>) -> Result<Arc<Indexes>, StoreError> {
    match place {
        Place::Own => Ok(store.shared.indexes.get()),
        Place::Write(held) => held.run(|core, _| Ok(core.indexes.clone())),
        Place::Read(snapshot) => snapshot.indexes(&store.shared.dict),
    }
}

/// What the statement has besides documents.
fn env(requests: &Requests, statement: &Statement, request: &Request) -> Env {
    let info = if statement.uses_request_info { requests.info(request) } else { Object::new() };
    Env { now_ms: i64::try_from(request.started_ms).unwrap_or(i64::MAX), request: info }
}

/// One attempt to run a bound statement.
struct Run<'a> {
    store: &'a Inner,
    request: &'a Arc<Request>,
    /// What it was planned with.
    bound: &'a Bound,
    place: &'a Place<'a>,
}

impl Run<'_> {
    /// Runs a statement where it belongs. With `profile`, a row about the run follows its rows.
    fn plan(&self, plan: Plan, profile: bool) -> Result<QueryResult, StoreError> {
        let requests = &self.store.shared.requests;
        match plan {
            Plan::Profile(plan) => self.plan(*plan, true),
            Plan::AlterSystem(plan) => other::alter(requests, &plan, self.place),
            Plan::Show(plan) => other::show(requests, &plan),
            Plan::ClearHistory => other::clear_history(requests, self.place),
            Plan::Explain(plan) => Ok(QueryResult::rows(vec![plan.row.into()])),
            Plan::Advise(plan) => other::advise(plan, |index| self.plan(index, false)),
            Plan::CreateIndex(plan) if matches!(self.place, Place::Own) => {
                let poll = || self.request.poll();
                index::create::create(&self.store.desk, &plan, poll).map(|_| QueryResult::default())
            }
            plan => self.documents(&Arc::new(plan), profile),
        }
    }

    /// Runs a statement about documents.
    fn documents(&self, plan: &Arc<Plan>, profile: bool) -> Result<QueryResult, StoreError> {
        self.request.show(How::Bound(self.bound.clone()));
        let requests = &self.store.shared.requests;
        if profile {
            self.request.measure();
        }
        let row = |rows: usize| {
            let stats = self.request.measured();
            let plan = stats.map_or_else(|| plan.explain(), |stats| plan.profile(&stats));
            Item::from(system::profile(requests, self.request, rows as u64, plan))
        };
        if let Plan::Select(plan) = &**plan {
            let items = self.read(plan)?;
            return Ok(QueryResult::rows(if profile { items.with(row(items.len())) } else { items }));
        }
        let result = self.write(plan.clone())?;
        if !profile {
            return Ok(result);
        }
        let rows = result.item_count();
        Ok(result.with_row(row(rows)))
    }

    /// Runs a statement that reads documents.
    fn read(&self, plan: &SelectPlan) -> Result<Items, StoreError> {
        let (shared, request) = (&self.store.shared, self.request);
        let spill = shared.spill.for_run(&request.settings);
        let context =
            RunContext { interrupt: Some(&**request), profiler: Some(&**request), spill: Some(&spill) };
        let rows = |db: &Db| {
            let source = StoreSource::snapshot(db, &shared.dict, &shared.hash_key).with_system(shared);
            plan.run(&source.interrupted_by(&**request), &context)
        };
        request.begin();
        match self.place {
            Place::Write(held) => held.run(|core, _| {
                self.still_there(core)?;
                plan.run(&StoreSource::writer(core).interrupted_by(&**request), &context)
            }),
            Place::Read(_) if shared.is_closed() => Err(StoreError::Closed),
            Place::Read(snapshot) => rows(snapshot.db()?),
            Place::Own => {
                let reader = shared.readers.get()?;
                if is_one_read(plan) { rows(reader.db()?) } else { reader.snapshot(rows) }
            }
        }
    }

    /// Runs a statement on the writer.
    fn write(&self, plan: Arc<Plan>) -> Result<QueryResult, StoreError> {
        let (request, indexes) = (self.request.clone(), self.bound.indexes.clone());
        let run = move |core: &mut Core, unit: &mut Unit| {
            // Before it counts as begun, since it may be planned again.
            if !core.indexes.includes(&indexes) {
                return Err(StoreError::IndexGone);
            }
            if !request.begin() {
                // Its caller has given it up and does not wait.
                return Err(StoreError::Cancelled);
            }
            core.request = Some(request);
            let result = mutate::run(core, unit, &plan);
            core.request = None;
            result
        };
        match self.place {
            Place::Own => self.store.desk.write_watched(run, || self.request.abandon_if_over()),
            Place::Write(held) => held.run(run),
            Place::Read(_) => Err(StoreError::ReadOnly),
        }
    }

    fn still_there(&self, core: &Core) -> Result<(), StoreError> {
        if core.indexes.includes(&self.bound.indexes) { Ok(()) } else { Err(StoreError::IndexGone) }
    }
}

/// Whether the engine answers it with one statement, which is a snapshot by itself.
fn is_one_read(plan: &SelectPlan) -> bool {
    let stored = plan.collections().all(|c| c.namespace == Namespace::Default);
    stored
        && !plan.is_join()
        && match plan.access() {
            Access::Scan => true,
            Access::Ids(ids) => ids.len() <= 1,
            // Kinds of fields and ids of entries are looked up besides.
            Access::Index(scan) => scan.spans.len() <= 1 && !scan.covering && !plan.reads_by_kind(),
            Access::Union(_) | Access::Intersect(_) => false,
        }
}
