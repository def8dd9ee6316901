//! One observer: its query, its result, and its callback.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ditto_crdt::Doc;
use ditto_dql::{BindContext, DqlError, Env, Items, LiveResult, Plan, Prepared, Row, RunContext, SelectPlan};
use ditto_types::{DocId, ErrorKind, Object, SmolStr, Value};

use super::matching::Moved;
use super::{Handle, Observers, SignalCallback};
use crate::StoreError;
use crate::driver::Db;
use crate::meta;
use crate::request::{Beginning, How, Request, may_plan_again};
use crate::result::QueryResult;
use crate::row::{DocRow, Reading};
use crate::select::StoreSource;
use crate::shared::Shared;

/// What an observer asks for.
pub(super) struct Query {
    prepared: Prepared,
    text: Arc<str>,
    args: Object,
    /// As it was bound at the registration: says which documents concern the query. Runs bind it anew, since time,
    /// settings and indexes change.
    pub(super) plan: Arc<SelectPlan>,
    /// Whether its result takes in single changes.
    pub(super) incremental: bool,
    /// The collections of documents that it reads.
    pub(super) collections: Vec<SmolStr>,
    /// Whether it reads what changes without commits, so that it has to run now and then.
    pub(super) refresh: bool,
}

impl Query {
    pub(super) fn new(shared: &Shared, prepared: Prepared, args: &Object) -> Result<Self, StoreError> {
        // As it is now: what was read so far must not be mixed with what is read otherwise.
        let strict = shared.requests.settings.snapshot().dql_strict_mode;
        let plan = Arc::new(bind(shared, &prepared, args, strict)?);
        let collections = plan.watches().iter().map(|w| w.collection().into()).collect();
        Ok(Self {
            text: prepared.text().into(),
            prepared,
            args: args.clone(),
            incremental: plan.is_incremental(),
            collections,
            refresh: plan.reads_system(),
            plan,
        })
    }

    /// A state of a document as the query reads it.
    pub(super) fn row<'a>(&'a self, id: &'a DocId, doc: &'a Doc, position: i64) -> DocRow<'a> {
        let reading = Reading::new(self.plan.declared(), self.plan.is_strict());
        DocRow::reading(id, doc, reading).at(position)
    }

    /// Time between two runs that no commit asks for.
    pub(super) fn refresh_interval(&self, shared: &Shared) -> Option<Duration> {
        let interval = || shared.requests.settings.snapshot().live_query_system_collection_refresh_interval;
        self.refresh.then(|| Duration::from_millis(interval()))
    }
}

fn bind(shared: &Shared, prepared: &Prepared, args: &Object, strict: bool) -> Result<SelectPlan, StoreError> {
    let (indexes, settings) = (shared.indexes.get(), shared.requests.settings.snapshot());
    let now_ms = i64::try_from(shared.requests.clock.now_ms()).unwrap_or(i64::MAX);
    let request = Object::from([
        ("app_id".into(), Value::from(shared.requests.app_id.as_str())),
        ("request_type".into(), Value::from("SDK")),
        ("query_type".into(), Value::from("select")),
    ]);
    let env = Arc::new(Env { now_ms, request });
    let context = BindContext { catalog: &*indexes, strict, directives: &settings.directives, env };
    match prepared.bind(args, &context)? {
        Plan::Select(plan) => Ok(plan),
        _ => Err(DqlError::new(
            ErrorKind::QueryUnsupported,
            "Unsupported feature: non-SELECT statement in observer",
        )
        .into()),
    }
}

/// What belongs to the thread that runs an observer.
pub(super) struct Task {
    callback: SignalCallback,
    /// The result of an incremental query and the commit of its snapshot.
    live: Option<(LiveResult, u64)>,
    /// The newest commit that the result shows.
    seen: Option<u64>,
    /// What was delivered last.
    last: Option<Items>,
}

/// How a run went.
pub(super) enum Outcome {
    /// The query ran; when it began.
    Ran(Instant),
    /// The result took the changes in.
    Followed,
}

impl Task {
    pub(super) fn new(callback: SignalCallback) -> Self {
        Self { callback, live: None, seen: None, last: None }
    }

    /// Whether there is a result that takes changes in.
    pub(super) fn follows(&self) -> bool {
        self.live.is_some()
    }

    /// Takes changes into the result. `false` means that it is not known any more.
    fn follow(&mut self, query: &Query, changes: &[Moved]) -> Result<bool, StoreError> {
        let Some((live, seen)) = &mut self.live else { return Ok(false) };
        // The snapshot may be newer than commits that were published while it was taken.
        for change in changes.iter().filter(|c| c.seq > *seen) {
            let old = change.old.as_ref().map(|(at, doc)| query.row(&change.id, doc, *at));
            let new = change.new.as_ref().map(|(at, doc)| query.row(&change.id, doc, *at));
            let known = live.change(old.as_ref().map(as_row), new.as_ref().map(as_row))?;
            if !known {
                return Ok(false);
            }
            self.seen = Some(change.seq);
        }
        Ok(true)
    }

    /// Runs the query on the newest snapshot, as a request like any other.
    fn run(&mut self, shared: &Shared, query: &Query) -> Result<Items, StoreError> {
        let requests = &shared.requests;
        let (settings, started) = (requests.settings.snapshot(), requests.clock.monotonic());
        let request = requests.begin(Beginning {
            text: query.text.clone(),
            query_type: "select",
            settings: &settings,
            started,
            started_ms: requests.clock.now_ms(),
            cancel: None,
        });
        request.note_arguments(&query.args);
        let items = self.read(shared, query, &request);
        let rows = items.as_ref().map_or(0, |items| items.len() as u64);
        requests.end(&request, rows, 0, items.as_ref().err());
        items
    }

    fn read(&mut self, shared: &Shared, query: &Query, request: &Arc<Request>) -> Result<Items, StoreError> {
        self.live = None;
        let mut attempts = 0;
        loop {
            request.poll()?;
            let plan = Arc::new(bind(shared, &query.prepared, &query.args, query.plan.is_strict())?);
            request.show(How::Plan(Arc::new(Plan::Select((*plan).clone()))));
            let spill = shared.spill.for_run(&request.settings);
            let run = |db: &Db| {
                let source = StoreSource::snapshot(db, &shared.dict, &shared.hash_key).with_system(shared);
                let source = source.interrupted_by(&**request);
                let cx = RunContext {
                    interrupt: Some(&**request),
                    profiler: Some(&**request),
                    spill: Some(&spill),
                };
                let seen = meta::head(db)?;
                if !query.incremental {
                    return Ok((None, seen, plan.run(&source, &cx)?));
                }
                match LiveResult::run(plan.clone(), &source, &cx)? {
                    Some(mut live) => {
                        let items = live.items();
                        Ok((Some((live, seen)), seen, items))
                    }
                    // It is too large to be held: it runs again after each change, and goes through a file.
                    None => Ok((None, seen, plan.run(&source, &cx)?)),
                }
            };
            match shared.readers.get()?.snapshot(run) {
                Ok((live, seen, items)) => {
                    (self.live, self.seen) = (live, Some(seen));
                    return Ok(items);
                }
                Err(StoreError::IndexGone) if may_plan_again(&mut attempts) => {}
                Err(e) => return Err(e),
            }
        }
    }
}

fn as_row<'r>(row: &'r DocRow<'_>) -> &'r dyn Row {
    row
}

impl Observers {
    /// Brings the result up to date and calls back when it is new.
    pub(super) fn deliver(
        &self,
        shared: &Shared,
        query: &Query,
        handle: &Arc<Handle>,
        task: &mut Task,
        (stale, changes): (bool, &[Moved]),
    ) -> Outcome {
        let began = Instant::now();
        // What goes wrong with a change is reported by the run.
        let followed = !stale && task.follow(query, changes).unwrap_or(false);
        let (items, outcome) = match &mut task.live {
            Some((live, _)) if followed => (Ok(live.items()), Outcome::Followed),
            _ => (task.run(shared, query), Outcome::Ran(began)),
        };
        let items = match items {
            Ok(items) => items,
            Err(StoreError::Closed) => return outcome,
            Err(e) => {
                tracing::warn!(query = %handle.text, error = %e, "an observer's query cannot be evaluated");
                return outcome;
            }
        };
        if task.last.as_ref().is_some_and(|last| last.same_rows(&items)) || !self.may_call(handle.id) {
            return outcome;
        }
        task.last = Some(items.clone());
        let (observers, id) = (Arc::downgrade(&self.0), handle.id);
        (task.callback)(
            QueryResult::rows(items).at(task.seen),
            Box::new(move || {
                if let Some(inner) = observers.upgrade() {
                    Observers(inner).signalled(id);
                }
            }),
        );
        outcome
    }
}
