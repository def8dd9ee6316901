//! Which finished requests are kept, and how many (dql.md 8 and 9.1).

use std::sync::Arc;
use std::time::Duration;

use ditto_types::{DatabaseId, Value, json};

use super::Qualifiers;
use crate::StoreError;
use crate::options::SystemClock;
use crate::request::{Beginning, Requests};
use crate::settings::{Settings, SettingsCell};

fn requests() -> Requests {
    let settings = SettingsCell::open(&|_| None);
    let environment: crate::Environment = Arc::new(|_| None);
    Requests::new(settings, Arc::new(SystemClock), &DatabaseId::DEFAULT, &environment)
}

fn qualifiers(text: &str) -> Arc<Qualifiers> {
    Arc::new(Qualifiers::parse(&json::from_str(text).unwrap()).unwrap())
}

/// Runs one request through the books.
fn finish(
    requests: &Requests,
    settings: &Settings,
    (text, query_type): (&str, &'static str),
    rows: u64,
    error: Option<&StoreError>,
) {
    let settings = Arc::new(settings.clone());
    let begun = requests.begin(Beginning {
        text: text.into(),
        query_type,
        settings: &settings,
        started: Duration::ZERO,
        started_ms: 0,
        cancel: None,
    });
    assert_eq!(requests.running().len(), 1);
    requests.end(&begun, rows, 0, error);
    assert!(requests.running().is_empty());
}

fn kept(requests: &Requests) -> Vec<(String, Option<&'static str>)> {
    requests.history.entries().iter().map(|e| (e.request.request.text.to_string(), e.qualifier)).collect()
}

#[test]
fn without_qualifiers_the_newest_are_kept() {
    let r = requests();
    let settings = Settings { dql_request_history_size: 3, ..Settings::default() };
    for i in 0..5 {
        finish(&r, &settings, (&format!("S{i}"), "select"), 0, None);
    }
    assert_eq!(kept(&r), [("S2".into(), None), ("S3".into(), None), ("S4".into(), None)]);
    r.history.shrink(1);
    assert_eq!(kept(&r), [("S4".into(), None)]);
    assert_eq!(r.history.clear(), 1);
    assert!(kept(&r).is_empty());
    finish(&r, &Settings { dql_request_history_size: 0, ..settings }, ("S", "select"), 0, None);
    assert!(kept(&r).is_empty());
}

/// Qualifiers; text, type, rows and error of a request; the qualifier that keeps it.
type Case<'a> = (&'a str, &'a str, &'static str, u64, Option<&'a StoreError>, Option<&'a str>);

#[test]
fn each_qualifier_keeps_what_it_says() {
    let failed = StoreError::DuplicateIds;
    let timeout = StoreError::Timeout { seconds: 1 };
    let cases: &[Case<'_>] = &[
        (r#"{"threshold":0}"#, "A", "select", 0, None, Some("threshold")),
        (r#"{"threshold":9000000000000}"#, "A", "select", 0, None, None),
        (r#"{"counts":5}"#, "A", "select", 5, None, Some("counts")),
        (r#"{"counts":5}"#, "A", "select", 4, None, None),
        (r#"{"error":true}"#, "A", "insert", 0, Some(&failed), Some("error")),
        (r#"{"error":true}"#, "A", "insert", 0, None, None),
        (r#"{"error":true}"#, "A", "insert", 0, Some(&timeout), None),
        (r#"{"error":false}"#, "A", "insert", 0, Some(&failed), None),
        (r#"{"timeout":true}"#, "A", "select", 0, Some(&timeout), Some("timeout")),
        (r#"{"cancelled":true}"#, "A", "select", 0, Some(&StoreError::Cancelled), Some("cancelled")),
        (r#"{"query_type":"update"}"#, "A", "update", 0, None, Some("query_type")),
        (r#"{"query_type":["insert","UPDATE"]}"#, "A", "update", 0, None, Some("query_type")),
        (r#"{"query_type":["insert"]}"#, "A", "update", 0, None, None),
        (
            r#"{"statement":"%FROM cars%"}"#,
            "SELECT * FROM cars WHERE x",
            "select",
            0,
            None,
            Some("statement"),
        ),
        (r#"{"statement":"%FROM cars%"}"#, "SELECT * FROM bikes", "select", 0, None, None),
        // Any of them.
        (r#"{"counts":5,"statement":"S%"}"#, "SELECT", "select", 0, None, Some("statement")),
    ];
    for (given, text, query_type, rows, error, expected) in cases {
        let r = requests();
        let settings = Settings { dql_request_history_qualifiers: qualifiers(given), ..Settings::default() };
        finish(&r, &settings, (text, query_type), *rows, *error);
        let found: Vec<_> = kept(&r).into_iter().map(|(_, q)| q).collect();
        let expected: Vec<_> = expected.iter().map(|q| Some(*q)).collect();
        assert_eq!(found, expected, "{given} {text}");
    }
}

#[test]
fn wrong_qualifiers_are_refused() {
    for text in [
        "[]",
        r#"{"threshold":"1s"}"#,
        r#"{"counts":-1}"#,
        r#"{"error":1}"#,
        r#"{"query_type":[1]}"#,
        r#"{"statement":null}"#,
        r#"{"other":true}"#,
    ] {
        assert!(Qualifiers::parse(&json::from_str(text).unwrap()).is_err(), "{text}");
    }
    assert!(Qualifiers::parse(&Value::Object(ditto_types::Object::new())).unwrap().is_empty());
}

#[test]
fn the_history_is_bounded_by_bytes() {
    let r = requests();
    let long = "x".repeat(1024 * 1024);
    for _ in 0..40 {
        finish(&r, &Settings::default(), (&long, "select"), 0, None);
    }
    let bytes: usize = r.history.entries().iter().map(|e| e.request.weight()).sum();
    assert!(bytes <= super::MAX_BYTES && r.history.entries().len() > 5, "{bytes}");
}
