//! System collections and settings through statements: dql.md 8, 9 and 12.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(dead_code, reason = "every test file uses its own part of the fixture")]

#[path = "common/fixture.rs"]
mod fixture;

use std::sync::Arc;

use ditto_store::{Cancellation, Store, StoreError, SystemProvider, TransactionOptions};
use ditto_types::{ErrorKind, Object, Value};
use fixture::*;

fn error(f: &Fixture, text: &str) -> StoreError {
    f.try_run(text, "{}").expect_err(text)
}

fn one(f: &Fixture, text: &str) -> Value {
    let mut rows = f.run(text).into_items();
    assert_eq!(rows.len(), 1, "{text}");
    rows.remove(0)
}

#[test]
fn dual_is_one_document_with_one_field() {
    let f = Fixture::new();
    assert_eq!(f.rows("SELECT * FROM system:dual"), [r#"{"_id":"dual"}"#]);
    assert_eq!(f.rows("SELECT 1 + 1 AS two FROM system:dual"), [r#"{"two":2}"#]);
    assert_eq!(f.rows("SELECT COUNT(*) AS n FROM system:dual"), [r#"{"n":1}"#]);
}

#[test]
fn collections_are_listed_with_their_documents() {
    let f = Fixture::new();
    assert!(f.rows("SELECT * FROM system:collections").is_empty());
    f.run("INSERT INTO cars DOCUMENTS ({'_id':1}), ({'_id':2})");
    f.run("INSERT INTO bikes DOCUMENTS ({'_id':1})");
    f.run("DELETE FROM bikes");
    assert_eq!(
        f.rows("SELECT * FROM system:collections ORDER BY name"),
        [r#"{"_id":"bikes","documents":0,"name":"bikes"}"#, r#"{"_id":"cars","documents":2,"name":"cars"}"#]
    );
    assert_eq!(
        f.rows("SELECT _id FROM system:all_collections WHERE namespace = 'default' ORDER BY _id"),
        [r#"{"_id":"default:bikes"}"#, r#"{"_id":"default:cars"}"#]
    );
    assert_eq!(
        f.rows("SELECT name FROM system:all_collections WHERE _id = 'system:vitals'"),
        [r#"{"name":"vitals"}"#]
    );
    // A transaction sees what it has written, others do not.
    let tx = f.store.begin(TransactionOptions::default()).unwrap();
    tx.execute("INSERT INTO cars DOCUMENTS ({'_id':3})", &Object::new()).unwrap();
    let text = "SELECT documents FROM system:collections WHERE name = 'cars'";
    assert_eq!(f.rows(text), [r#"{"documents":2}"#]);
    tx.commit().unwrap();
    assert_eq!(f.rows(text), [r#"{"documents":3}"#]);
}

#[test]
fn indexes_are_listed_under_both_names() {
    let f = Fixture::new();
    f.run("CREATE INDEX by_make ON cars (make, spec.year DESC)");
    for name in ["indexes", "dql_indexes"] {
        assert_eq!(
            f.rows(&format!("SELECT * FROM system:{name}")),
            [concat!(
                r#"{"_id":"cars.by_make","collection":"cars","fields":["#,
                r#"{"direction":"asc","key":["make"]},{"direction":"desc","key":["spec","year"]}]}"#
            )]
        );
    }
    f.run("DROP INDEX by_make ON cars");
    assert!(f.rows("SELECT * FROM system:indexes").is_empty());
}

#[test]
fn active_requests_include_the_one_that_asks() {
    let f = Fixture::new();
    for name in ["active_requests", "actives"] {
        let text = format!("SELECT * FROM system:{name}");
        let row = one(&f, &text);
        assert_eq!(row.get("text"), Some(&Value::from(text.as_str())));
        assert_eq!(row.get("state"), Some(&Value::from("executing")));
        assert_eq!(row.get("queryType"), Some(&Value::from("select")));
        assert_eq!(row.get("requestType"), Some(&Value::from("SDK")));
        assert_eq!(row.get("featureFlags"), Some(&Value::from("0x0")));
        assert_eq!(row.get("app_id"), Some(&Value::from("a1b2c3d4-0000-4000-8000-000000000001")));
        assert_eq!(row.get("times").unwrap().get("start"), Some(&Value::from("2027-01-15T08:00:00.000Z")));
        assert!(row.get("resultCount").is_none(), "zero values are left out");
        assert!(operators(row.get("plan").unwrap()).contains(&"scan".to_string()));
    }
    f.run("ALTER SYSTEM SET dql_strict_mode = true");
    assert_eq!(f.rows("SELECT featureFlags FROM system:active_requests"), [r#"{"featureFlags":"0x1"}"#]);
}

#[test]
fn finished_requests_are_kept_and_can_be_cleared() {
    let f = Fixture::new();
    f.run("INSERT INTO c DOCUMENTS ({'_id':1,'n':1}), ({'_id':2,'n':2})");
    f.run("SELECT * FROM c");
    error(&f, "SELECT nonsense");
    error(&f, "INSERT INTO c DOCUMENTS ({'_id':1})");
    for name in ["request_history", "completed_requests"] {
        let text = format!(
            "SELECT text, queryType, state, resultCount FROM system:{name} WHERE text NOT LIKE '%system:%'"
        );
        assert_eq!(
            f.rows(&text),
            [
                r#"{"queryType":"insert","state":"completed","text":"INSERT INTO c DOCUMENTS ({'_id':1,'n':1}), ({'_id':2,'n':2})"}"#,
                r#"{"queryType":"select","resultCount":2,"state":"completed","text":"SELECT * FROM c"}"#,
                r#"{"queryType":"unknown","state":"failed","text":"SELECT nonsense"}"#,
                r#"{"queryType":"insert","state":"failed","text":"INSERT INTO c DOCUMENTS ({'_id':1})"}"#,
            ]
        );
    }
    let failed =
        one(&f, "SELECT error FROM system:request_history WHERE state = 'failed' AND queryType = 'insert'");
    assert_eq!(
        failed.get("error"),
        Some(&Value::from("Identifier conflict on document 1: using FAIL conflict policy"))
    );
    let times = one(&f, "SELECT times FROM system:request_history WHERE text = 'SELECT * FROM c'");
    assert!(matches!(times.get("times").unwrap().get("elapsed"), Some(Value::Int(ns)) if *ns > 0));
    // Grouping and joins with the rows work as with any collection.
    assert_eq!(
        f.rows("SELECT state, COUNT(*) AS n FROM system:request_history WHERE text = 'SELECT * FROM c' GROUP BY state"),
        [r#"{"n":1,"state":"completed"}"#]
    );
    f.run("DELETE FROM system:request_history");
    assert_eq!(
        f.rows("SELECT text FROM system:request_history"),
        [r#"{"text":"DELETE FROM system:request_history"}"#]
    );
}

#[test]
fn the_history_follows_its_settings() {
    let f = Fixture::new();
    f.run("ALTER SYSTEM SET dql_request_history_qualifiers = {'query_type':'insert'}");
    f.run("INSERT INTO c DOCUMENTS ({'_id':1})");
    f.run("SELECT * FROM c");
    f.run("DELETE FROM system:request_history");
    f.run("INSERT INTO c DOCUMENTS ({'_id':2})");
    f.run("INSERT INTO c DOCUMENTS ({'_id':3})");
    f.run("SELECT * FROM c");
    let text = "SELECT text, `~qualifier` AS q FROM system:request_history";
    assert_eq!(
        f.rows(text),
        [
            r#"{"q":"query_type","text":"INSERT INTO c DOCUMENTS ({'_id':2})"}"#,
            r#"{"q":"query_type","text":"INSERT INTO c DOCUMENTS ({'_id':3})"}"#
        ]
    );
    f.run("ALTER SYSTEM SET dql_request_history_size = 1");
    assert_eq!(f.rows(text).len(), 1);
    f.run("ALTER SYSTEM SET dql_request_history_size = 0");
    assert!(f.rows(text).is_empty());
}

#[test]
fn shared_statements_have_their_statistics() {
    let f = Fixture::new();
    f.insert("c", r#"{"_id":1}"#);
    for _ in 0..3 {
        f.run("SELECT * FROM c");
    }
    let row = one(&f, "SELECT * FROM system:shared_statements WHERE text = 'SELECT * FROM c'");
    assert_eq!(row.get("executions"), Some(&Value::Int(3)));
    assert_eq!(row.get("resultCount"), Some(&Value::Int(3)));
    assert_eq!(row.get("queryType"), Some(&Value::from("select")));
    assert!(row.get("errors").is_none());
    assert!(matches!(row.get("times").unwrap().get("total"), Some(Value::Int(n)) if *n > 0));
}

#[test]
fn vitals_count_what_was_done() {
    let f = Fixture::new();
    f.run("INSERT INTO c DOCUMENTS ({'_id':1}), ({'_id':2})");
    f.run("SELECT * FROM c");
    error(&f, "SELECT");
    let row = one(&f, "SELECT * FROM system:vitals");
    for (name, n) in [
        ("requests_active", 1),
        ("requests_select", 1),
        ("requests_mutation", 1),
        ("requests_failed", 1),
        ("result_rows", 2),
        ("mutated_documents", 2),
        ("commits", 1),
        ("observers", 0),
    ] {
        assert_eq!(row.get(name), Some(&Value::Int(n)), "{name}");
    }
    assert_eq!(row.get("opened"), Some(&Value::from("2027-01-15T08:00:00.000Z")));
}

#[test]
fn system_info_keeps_the_last_ten_values_of_a_fact() {
    let f = Fixture::new();
    let text =
        "SELECT value FROM system:system_info WHERE key = 'collection_num_docs[c]' ORDER BY timestamp, value";
    for i in 0..14 {
        f.insert("c", &format!(r#"{{"_id":{i}}}"#));
        f.clock.set(T0 + i * 1000);
        f.run("SELECT * FROM system:system_info");
        f.run("SELECT * FROM system:system_info");
    }
    let values: Vec<String> = (5..=14).map(|n| format!(r#"{{"value":{n}}}"#)).collect();
    assert_eq!(f.rows(text), values);
    f.run("ALTER SYSTEM SET example_parameter = 4711");
    f.run("ALTER SYSTEM SET user_collection_sync_scopes = {'c':'localpeeronly'}");
    assert_eq!(
        f.rows("SELECT namespace, key, value FROM system:system_info WHERE value = 4711 OR namespace = 'sync_scopes'"),
        [
            r#"{"key":"non_default_system_parameter[example_parameter]","namespace":"core","value":4711}"#,
            r#"{"key":"c","namespace":"sync_scopes","value":"LocalPeerOnly"}"#
        ]
    );
    let keys = f.rows(
        "SELECT DISTINCT key FROM system:system_info WHERE key IN
         ('fs_usage_total', 'fs_usage_store', 'enabled', 'minimum_level', 'ditto_sdk_version', 'page_size')",
    );
    assert_eq!(keys.len(), 6);
    let space = |key: &str| {
        let text = format!(
            "SELECT value FROM system:system_info WHERE key = '{key}' ORDER BY timestamp DESC LIMIT 1"
        );
        one(&f, &text).get("value").and_then(Value::as_i64).unwrap()
    };
    let (available, total) = (space("fs_device_available"), space("fs_device_total"));
    assert!(0 <= available && available <= total && total > 0, "{available} of {total}");
    assert_eq!(
        f.rows("SELECT COUNT(*) AS n FROM system:system_info WHERE key = 'fs_usage_store' AND value > 0 GROUP BY key").len(),
        1
    );
}

struct Provider;

impl SystemProvider for Provider {
    fn data_sync_info(&self) -> Vec<Object> {
        vec![object(
            r#"{"_id":"peer","is_ditto_server":false,"documents":{"sync_session_status":"Connected"}}"#,
        )]
    }

    fn transports_info(&self) -> Vec<Object> {
        vec![object(r#"{"_id":"discovery_hint","value":"x"}"#)]
    }

    fn system_info(&self) -> Vec<(String, String, Value)> {
        vec![("replication".into(), "local_subscriptions".into(), Value::Int(2))]
    }
}

#[test]
fn what_only_the_instance_knows_comes_from_it() {
    let f = Fixture::new();
    assert!(f.rows("SELECT * FROM system:data_sync_info").is_empty());
    assert!(f.rows("SELECT * FROM system:transports_info").is_empty());
    f.store.set_system_provider(Arc::new(Provider));
    assert_eq!(
        f.rows("SELECT _id, documents.sync_session_status FROM system:data_sync_info"),
        [r#"{"_id":"peer","sync_session_status":"Connected"}"#]
    );
    assert_eq!(f.rows("SELECT _id FROM system:transports_info"), [r#"{"_id":"discovery_hint"}"#]);
    assert_eq!(
        f.rows("SELECT key, value FROM system:system_info WHERE namespace = 'replication'"),
        [r#"{"key":"local_subscriptions","value":2}"#]
    );
    assert_eq!(
        f.rows("SELECT _id FROM COLLECTION system:data_sync_info (documents MAP)"),
        [r#"{"_id":"peer"}"#]
    );
}

fn with_environment(variables: &'static [(&'static str, &'static str)]) -> (Store, tempfile::TempDir) {
    let f = Fixture::new();
    let dir = tempfile::tempdir().unwrap();
    let lookup =
        move |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_string());
    let options =
        ditto_store::StoreOptions { environment: Arc::new(lookup), ..options(dir.path(), &f.clock) };
    (Store::open(options).unwrap(), dir)
}

#[test]
fn metrics_are_switched_on_at_the_start() {
    let f = Fixture::new();
    assert_eq!(f.rows("SELECT status FROM system:metrics"), [r#"{"status":"disabled"}"#]);
    let (store, _dir) = with_environment(&[("DITTO_METRICS_ENABLED", "true")]);
    store.execute("SELECT * FROM c", &Object::new()).unwrap();
    let text = "SELECT kind, `value` AS v FROM system:metrics WHERE _id = 'requests_select'";
    let result = store.execute(text, &Object::new()).unwrap();
    assert_eq!(rows(&result), [r#"{"kind":"counter","v":1}"#]);
}

#[test]
fn system_collections_are_read_only_and_known() {
    let f = Fixture::new();
    for text in [
        "INSERT INTO system:dual DOCUMENTS ({'_id':1})",
        "UPDATE system:vitals SET a = 1",
        "DELETE FROM system:collections",
        "EVICT FROM system:request_history",
        "CREATE INDEX i ON system:indexes (a)",
    ] {
        let e = error(&f, text);
        assert_eq!(e.kind(), ErrorKind::QueryUnsupported, "{text}: {e}");
        assert!(e.position().is_some(), "{text}");
    }
    let e = error(&f, "SELECT *\nFROM system:nothing");
    assert_eq!(e.to_string(), "unknown system collection 'system:nothing' (line 2, column 13)");
    assert_eq!(e.kind(), ErrorKind::QueryInvalid);
    assert!(f.try_run("SELECT * FROM system:Dual", "{}").is_err(), "names have their case");
}

#[test]
fn settings_are_set_shown_and_reset_by_statements() {
    let f = Fixture::new();
    let shown = r#"{"example_parameter":7}"#;
    assert_eq!(f.rows("ALTER SYSTEM SET example_parameter = 7"), [shown]);
    assert_eq!(f.rows("SHOW example_parameter"), [shown]);
    assert_eq!(f.rows("alter system set EXAMPLE_PARAMETER to 8;"), [r#"{"example_parameter":8}"#]);
    assert_eq!(rows(&f.run_with("ALTER SYSTEM SET example_parameter = :v", r#"{"v":7}"#)), [shown]);
    assert_eq!(f.rows("SHOW Example_Parameter"), [shown]);
    assert_eq!(f.rows("ALTER SYSTEM SET example_parameter TO DEFAULT"), [r#"{"example_parameter":42}"#]);
    f.run("ALTER SYSTEM SET example_parameter = 7");
    assert_eq!(f.rows("ALTER SYSTEM RESET example_parameter"), [r#"{"example_parameter":42}"#]);
    f.run("ALTER SYSTEM SET example_parameter = 7");
    f.run("ALTER SYSTEM SET tombstone_ttl_hours = 24");
    let all = one(&f, "ALTER SYSTEM RESET ALL");
    assert_eq!(
        (all.get("example_parameter"), all.get("tombstone_ttl_hours")),
        (Some(&Value::Int(42)), Some(&Value::Int(168)))
    );
    let all = one(&f, "SHOW ALL");
    assert_eq!(all.as_object().unwrap().len(), 24);
    assert_eq!(f.rows("SHOW ALL LIKE 'document%soft%'"), [r#"{"document_size_soft_limit_bytes":262144}"#]);
    assert_eq!(f.rows("SHOW ALL LIKE 'EXAMPLE%'"), ["{}"]);
    assert_eq!(f.rows("SHOW ALL ILIKE 'EXAMPLE%'"), [r#"{"example_parameter":42}"#]);
    let result = f.run("ALTER SYSTEM SET example_parameter = 1");
    assert_eq!((result.commit_id(), result.mutated_document_ids().len()), (None, 0));
}

#[test]
fn wrong_settings_name_what_was_wrong() {
    let f = Fixture::new();
    for text in ["ALTER SYSTEM SET no_such = 1", "ALTER SYSTEM RESET no_such", "SHOW no_such"] {
        let e = error(&f, text);
        assert_eq!(
            (e.to_string().as_str(), e.kind()),
            ("unknown parameter 'no_such'", ErrorKind::QueryParameter)
        );
    }
    let e = error(&f, "ALTER SYSTEM SET dql_strict_mode = 'yes'");
    assert_eq!(e.to_string(), "parameter 'dql_strict_mode' must be true or false, found \"yes\"");
    assert_eq!(e.kind(), ErrorKind::QueryParameter);
    let e = error(&f, "ALTER SYSTEM SET reaper_preferred_hour = 24");
    assert_eq!(
        e.to_string(),
        "parameter 'reaper_preferred_hour' must be an integer from 0 to 23 (hours), found 24"
    );
    let e = error(&f, "ALTER SYSTEM SET document_size_soft_limit_bytes = 10");
    assert!(e.to_string().contains("DITTO_DOCUMENT_SIZE_SOFT_LIMIT_BYTES"), "{e}");
}

#[test]
fn settings_are_not_kept_and_start_from_the_environment() {
    let mut f = Fixture::new();
    f.run("ALTER SYSTEM SET example_parameter = 7");
    f.reopen();
    assert_eq!(f.rows("SHOW example_parameter"), [r#"{"example_parameter":42}"#]);
    let (store, _dir) = with_environment(&[
        ("DITTO_EXAMPLE_PARAMETER", "9"),
        ("DITTO_TOMBSTONE_TTL_HOURS", "0"),
        ("DITTO_USER_COLLECTION_SYNC_SCOPES", r#"{"a":"allpeers"}"#),
    ]);
    let show = |text: &str| rows(&store.execute(text, &Object::new()).unwrap());
    assert_eq!(show("SHOW example_parameter"), [r#"{"example_parameter":9}"#]);
    assert_eq!(show("SHOW tombstone_ttl_hours"), [r#"{"tombstone_ttl_hours":168}"#]);
    assert_eq!(
        show("SHOW user_collection_sync_scopes"),
        [r#"{"user_collection_sync_scopes":{"a":"AllPeers"}}"#]
    );
    assert_eq!(store.settings().example_parameter, 9);
}

#[test]
fn settings_belong_to_no_transaction() {
    let f = Fixture::new();
    for read_only in [false, true] {
        let tx = f.store.begin(TransactionOptions { read_only, hint: None }).unwrap();
        let run = |text: &str| tx.execute(text, &Object::new());
        for text in ["ALTER SYSTEM SET example_parameter = 1", "DELETE FROM system:request_history"] {
            let e = run(text).unwrap_err();
            let kind = if read_only { ErrorKind::TransactionReadOnly } else { ErrorKind::QueryExecution };
            assert_eq!(e.kind(), kind, "{text}: {e}");
        }
        assert_eq!(rows(&run("SHOW example_parameter").unwrap()), [r#"{"example_parameter":42}"#]);
        assert_eq!(rows(&run("SELECT * FROM system:dual").unwrap()), [r#"{"_id":"dual"}"#]);
        tx.rollback().unwrap();
    }
}

#[test]
fn the_size_limit_follows_its_setting_and_shrinking_is_allowed() {
    let f = Fixture::new();
    let text = |n: usize| "x".repeat(n);
    f.insert("c", &format!(r#"{{"_id":"x","a":"{}","b":"{}"}}"#, text(3000), text(3000)));
    f.run("ALTER SYSTEM SET document_size_hard_limit_bytes = 1000");
    let e =
        f.try_run("INSERT INTO c DOCUMENTS (:d)", &format!(r#"{{"d":{{"_id":"y","a":"{}"}}}}"#, text(2000)));
    let e = e.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::SizeLimitExceeded);
    let message = e.to_string();
    assert!(message.starts_with("Document `_id = \"y\"` size is 2"), "{message}");
    assert!(message.ends_with(" bytes and exceeds limit of 1000 bytes"), "{message}");
    // What is too large already may become smaller, but not larger.
    f.run("UPDATE c SET a = '' WHERE _id = 'x'");
    let e = error(&f, &format!("UPDATE c SET a = '{}' WHERE _id = 'x'", text(100)));
    assert_eq!(e.kind(), ErrorKind::SizeLimitExceeded);
    // A hard limit below the soft one counts.
    assert_eq!(
        f.rows("SHOW document_size_soft_limit_bytes"),
        [r#"{"document_size_soft_limit_bytes":262144}"#]
    );
    f.run("ALTER SYSTEM RESET document_size_hard_limit_bytes");
    f.run(&format!("UPDATE c SET a = '{}' WHERE _id = 'x'", text(100)));
}

#[test]
fn strict_mode_is_a_setting() {
    let f = Fixture::new();
    f.insert("c", r#"{"_id":1,"m":{"a":1},"n":2}"#);
    assert_eq!(f.rows("SELECT * FROM c"), [r#"{"_id":1,"m":{"a":1},"n":2}"#]);
    f.run("ALTER SYSTEM SET dql_strict_mode = true");
    assert_eq!(f.rows("SELECT * FROM c"), [r#"{"_id":1,"n":2}"#], "undeclared maps are invisible");
    assert_eq!(f.rows("SELECT * FROM COLLECTION c (m MAP)").len(), 1);
    f.run("ALTER SYSTEM SET dql_strict_mode = false");
    assert_eq!(f.rows("SELECT m.a FROM c"), [r#"{"a":1}"#]);
}

#[test]
fn subscriptions_with_limit_follow_their_setting() {
    let f = Fixture::new();
    let compile = |text: &str| f.store.compile_subscription(text, &Object::new());
    for text in ["SELECT * FROM c LIMIT 1", "SELECT * FROM c ORDER BY n"] {
        let e = compile(text).unwrap_err();
        assert!(e.to_string().starts_with("Unsupported feature: Limit or Order by"), "{e}");
    }
    f.run("ALTER SYSTEM SET dql_restrict_subscriptions = false");
    for text in ["SELECT * FROM c LIMIT 1", "SELECT * FROM c WHERE n > 0 ORDER BY n"] {
        assert_eq!(compile(text).unwrap().collection(), "c");
    }
    assert!(compile("SELECT DISTINCT * FROM c").is_err());
}

#[test]
fn request_info_names_the_request() {
    let f = Fixture::new();
    let row = one(&f, "SELECT request_info() AS r, a._id AS id FROM system:active_requests a");
    let (info, id) = (row.get("r").unwrap(), row.get("id").unwrap());
    assert_eq!(info.get("request_id"), Some(id));
    assert_eq!(info.get("app_id"), Some(&Value::from("a1b2c3d4-0000-4000-8000-000000000001")));
    assert_eq!(info.get("start_time"), Some(&Value::from("2027-01-15T08:00:00.000Z")));
}

#[test]
fn a_used_cancellation_refuses_further_requests() {
    let f = Fixture::new();
    let cancel = Cancellation::new();
    let run = || f.store.execute_cancellable("SELECT * FROM system:dual", Object::new(), &cancel);
    assert_eq!(run().unwrap().item_count(), 1);
    cancel.cancel();
    assert_eq!(run().unwrap_err().kind(), ErrorKind::QueryCancelled);
    assert!(!f.store.cancel_request("nonsense"));
}

/// dql.md 8 and 11.1: accepted, and without effect; in particular not on a collection of the user with the same name.
#[test]
fn subscriptions_to_system_collections_are_inert() {
    let f = Fixture::new();
    f.run("INSERT INTO vitals DOCUMENTS ({'_id':1})");
    let query = f.store.compile_subscription("SELECT * FROM system:vitals", &Object::new()).unwrap();
    assert!(f.store.view(&query).unwrap().is_empty());
    assert!(f.store.changes(&query, 0, 10, 1000).unwrap().docs.is_empty());
    assert!(f.store.own_changes(&query, 0, 10).unwrap().unwrap().is_empty());
    assert!(f.store.view_page(&query, None, (10, 1000), &mut Names::default()).unwrap().docs.is_empty());
    assert_eq!(query.collection(), "system:vitals");
}

/// Names of the operators of a plan, depth first.
fn operators(plan: &Value) -> Vec<String> {
    let mut out: Vec<String> =
        plan.get("#operator").and_then(Value::as_str).map(str::to_string).into_iter().collect();
    let children = match plan {
        Value::Object(o) => o.values().collect(),
        Value::Array(a) => a.iter().collect(),
        _ => Vec::new(),
    };
    out.extend(children.into_iter().flat_map(operators));
    out
}

/// dql.md 6.3: the rows as without PROFILE, then one about the request.
#[test]
fn profile_adds_one_row() {
    let f = Fixture::new();
    f.run("INSERT INTO c DOCUMENTS ({'_id':1,'n':1}), ({'_id':2,'n':2})");
    for (text, rows, query_type) in [
        ("SELECT * FROM c WHERE n > 0", 2, "select"),
        ("UPDATE c SET m = 1 WHERE n = 1", 0, "update"),
        ("UPDATE c SET m = 2 WHERE n = 1 RETURNING m", 1, "update"),
    ] {
        let result = f.run(&format!("PROFILE {text}"));
        let items = result.items();
        assert_eq!(items.len(), rows + 1, "{text}");
        let profile = items[rows].get("~request_profile").unwrap();
        assert_eq!(profile.get("queryType"), Some(&Value::from(query_type)));
        assert_eq!(profile.get("requestType"), Some(&Value::from("SDK")));
        assert_eq!(profile.get("state"), Some(&Value::from("completed")));
        assert_eq!(profile.get("resultCount"), Some(&Value::Int(rows as i64)));
        assert_eq!(profile.get("text"), Some(&Value::from(format!("PROFILE {text}"))));
        for member in ["_id", "app_id", "featureFlags", "plan"] {
            assert!(profile.get(member).is_some(), "{text}: {member}");
        }
        let times = profile.get("times").unwrap();
        for member in ["elapsed", "plan"] {
            assert!(matches!(times.get(member), Some(Value::Int(ns)) if *ns > 0), "{text}: {member}");
        }
        assert_eq!(times.get("start"), Some(&Value::from("2027-01-15T08:00:00.000Z")));
        let plan = profile.get("plan").unwrap();
        assert!(!operators(plan).is_empty());
        if query_type == "update" {
            let last = plan.get("children").and_then(|c| c.as_array()?.last().cloned()).unwrap();
            let stats = last.get("#stats").unwrap_or_else(|| panic!("{}", json(plan)));
            assert_eq!(stats.get("documentsIn"), Some(&Value::Int(1)), "{}", json(plan));
            let exec = stats.get("phaseTimes").and_then(|t| t.get("exec"));
            assert!(matches!(exec, Some(Value::Int(ns)) if *ns > 0), "{}", json(plan));
        }
        assert_eq!(result.commit_id().is_some(), query_type == "update");
    }
    let stats = one(&f, "PROFILE SELECT * FROM c WHERE false");
    let plan = json(stats.get("~request_profile").unwrap().get("plan").unwrap());
    assert!(plan.contains("#operator"), "{plan}");
    // The mutations were executed, and ids are still told.
    assert_eq!(f.rows("SELECT m FROM c WHERE n = 1"), [r#"{"m":2}"#]);
    assert_eq!(f.run("PROFILE DELETE FROM c").mutated_document_ids().len(), 2);
    // A transaction profiles too, a read-only one what it may run.
    for read_only in [false, true] {
        let tx = f.store.begin(TransactionOptions { read_only, hint: None }).unwrap();
        assert_eq!(tx.execute("PROFILE SELECT * FROM c", &Object::new()).unwrap().item_count(), 1);
        tx.rollback().unwrap();
    }
}

fn json(v: &Value) -> String {
    ditto_types::json::to_string(v)
}

/// What the operators of the plan of a finished request counted, as `name in out`, without those that count nothing.
fn counts(f: &Fixture, text: &str) -> Vec<String> {
    let find =
        format!("SELECT plan FROM system:request_history WHERE text = '{}'", text.replace('\'', "\\'"));
    let row = one(f, &find);
    let children = row.get("plan").unwrap().get("children").unwrap().as_array().unwrap();
    let shown = children.iter().filter_map(|operator| {
        let stats = operator.get("#stats")?;
        assert!(stats.get("phaseTimes").is_none(), "only PROFILE takes times: {}", json(operator));
        let count = |name: &str| stats.get(name).map_or("-".to_owned(), json);
        let name = operator.get("#operator").and_then(Value::as_str).unwrap();
        Some(format!("{name} {} {}", count("documentsIn"), count("documentsOut")))
    });
    shown.collect()
}

#[test]
fn plans_of_finished_requests_say_what_they_did() {
    let f = Fixture::new();
    f.run("CREATE INDEX by_n ON c (n)");
    let documents: Vec<String> = (0..50).map(|i| format!(r#"{{"_id":{i},"n":{},"m":{i}}}"#, i % 5)).collect();
    f.run_with("INSERT INTO c DOCUMENTS (:d)", &format!(r#"{{"d":[{}]}}"#, documents.join(",")));
    for (text, wanted) in [
        // Rows that the source leaves out are counted too.
        ("SELECT * FROM c WHERE m < 7", &["scan - 50", "filter 50 7", "projection 7 7"][..]),
        ("SELECT m FROM c ORDER BY m DESC LIMIT 3", &["scan - 50"]),
        (
            "SELECT * FROM c WHERE n = 3",
            &["indexScan - 10", "fetch 10 10", "filter 10 10", "projection 10 10"],
        ),
        ("SELECT COUNT(*) AS k FROM c", &["countScan - 1"]),
        ("SELECT n, COUNT(*) AS k FROM c GROUP BY n", &["scan - 50", "group 50 5", "projection 5 5"]),
        ("UPDATE c SET x = 1 WHERE m >= 45", &["scan - 50", "filter 50 5", "update 5 5"]),
        ("DELETE FROM c WHERE _id = 1", &["idScan - 1", "fetch 1 1", "filter 1 1", "delete 1 1"]),
    ] {
        f.run(text);
        let counted = counts(&f, text);
        assert!(
            counted.starts_with(&wanted.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>()),
            "{text}: {counted:?}"
        );
    }
}

#[test]
fn explain_runs_nothing() {
    let f = Fixture::new();
    f.insert("c", r#"{"_id":1}"#);
    for text in
        ["SELECT * FROM c", "DELETE FROM c", "CREATE INDEX i ON c (a)", "ADVISE SELECT * FROM c WHERE a = 1"]
    {
        let row = one(&f, &format!("EXPLAIN {text}"));
        assert!(!operators(row.get("plan").unwrap()).is_empty(), "{text}");
    }
    assert_eq!(f.rows("SELECT * FROM c"), [r#"{"_id":1}"#]);
    assert!(f.rows("SELECT * FROM system:indexes").is_empty());
}

#[test]
fn advise_and_provision_creates_the_indexes() {
    let f = Fixture::new();
    f.insert("c", r#"{"_id":1,"a":1}"#);
    let text = "SELECT * FROM c WHERE a = 1";
    let advice = one(&f, &format!("ADVISE {text}"));
    assert!(advice.get("advice").unwrap().get("createdIndexes").is_none());
    assert!(f.rows("SELECT * FROM system:indexes").is_empty());
    let advice = one(&f, &format!("ADVISE AND PROVISION {text}"));
    let created = json(advice.get("advice").unwrap().get("createdIndexes").unwrap());
    assert_eq!(created, r#"["adv_c_a"]"#);
    assert_eq!(f.rows("SELECT _id FROM system:indexes"), [r#"{"_id":"c.adv_c_a"}"#]);
    let explained = json(&one(&f, &format!("EXPLAIN {text}")));
    assert!(explained.contains("adv_c_a"), "{explained}");
}
