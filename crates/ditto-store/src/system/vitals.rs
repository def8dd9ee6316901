//! `vitals`: sums over what the engine has done since the store was opened; `metrics`: the same, one row per number.

use std::sync::atomic::{AtomicU64, Ordering};

use ditto_types::{Object, Value};

use super::time_text;
use crate::shared::Shared;

/// The environment variable that switches `metrics` on, when the store is opened.
pub(crate) const METRICS_VARIABLE: &str = "DITTO_METRICS_ENABLED";

/// The one row of `vitals`.
pub(super) fn vitals(shared: &Shared) -> Object {
    let mut row: Object = numbers(shared).into_iter().map(|(n, _, v)| (n.into(), Value::from(v))).collect();
    row.insert("_id".into(), Value::from("vitals"));
    row.insert("version".into(), Value::from(env!("CARGO_PKG_VERSION")));
    row.insert("opened".into(), Value::from(time_text(shared.requests.opened_ms)));
    row
}

/// Rows of `metrics`.
pub(super) fn metrics(shared: &Shared) -> Vec<Object> {
    if !shared.requests.metrics {
        return vec![Object::from([
            ("_id".into(), Value::from("metrics")),
            ("status".into(), Value::from("disabled")),
        ])];
    }
    let rows = numbers(shared).into_iter().map(|(name, kind, value)| {
        Object::from([
            ("_id".into(), Value::from(name)),
            ("kind".into(), Value::from(kind)),
            ("value".into(), Value::from(value)),
        ])
    });
    rows.collect()
}

/// Name, `counter` or `gauge`, and value.
fn numbers(shared: &Shared) -> Vec<(&'static str, &'static str, u64)> {
    let requests = &shared.requests;
    let v = &requests.vitals;
    let get = |n: &AtomicU64| n.load(Ordering::Relaxed);
    let uptime = requests.clock.monotonic().saturating_sub(requests.opened).as_secs();
    vec![
        ("uptime_seconds", "gauge", uptime),
        ("requests_active", "gauge", requests.running().len() as u64),
        ("requests_select", "counter", get(&v.selects)),
        ("requests_mutation", "counter", get(&v.mutations)),
        ("requests_other", "counter", get(&v.others)),
        ("requests_failed", "counter", get(&v.failed)),
        ("requests_timed_out", "counter", get(&v.timed_out)),
        ("requests_cancelled", "counter", get(&v.cancelled)),
        ("requests_elapsed_ns", "counter", get(&v.elapsed_ns)),
        ("result_rows", "counter", get(&v.rows)),
        ("mutated_documents", "counter", get(&v.mutated)),
        ("statements_cached", "gauge", requests.statements.statements().len() as u64),
        ("statement_cache_hits", "counter", get(&v.cache_hits)),
        ("statement_cache_misses", "counter", get(&v.cache_misses)),
        ("request_history", "gauge", requests.history.entries().len() as u64),
        ("observers", "gauge", shared.observers.active().len() as u64),
        ("commits", "gauge", shared.head()),
        ("group_commits", "counter", shared.groups()),
    ]
}
