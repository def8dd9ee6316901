//! Every row of dql.md 9.1: default, SET, RESET, bounds, wrong type, environment.

use std::collections::HashMap;

use ditto_types::{Object, Value, json};

use super::{SettingError, Settings, SettingsCell};

/// Name, default, another allowed value, values that are refused. Bounds where dql.md gives them; otherwise ours.
const TABLE: &[(&str, &str, &str, &[&str])] = &[
    ("dql_strict_mode", "false", "true", &["1", "\"true\"", "null"]),
    ("dql_restrict_subscriptions", "true", "false", &["0", "{}"]),
    ("dql_default_directives", "{}", r##"{"#index":"a"}"##, &["[]", "true", "\"#index\""]),
    ("dql_request_history_size", "4096", "0", &["-1", "1048577", "1.5", "\"1\"", "true"]),
    (
        "dql_request_history_qualifiers",
        "{}",
        r#"{"threshold":10}"#,
        &["[]", r#"{"threshold":-1}"#, r#"{"what":1}"#],
    ),
    ("dql_slow_request_warn_seconds", "60", "0", &["-1", "2147483648", "1.0"]),
    ("dql_request_timeout_seconds", "0", "30", &["-1", "2147483648", "\"30\""]),
    ("document_size_hard_limit_bytes", "5242880", "1", &["0", "67108865", "\"5MB\""]),
    ("tombstone_ttl_enabled", "true", "false", &["\"no\"", "0"]),
    ("tombstone_ttl_hours", "168", "1", &["0", "876001", "-168", "1.5"]),
    ("days_between_reaping", "1", "7", &["0", "36501"]),
    ("tombstone_reap_batch_size", "10000", "1", &["0", "1000001"]),
    ("enable_reaper_preferred_hour_scheduling", "false", "true", &["1"]),
    ("reaper_preferred_hour", "null", "23", &["24", "-1", "null", "\"3\""]),
    (
        "user_collection_sync_scopes",
        "{}",
        r#"{"a":"AllPeers","b":"LocalPeerOnly","c":"SmallPeersOnly","d":"BigPeerOnly"}"#,
        &[r#"{"a":"Nobody"}"#, r#"{"__presence":"AllPeers"}"#, r#"{"a":1}"#, "[]", "\"AllPeers\""],
    ),
    ("live_query_system_collection_refresh_interval", "500", "1000", &["0", "-5", "false"]),
    ("transaction_duration_before_logging_ms", "10000", "1", &["0"]),
    ("transaction_trace_interval_ms", "5000", "1", &["0"]),
    ("disable_replication_gc_on_evict", "false", "true", &["null"]),
    ("peer_certificate_revocation_check_enabled", "true", "false", &["[]"]),
    ("attachment_gc_interval_seconds", "600", "1", &["0", "31622401", "\"1\""]),
    ("dql_spill_threshold_bytes", "8388608", "1024", &["1023", "1073741825", "\"1\""]),
    ("example_parameter", "42", "18446744073709551615", &["-1", "0.5"]),
];

/// Those that follow the environment only.
const START_UP: &[(&str, &str, &str, &[&str])] =
    &[("document_size_soft_limit_bytes", "262144", "1000", &["0", "67108865", "{}"])];

fn plain() -> SettingsCell {
    SettingsCell::open(&|_| None)
}

fn with_environment(variables: &[(&str, &str)]) -> SettingsCell {
    let map: HashMap<String, String> =
        variables.iter().map(|(k, v)| ((*k).to_string(), (*v).to_string())).collect();
    SettingsCell::open(&|name| map.get(name).cloned())
}

fn value(text: &str) -> Value {
    json::from_str(text).unwrap()
}

fn row(name: &str, text: &str) -> Object {
    Object::from([(name.into(), value(text))])
}

#[test]
fn the_list_is_complete_and_has_the_defaults() {
    let all = plain().show_all(|_| true);
    assert_eq!(all.len(), TABLE.len() + START_UP.len());
    for (name, default, ..) in TABLE.iter().chain(START_UP) {
        assert_eq!(all.get(*name), Some(&value(default)), "{name}");
        assert_eq!(plain().show(name).unwrap(), row(name, default));
    }
}

#[test]
fn every_setting_can_be_set_and_reset() {
    for (name, default, other, _) in TABLE {
        let cell = plain();
        let shouted = name.to_ascii_uppercase();
        assert_eq!(cell.set(&shouted, &value(other)).unwrap(), row(name, other), "names have no case");
        assert_eq!(cell.show(name).unwrap(), row(name, other));
        assert_eq!(cell.non_default(), row(name, other));
        assert_eq!(cell.reset(&shouted).unwrap(), row(name, default));
        assert!(cell.non_default().is_empty());
        cell.set(name, &value(other)).unwrap();
        let all = cell.reset_all().unwrap();
        assert_eq!(all.get(*name), Some(&value(default)));
        assert_eq!(*cell.snapshot(), Settings::default());
    }
}

#[test]
fn wrong_types_and_bounds_name_parameter_and_value_and_change_nothing() {
    for (name, default, _, wrong) in TABLE {
        let cell = plain();
        for text in *wrong {
            let e = cell.set(name, &value(text)).unwrap_err();
            assert!(matches!(&e, SettingError::Value { name: n, .. } if n == name), "{name} = {text}: {e}");
            assert!(e.to_string().contains(&format!("found {text}")), "{e}");
            assert_eq!(cell.show(name).unwrap(), row(name, default));
        }
    }
    let e = plain().set("tombstone_ttl_hours", &Value::Int(0)).unwrap_err();
    assert_eq!(
        e.to_string(),
        "parameter 'tombstone_ttl_hours' must be an integer from 1 to 876000 (hours), found 0"
    );
}

#[test]
fn unknown_names_are_refused() {
    let cell = plain();
    for e in [
        cell.set("No_Such", &Value::Null).unwrap_err(),
        cell.reset("No_Such").unwrap_err(),
        cell.show("No_Such").unwrap_err(),
    ] {
        assert_eq!(e.to_string(), "unknown parameter 'No_Such'");
    }
}

#[test]
fn start_up_settings_follow_the_environment_only() {
    for (name, default, other, wrong) in START_UP {
        let variable = format!("DITTO_{}", name.to_ascii_uppercase());
        let cell = with_environment(&[(&variable, other)]);
        assert_eq!(cell.show(name).unwrap(), row(name, other));
        for e in [cell.set(name, &value(default)).unwrap_err(), cell.reset(name).unwrap_err()] {
            assert!(
                matches!(&e, SettingError::StartUp { name: n, variable: v } if n == name && *v == variable)
            );
        }
        cell.reset_all().unwrap();
        assert_eq!(cell.show(name).unwrap(), row(name, other));
        for text in *wrong {
            assert_eq!(with_environment(&[(&variable, text)]).show(name).unwrap(), row(name, default));
        }
    }
}

#[test]
fn the_environment_sets_what_reset_goes_back_to() {
    for (name, default, other, wrong) in TABLE {
        let variable = format!("DITTO_{}", name.to_ascii_uppercase());
        let cell = with_environment(&[(&variable, other)]);
        assert_eq!(cell.show(name).unwrap(), row(name, other));
        if *default != "null" {
            assert_eq!(cell.set(name, &value(default)).unwrap(), row(name, default));
        }
        assert_eq!(cell.reset(name).unwrap(), row(name, other));
        assert_eq!(cell.reset_all().unwrap().get(*name), Some(&value(other)));
        // Text in quotes is not JSON's number, but text without quotes that is no JSON is text: both are refused.
        for text in wrong.iter().chain(&["gibberish"]) {
            if !text.eq_ignore_ascii_case("\"true\"") {
                let cell = with_environment(&[(&variable, text)]);
                assert_eq!(cell.show(name).unwrap(), row(name, default), "{variable}={text}");
            }
        }
    }
    let cell = with_environment(&[("DITTO_DQL_STRICT_MODE", " TRUE ")]);
    assert!(cell.snapshot().dql_strict_mode);
}

#[test]
fn maps_are_replaced_as_a_whole_and_scopes_have_no_case() {
    let cell = plain();
    cell.set("user_collection_sync_scopes", &value(r#"{"a":"LocalPeerOnly"}"#)).unwrap();
    let row = cell.set("user_collection_sync_scopes", &value(r#"{"b":"smallpeersonly"}"#)).unwrap();
    assert_eq!(
        json::to_string(&Value::Object(row)),
        r#"{"user_collection_sync_scopes":{"b":"SmallPeersOnly"}}"#
    );
    cell.set("dql_request_history_qualifiers", &value(r#"{"error":true}"#)).unwrap();
    let row = cell.set("dql_request_history_qualifiers", &value(r#"{"counts":3}"#)).unwrap();
    assert_eq!(json::to_string(&Value::Object(row)), r#"{"dql_request_history_qualifiers":{"counts":3}}"#);
}

#[test]
fn a_snapshot_does_not_change_and_listeners_hear_of_changes() {
    let cell = plain();
    let (before, changed) = (cell.snapshot(), cell.subscribe());
    assert!(changed.try_recv().is_err());
    cell.set("example_parameter", &Value::Int(7)).unwrap();
    cell.set("example_parameter", &Value::Int(8)).unwrap();
    assert_eq!((before.example_parameter, cell.snapshot().example_parameter), (42, 8));
    changed.try_recv().unwrap();
    assert!(changed.try_recv().is_err());
    assert!(cell.set("example_parameter", &Value::Int(-1)).is_err());
    assert!(changed.try_recv().is_err());
}
