//! Requests: every statement text that is executed, from its beginning to its end.
//!
//! A request is known to `system:active_requests` while it runs and to the history afterwards. It can be cancelled,
//! ends itself when its time is up, and says in the log that it is slow. All of that is looked at where the statement
//! runs, every few hundred rows, and where its caller waits; there is no thread for it.

mod how;
mod other;
mod run;

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ditto_dql::{DqlError, Interrupt, Profiler, RunStats};
use ditto_types::{DatabaseId, ErrorKind, Object, Value};

use crate::StoreError;
use crate::history::History;
use crate::options::{Environment, WallClock};
use crate::prepared::StatementCache;
use crate::settings::{Settings, SettingsCell};
use crate::system::{METRICS_VARIABLE, time_text};

pub(crate) use how::{Bound, How};
pub(crate) use run::{Place, execute, may_plan_again};

/// Longest text of a request that failed to parse, in bytes, that is kept for the history.
const MAX_FAILED_TEXT: usize = 16 * 1024;

/// Arguments up to this many bytes may stay in memory with a finished request, to show its plan.
const MAX_KEPT_ARGUMENTS: usize = 1024;

/// What is kept to show the plan of a finished request counts for, arguments included.
const PLAN_WEIGHT: usize = 2 * 1024;

/// Where a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    /// Not yet begun; its caller may give it up.
    Waiting = 0,
    Running = 1,
    /// Given up by its caller: the writer must not begin it.
    Abandoned = 2,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Completed,
    Failed,
    Timeout,
    Cancelled,
}

/// Cancels requests that were given it. Clones cancel the same requests.
#[derive(Clone, Debug, Default)]
pub struct Cancellation(Arc<AtomicBool>);

impl Cancellation {
    /// A handle that has not been used yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends the requests that run with this handle, soon, and refuses later ones. A mutation either is cancelled with
    /// no trace, or succeeds because it was done already.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether it was used.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// A request that has begun.
pub(crate) struct Request {
    pub(crate) id: u64,
    pub(crate) text: Arc<str>,
    /// `select`, `insert`, …; `unknown` for a text that is no statement.
    pub(crate) query_type: &'static str,
    /// The settings when it began.
    pub(crate) settings: Arc<Settings>,
    /// Unix milliseconds.
    pub(crate) started_ms: u64,
    /// On the monotonic clock.
    started: Duration,
    pub(crate) parse_ns: u64,
    pub(crate) plan_ns: AtomicU64,
    clock: Arc<dyn WallClock>,
    phase: AtomicU8,
    cancelled: AtomicBool,
    cancel: Option<Cancellation>,
    timeout: Option<Duration>,
    warn_every: Option<Duration>,
    warned: AtomicU64,
    /// How the statement is carried out, while it is.
    how: Mutex<Option<How>>,
    /// Whether that may outlive the request: its arguments are small.
    keeps_how: AtomicBool,
    /// Whether somebody wants to know how long the parts of the run take: PROFILE.
    measures: AtomicBool,
    /// What it did so far, or until the documents were chosen, and when that was.
    measured: Mutex<Option<(RunStats, u64)>>,
}

/// A request that has ended.
#[derive(Clone)]
pub(crate) struct Finished {
    pub(crate) request: Arc<Request>,
    pub(crate) elapsed_ns: u64,
    pub(crate) result_count: u64,
    pub(crate) outcome: Outcome,
    pub(crate) error: Option<Arc<str>>,
}

impl Finished {
    /// Bytes that it holds, about.
    pub(crate) fn weight(&self) -> usize {
        let plan = if self.request.keeps_how.load(Ordering::Relaxed) { PLAN_WEIGHT } else { 0 };
        256 + plan + self.request.text.len() + self.error.as_ref().map_or(0, |e| e.len())
    }
}

impl Request {
    /// The value of `_id` and of `request_info().request_id`.
    pub(crate) fn id_text(&self) -> String {
        id_text(self.id)
    }

    /// Notes how the statement is carried out.
    pub(crate) fn show(&self, how: How) {
        *self.how.lock().unwrap_or_else(PoisonError::into_inner) = Some(how);
    }

    /// From now on runs tell the time of what they do.
    pub(crate) fn measure(&self) {
        self.measures.store(true, Ordering::Release);
    }

    /// What the run did that has just ended.
    pub(crate) fn measured(&self) -> Option<RunStats> {
        let mut measured = self.measured.lock().unwrap_or_else(PoisonError::into_inner);
        let (stats, at) = measured.take()?;
        let stats = stats.written_in(Profiler::nanos(self).saturating_sub(at));
        *measured = Some((stats.clone(), at));
        Some(stats)
    }

    /// Notes what its plan will hold.
    pub(crate) fn note_arguments(&self, args: &Object) {
        let mut room = MAX_KEPT_ARGUMENTS;
        self.keeps_how.store(args.values().all(|v| fits(v, &mut room)), Ordering::Relaxed);
    }

    /// How the statement is carried out; `None` when it is not, or not yet, or when its plan was too large to keep.
    pub(crate) fn explain(&self) -> Option<Value> {
        let stats = self.measured.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let how = self.how.lock().unwrap_or_else(PoisonError::into_inner);
        how.as_ref().and_then(|how| how.explain(&self.settings, stats.as_ref().map(|(stats, _)| stats)))
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.clock.monotonic().saturating_sub(self.started)
    }

    /// Fails when the request was cancelled or its time is up; warns when it is slow.
    pub(crate) fn poll(&self) -> Result<(), StoreError> {
        let given = self.cancel.as_ref().is_some_and(Cancellation::is_cancelled);
        if given || self.cancelled.load(Ordering::Acquire) {
            return Err(StoreError::Cancelled);
        }
        if self.timeout.is_none() && self.warn_every.is_none() {
            return Ok(());
        }
        let elapsed = self.elapsed();
        self.warn(elapsed);
        match self.timeout {
            Some(timeout) if elapsed >= timeout => Err(StoreError::Timeout { seconds: timeout.as_secs() }),
            _ => Ok(()),
        }
    }

    /// Claims the request for who is about to run it; `false` when its caller no longer waits. May be repeated.
    pub(crate) fn begin(&self) -> bool {
        self.step(Phase::Waiting, Phase::Running)
            || self.phase.load(Ordering::Acquire) == Phase::Running as u8
    }

    /// Looks whether a request that waits for its turn is over; then nobody will run it.
    pub(crate) fn abandon_if_over(&self) -> Result<(), StoreError> {
        let over = self.poll();
        if over.is_err() && self.step(Phase::Waiting, Phase::Abandoned) { over } else { Ok(()) }
    }

    fn step(&self, from: Phase, to: Phase) -> bool {
        let changed = self.phase.compare_exchange(from as u8, to as u8, Ordering::AcqRel, Ordering::Acquire);
        changed.is_ok()
    }

    /// Logs a request once for each full interval that it has been running.
    fn warn(&self, elapsed: Duration) {
        let Some(every) = self.warn_every else { return };
        let due = elapsed.as_nanos() / every.as_nanos().max(1);
        let due = u64::try_from(due).unwrap_or(u64::MAX);
        if due > self.warned.fetch_max(due, Ordering::Relaxed) {
            tracing::warn!(
                request = self.id_text(),
                elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
                statement = &*self.text,
                "slow request"
            );
        }
    }
}

impl Profiler for Request {
    fn measures(&self) -> bool {
        self.measures.load(Ordering::Relaxed)
    }

    fn nanos(&self) -> u64 {
        nanos(self.elapsed())
    }

    fn report(&self, stats: RunStats) {
        let at = if Profiler::measures(self) { Profiler::nanos(self) } else { 0 };
        *self.measured.lock().unwrap_or_else(PoisonError::into_inner) = Some((stats, at));
    }
}

impl Interrupt for Request {
    fn poll(&self) -> Result<(), DqlError> {
        Request::poll(self).map_err(|e| DqlError::new(e.kind(), e.to_string()))
    }
}

/// What all requests of a store share.
pub(crate) struct Requests {
    pub(crate) settings: SettingsCell,
    pub(crate) statements: StatementCache,
    pub(crate) history: History,
    pub(crate) vitals: Vitals,
    pub(crate) clock: Arc<dyn WallClock>,
    pub(crate) app_id: String,
    /// When the store was opened: on the monotonic clock, and in unix milliseconds.
    pub(crate) opened: Duration,
    pub(crate) opened_ms: u64,
    /// Whether `system:metrics` has rows.
    pub(crate) metrics: bool,
    active: Mutex<Vec<Arc<Request>>>,
    next: AtomicU64,
}

/// Sums over all finished requests since the store was opened.
#[derive(Default)]
pub(crate) struct Vitals {
    pub(crate) selects: AtomicU64,
    pub(crate) mutations: AtomicU64,
    pub(crate) others: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) timed_out: AtomicU64,
    pub(crate) cancelled: AtomicU64,
    pub(crate) rows: AtomicU64,
    pub(crate) mutated: AtomicU64,
    pub(crate) elapsed_ns: AtomicU64,
    pub(crate) cache_hits: AtomicU64,
    pub(crate) cache_misses: AtomicU64,
}

/// What is known of a request before it begins.
pub(crate) struct Beginning<'a> {
    pub(crate) text: Arc<str>,
    pub(crate) query_type: &'static str,
    pub(crate) settings: &'a Arc<Settings>,
    pub(crate) started: Duration,
    pub(crate) started_ms: u64,
    pub(crate) cancel: Option<&'a Cancellation>,
}

impl Requests {
    pub(crate) fn new(
        settings: SettingsCell,
        clock: Arc<dyn WallClock>,
        database: &DatabaseId,
        environment: &Environment,
    ) -> Self {
        let switch = environment(METRICS_VARIABLE).unwrap_or_default();
        Self {
            opened: clock.monotonic(),
            opened_ms: clock.now_ms(),
            metrics: ["1", "true"].iter().any(|on| switch.trim().eq_ignore_ascii_case(on)),
            settings,
            statements: StatementCache::default(),
            history: History::default(),
            vitals: Vitals::default(),
            clock,
            app_id: database.to_string(),
            active: Mutex::default(),
            next: AtomicU64::new(1),
        }
    }

    /// Notes a request that begins.
    pub(crate) fn begin(&self, b: Beginning<'_>) -> Arc<Request> {
        let seconds = |n: u64| (n > 0).then(|| Duration::from_secs(n));
        let parsed = self.clock.monotonic().saturating_sub(b.started);
        let request = Arc::new(Request {
            id: self.next.fetch_add(1, Ordering::Relaxed),
            text: b.text,
            query_type: b.query_type,
            settings: b.settings.clone(),
            started_ms: b.started_ms,
            started: b.started,
            parse_ns: nanos(parsed),
            plan_ns: AtomicU64::new(0),
            clock: self.clock.clone(),
            phase: AtomicU8::new(Phase::Waiting as u8),
            cancelled: AtomicBool::new(false),
            cancel: b.cancel.cloned(),
            timeout: seconds(b.settings.dql_request_timeout_seconds),
            warn_every: seconds(b.settings.dql_slow_request_warn_seconds),
            warned: AtomicU64::new(0),
            how: Mutex::default(),
            keeps_how: AtomicBool::new(false),
            measures: AtomicBool::new(false),
            measured: Mutex::default(),
        });
        self.active().push(request.clone());
        request
    }

    /// Notes how a request ended. Gives how long it ran, in nanoseconds.
    pub(crate) fn end(
        &self,
        request: &Arc<Request>,
        rows: u64,
        mutated: u64,
        error: Option<&StoreError>,
    ) -> u64 {
        {
            let mut active = self.active();
            if let Some(i) = active.iter().position(|r| r.id == request.id) {
                active.swap_remove(i);
            }
        }
        if !request.keeps_how.load(Ordering::Relaxed) {
            // It may hold large arguments, which the history must not.
            *request.how.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        let elapsed_ns = nanos(request.elapsed());
        let outcome = match error {
            None => Outcome::Completed,
            Some(e) => match e.kind() {
                ErrorKind::QueryTimeout => Outcome::Timeout,
                ErrorKind::QueryCancelled => Outcome::Cancelled,
                _ => Outcome::Failed,
            },
        };
        let add = |counter: &AtomicU64, n: u64| {
            counter.fetch_add(n, Ordering::Relaxed);
        };
        let v = &self.vitals;
        add(
            match request.query_type {
                "select" => &v.selects,
                "insert" | "update" | "delete" | "evict" => &v.mutations,
                _ => &v.others,
            },
            1,
        );
        match outcome {
            Outcome::Completed => {}
            Outcome::Failed => add(&v.failed, 1),
            Outcome::Timeout => add(&v.timed_out, 1),
            Outcome::Cancelled => add(&v.cancelled, 1),
        }
        add(&v.rows, rows);
        add(&v.mutated, mutated);
        add(&v.elapsed_ns, elapsed_ns);
        let settings = &request.settings;
        let error = error.map(|e| Arc::from(e.to_string()));
        self.history.add(
            Finished { request: request.clone(), elapsed_ns, result_count: rows, outcome, error },
            &settings.dql_request_history_qualifiers,
            settings.dql_request_history_size,
        );
        elapsed_ns
    }

    /// The requests that run now, oldest first.
    pub(crate) fn running(&self) -> Vec<Arc<Request>> {
        let mut all = self.active().clone();
        all.sort_unstable_by_key(|r| r.id);
        all
    }

    /// Cancels a running request. `false` when there is none with this id.
    pub(crate) fn cancel(&self, id: &str) -> bool {
        let active = self.active();
        let found = active.iter().find(|r| r.id_text() == id);
        found.inspect(|r| r.cancelled.store(true, Ordering::Release)).is_some()
    }

    /// What `request_info()` gives.
    pub(crate) fn info(&self, request: &Request) -> Object {
        Object::from([
            ("app_id".into(), Value::from(self.app_id.as_str())),
            ("request_id".into(), Value::from(request.id_text())),
            ("request_type".into(), Value::from("SDK")),
            ("query_type".into(), Value::from(request.query_type)),
            ("start_time".into(), Value::from(time_text(request.started_ms))),
        ])
    }

    fn active(&self) -> MutexGuard<'_, Vec<Arc<Request>>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) fn nanos(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}

/// Whether a value is no larger than `room`, which it uses up.
fn fits(v: &Value, room: &mut usize) -> bool {
    let own = match v {
        Value::Str(s) => s.len(),
        Value::Bytes(b) => b.len(),
        _ => 0,
    };
    let Some(left) = room.checked_sub(own + size_of::<Value>()) else { return false };
    *room = left;
    match v {
        Value::Array(items) => items.iter().all(|v| fits(v, room)),
        Value::Object(fields) => fields.values().all(|v| fits(v, room)),
        _ => true,
    }
}

fn id_text(id: u64) -> String {
    format!("{id:016x}")
}

/// The beginning of a text that is no statement.
pub(crate) fn failed_text(text: &str) -> Arc<str> {
    let mut end = text.len().min(MAX_FAILED_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].into()
}

#[cfg(test)]
mod tests;
