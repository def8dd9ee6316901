//! Rows about requests: `active_requests`, `request_history`, `shared_statements`, and the profile of one request.

use std::sync::atomic::{AtomicU64, Ordering};

use ditto_types::{Object, Value};

use super::time_text;
use crate::history::Entry;
use crate::prepared::Statement;
use crate::request::{Request, Requests, nanos};

/// Bit of `featureFlags`: strict mode.
const FLAG_STRICT: u64 = 1;

/// Rows of `active_requests`, oldest first.
pub(super) fn active(requests: &Requests) -> Vec<Object> {
    let row = |r: &std::sync::Arc<Request>| {
        let mut row = request(requests, r, nanos(r.elapsed()));
        put(&mut row, "state", "executing");
        row
    };
    requests.running().iter().map(row).collect()
}

/// Rows of `request_history`, oldest first.
pub(super) fn history(requests: &Requests) -> Vec<Object> {
    requests.history.entries().iter().map(|entry| finished(requests, entry)).collect()
}

fn finished(requests: &Requests, Entry { request: f, qualifier }: &Entry) -> Object {
    let mut row = request(requests, &f.request, f.elapsed_ns);
    put(&mut row, "state", f.outcome.state());
    put_number(&mut row, "resultCount", f.result_count);
    if let Some(error) = &f.error {
        put(&mut row, "error", &**error);
    }
    if let Some(qualifier) = qualifier {
        put(&mut row, "~qualifier", *qualifier);
    }
    row
}

/// The row that PROFILE adds: `{"~request_profile": {…}}`. `plan` is the plan with statistics.
pub(crate) fn profile(requests: &Requests, r: &Request, rows: u64, plan: Value) -> Value {
    let mut row = request(requests, r, nanos(r.elapsed()));
    put(&mut row, "state", "completed");
    // Also when there was none: it is what a profile is asked for.
    put(&mut row, "resultCount", rows);
    put(&mut row, "plan", plan);
    Value::Object(Object::from([("~request_profile".into(), Value::Object(row))]))
}

/// What is known of a request in any state. Zero values are left out (dql.md 8).
fn request(requests: &Requests, r: &Request, elapsed_ns: u64) -> Object {
    let mut times = Object::from([("start".into(), Value::from(time_text(r.started_ms)))]);
    put_number(&mut times, "elapsed", elapsed_ns);
    put_number(&mut times, "parse", r.parse_ns);
    put_number(&mut times, "plan", r.plan_ns.load(Ordering::Relaxed));
    let flags = if r.settings.dql_strict_mode { FLAG_STRICT } else { 0 };
    let mut row = Object::new();
    put(&mut row, "_id", r.id_text());
    put(&mut row, "app_id", requests.app_id.as_str());
    put(&mut row, "featureFlags", format!("{flags:#x}"));
    put(&mut row, "queryType", r.query_type);
    put(&mut row, "requestType", "SDK");
    put(&mut row, "text", &*r.text);
    put(&mut row, "times", Value::Object(times));
    if let Some(plan) = r.explain() {
        put(&mut row, "plan", plan);
    }
    row
}

/// Rows of `shared_statements`, most recently used first.
pub(super) fn statements(requests: &Requests) -> Vec<Object> {
    requests.statements.statements().iter().map(|s| statement(s)).collect()
}

fn statement(s: &Statement) -> Object {
    let get = |n: &AtomicU64| n.load(Ordering::Relaxed);
    let stats = &s.stats;
    let executions = get(&stats.executions);
    let mut row = Object::new();
    put(&mut row, "_id", &*s.text);
    put(&mut row, "text", &*s.text);
    put(&mut row, "queryType", s.query_type());
    put(&mut row, "prepared", time_text(s.prepared_ms));
    put_number(&mut row, "executions", executions);
    put_number(&mut row, "errors", get(&stats.errors));
    put_number(&mut row, "resultCount", get(&stats.results));
    if let Some(mean) = get(&stats.total_ns).checked_div(executions) {
        let mut times = Object::new();
        put_number(&mut times, "total", get(&stats.total_ns));
        put_number(&mut times, "mean", mean);
        put_number(&mut times, "max", get(&stats.longest_ns));
        put(&mut row, "times", Value::Object(times));
        put(&mut row, "lastUsed", time_text(get(&stats.last_ms)));
    }
    row
}

fn put(row: &mut Object, name: &str, value: impl Into<Value>) {
    row.insert(name.into(), value.into());
}

fn put_number(row: &mut Object, name: &str, n: u64) {
    if n != 0 {
        put(row, name, n);
    }
}
