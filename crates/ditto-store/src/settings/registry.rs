//! The list of settings: name, type, bounds, unit, and how a value gets in and out.

use std::collections::BTreeMap;
use std::sync::Arc;

use ditto_dql::Directives;
use ditto_types::{Object, SmolStr, Value, json};

use super::{SettingError, Settings, SyncScope};
use crate::history::Qualifiers;

/// Largest document that merging keeps; limits of local writes must stay within it.
const MAX_DOCUMENT: u64 = 64 * 1024 * 1024;

/// A year, as the longest time in milliseconds.
const YEAR_MS: u64 = 366 * 24 * 3600 * 1000;

/// Longest text of a value that an error repeats, in bytes.
const MAX_SHOWN: usize = 80;

/// One setting.
pub(crate) struct Parameter {
    /// In lower case.
    pub(crate) name: &'static str,
    /// Whether it only follows the environment at open.
    pub(crate) start_up: bool,
    get: fn(&Settings) -> Value,
    put: fn(&mut Settings, &Value) -> Result<(), String>,
}

impl Parameter {
    /// Name of the environment variable that sets it at open.
    pub(crate) fn variable(&self) -> String {
        format!("DITTO_{}", self.name.to_ascii_uppercase())
    }

    pub(crate) fn get(&self, settings: &Settings) -> Value {
        (self.get)(settings)
    }

    /// Checks and stores a value.
    pub(crate) fn put(&self, settings: &mut Settings, value: &Value) -> Result<(), SettingError> {
        (self.put)(settings, value).map_err(|expected| SettingError::Value {
            name: self.name,
            expected,
            found: shown(value),
        })
    }

    /// Takes the value over from other settings, where it has been checked.
    pub(crate) fn copy(&self, from: &Settings, to: &mut Settings) {
        let value = self.get(from);
        if value == Value::Null {
            // The one setting that may be unset.
            to.reaper_preferred_hour = None;
        } else if let Err(e) = self.put(to, &value) {
            tracing::error!(error = %e, "a setting does not take its own value");
        }
    }
}

macro_rules! boolean {
    ($field:ident) => {
        Parameter {
            name: stringify!($field),
            start_up: false,
            get: |s| Value::Bool(s.$field),
            put: |s, v| match v {
                Value::Bool(b) => {
                    s.$field = *b;
                    Ok(())
                }
                _ => Err("true or false".to_string()),
            },
        }
    };
}

macro_rules! integer {
    ($field:ident, $min:expr, $max:expr, $unit:literal) => {
        Parameter {
            name: stringify!($field),
            start_up: false,
            get: |s| Value::from(s.$field),
            put: |s, v| {
                s.$field = whole(v, $min, $max, $unit)?;
                Ok(())
            },
        }
    };
}

/// Every setting, in the order of dql.md 9.1.
pub(crate) const PARAMETERS: &[Parameter] = &[
    boolean!(dql_strict_mode),
    boolean!(dql_restrict_subscriptions),
    Parameter {
        name: "dql_default_directives",
        start_up: false,
        get: |s| Value::Object(s.dql_default_directives.clone()),
        put: |s, v| {
            s.dql_default_directives = directives(v)?;
            s.directives = Directives::from_object(&s.dql_default_directives);
            Ok(())
        },
    },
    integer!(dql_request_history_size, 0, 1_048_576, "requests"),
    Parameter {
        name: "dql_request_history_qualifiers",
        start_up: false,
        get: |s| Value::Object(s.dql_request_history_qualifiers.as_object()),
        put: |s, v| {
            s.dql_request_history_qualifiers = Arc::new(Qualifiers::parse(v)?);
            Ok(())
        },
    },
    integer!(dql_slow_request_warn_seconds, 0, i32::MAX as u64, "seconds"),
    integer!(dql_request_timeout_seconds, 0, i32::MAX as u64, "seconds"),
    Parameter { start_up: true, ..integer!(document_size_soft_limit_bytes, 1, MAX_DOCUMENT, "bytes") },
    integer!(document_size_hard_limit_bytes, 1, MAX_DOCUMENT, "bytes"),
    boolean!(tombstone_ttl_enabled),
    integer!(tombstone_ttl_hours, 1, 876_000, "hours"),
    integer!(days_between_reaping, 1, 36_500, "days"),
    integer!(tombstone_reap_batch_size, 1, 1_000_000, "tombstones"),
    boolean!(enable_reaper_preferred_hour_scheduling),
    Parameter {
        name: "reaper_preferred_hour",
        start_up: false,
        get: |s| s.reaper_preferred_hour.map_or(Value::Null, Value::from),
        put: |s, v| {
            s.reaper_preferred_hour = Some(whole(v, 0, 23, "hours")?);
            Ok(())
        },
    },
    Parameter {
        name: "user_collection_sync_scopes",
        start_up: false,
        get: |s| {
            let scopes = s.user_collection_sync_scopes.iter();
            Value::Object(scopes.map(|(c, s)| (c.clone(), Value::from(s.name()))).collect())
        },
        put: |s, v| {
            s.user_collection_sync_scopes = scopes(v)?;
            Ok(())
        },
    },
    integer!(live_query_system_collection_refresh_interval, 1, YEAR_MS, "milliseconds"),
    integer!(transaction_duration_before_logging_ms, 1, YEAR_MS, "milliseconds"),
    integer!(transaction_trace_interval_ms, 1, YEAR_MS, "milliseconds"),
    boolean!(disable_replication_gc_on_evict),
    boolean!(peer_certificate_revocation_check_enabled),
    integer!(attachment_gc_interval_seconds, 1, 31_622_400, "seconds"),
    integer!(dql_spill_threshold_bytes, 1_024, 1 << 30, "bytes"),
    integer!(example_parameter, 0, u64::MAX, "of no unit"),
];

fn whole(v: &Value, min: u64, max: u64, unit: &str) -> Result<u64, String> {
    let n = match v {
        Value::Int(n) => u64::try_from(*n).ok(),
        Value::UInt(n) => Some(*n),
        _ => None,
    };
    n.filter(|n| (min..=max).contains(n)).ok_or_else(|| format!("an integer from {min} to {max} ({unit})"))
}

/// The planner ignores what it does not know: a directive is a hint.
fn directives(v: &Value) -> Result<Object, String> {
    v.as_object().cloned().ok_or_else(|| "an object of directives".to_string())
}

fn scopes(v: &Value) -> Result<BTreeMap<SmolStr, SyncScope>, String> {
    let expected = || {
        "an object from collections, whose names do not begin with '__', to AllPeers, LocalPeerOnly, \
         SmallPeersOnly or BigPeerOnly"
            .to_string()
    };
    let object = v.as_object().ok_or_else(expected)?;
    object
        .iter()
        .map(|(name, scope)| {
            let scope = scope.as_str().and_then(SyncScope::parse);
            let scope = scope.filter(|_| !name.is_empty() && !name.starts_with("__"));
            Ok((name.clone(), scope.ok_or_else(expected)?))
        })
        .collect()
}

/// A value for a message.
fn shown(v: &Value) -> String {
    let mut text = json::to_string(v);
    if text.len() > MAX_SHOWN {
        let mut end = MAX_SHOWN;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
    text
}
