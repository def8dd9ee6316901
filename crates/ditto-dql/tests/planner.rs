//! Access paths: the rules of the planner row by row, and that they never change a result.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/harness.rs"]
mod harness;
#[path = "support/memory.rs"]
mod memory;

use ditto_dql::{BindContext, Directives, Plan, RunContext, prepare};
use ditto_types::{Value, json};
use memory::Memory;

const ARGS: &str =
    r#"{"p":"ab%","q":"%ab","list":[1,2,null,"x"],"n":null,"five":5,"ids":["1","2"],"arr":[0,1]}"#;

/// Indexes on single fields, and on (status, ts).
fn orders() -> Memory {
    Memory::default()
        .with(
            "c",
            r#"[{"_id":"1","a":1,"b":2,"s":"abc","o":{"k":1},"status":"open","ts":1},
                {"_id":"2","a":2,"b":2,"s":"abd","status":"open","ts":3},
                {"_id":"3","a":null,"b":3,"s":"b","o":{"k":2},"status":"open","ts":2},
                {"_id":"4","b":2,"s":5,"status":"shut","ts":4},
                {"_id":"5","a":[0,1],"b":"x","status":"shut","ts":5.0}]"#,
        )
        .index("c", "ia", &["a"])
        .index("c", "ib", &["b"])
        .index("c", "isx", &["s"])
        .index("c", "iok", &["o.k"])
        .index("c", "ist", &["status", "-ts"])
}

fn paths(table: &[(&str, &str)]) {
    let db = orders();
    for (condition, want) in table {
        let text = format!("SELECT * FROM c WHERE {condition}");
        assert_eq!(db.path(&text, ARGS), *want, "{condition}");
        for head in ["UPDATE c SET z = 1", "DELETE FROM c", "EVICT FROM c"] {
            assert_eq!(db.path(&format!("{head} WHERE {condition}"), ARGS), *want, "{head} {condition}");
        }
        // The same rows as without indexes.
        let sorted = |text: &str| {
            let mut rows: Vec<String> =
                db.try_select(text, ARGS).unwrap().iter().map(json::to_string).collect();
            rows.sort();
            rows
        };
        let scanned = format!("SELECT * FROM c USE INDEX '' WHERE {condition}");
        assert_eq!(sorted(&text), sorted(&scanned), "{condition}");
    }
}

#[test]
fn ids() {
    paths(&[
        ("_id = '1'", "ids 1"),
        ("_id IN ('1', '2', '1')", "ids 2"),
        ("_id IN :ids", "ids 2"),
        ("_id = '1' AND a = 1", "ids 1"),
        ("(_id = '1' AND a = 1) OR _id = '2'", "ids 2"),
        ("_id IS NULL", "ids 0"),
        ("_id > '1'", "scan"),
        ("_id != '1'", "scan"),
    ]);
    let db = orders();
    for (text, want) in [
        ("SELECT _id FROM c USE IDS '1', '2' WHERE a = 2", "ids 2"),
        ("SELECT _id FROM c USE IDS LIST :ids WHERE a = 2", "ids 2"),
    ] {
        assert_eq!(db.path(text, ARGS), want);
        assert_eq!(db.select(text, ARGS), r#"[{"_id":"2"}]"#);
    }
    // The array as one id.
    assert_eq!(db.select("SELECT _id FROM c USE IDS :ids", ARGS), "[]");
    assert_eq!(db.path("DELETE FROM c USE IDS '1'", ARGS), "ids 1");
}

#[test]
fn single_fields() {
    paths(&[
        ("a = 1", "index ia 1"),
        ("1 = a", "index ia 1"),
        ("a = :five", "index ia 1"),
        ("a = :n", "index ia 0"),
        ("a IN (1, 2, 1)", "index ia 2"),
        ("a IN :list", "index ia 3"),
        ("a > 1", "index ia 1"),
        ("a >= 1 AND a < 5", "index ia 1"),
        ("a BETWEEN 1 AND 2", "index ia 1"),
        ("a NOT BETWEEN 1 AND 2", "index ia 2"),
        ("a > 2 AND a < 1", "index ia 0"),
        ("a != 1", "index ia 2"),
        ("NOT (a = 1)", "index ia 2"),
        ("NOT a IN (1, 2)", "index ia 3"),
        ("s LIKE 'ab%'", "index isx 1"),
        ("s LIKE 'abc'", "index isx 1"),
        ("s LIKE :p", "index isx 1"),
        ("s LIKE :q", "scan"),
        ("s LIKE '%b'", "scan"),
        ("s LIKE '_b%'", "scan"),
        ("s LIKE 'a\\\\%b'", "index isx 1"),
        ("s NOT LIKE 'ab%'", "scan"),
        ("s ILIKE 'ab%'", "scan"),
        ("s SIMILAR TO 'ab%'", "scan"),
        ("lower(s) = 'abc'", "scan"),
        ("coalesce(a, 1) = 1", "scan"),
        ("starts_with(s, 'ab')", "scan"),
        ("array_contains(a, 1)", "scan"),
        ("1 IN a", "scan"),
        ("a IS MISSING", "index ia 1"),
        ("a IS NULL", "index ia 1"),
        ("a IS MISSING OR a IS NULL OR a = false", "index ia 3"),
        ("a IS NOT NULL", "scan"),
        ("a = [0, 1]", "index ia 1"),
        ("a = :arr", "index ia 1"),
        ("o.k = 1", "index iok 1"),
        ("o = {'k': 1}", "scan"),
        ("a = b", "scan"),
        ("a", "index ia 1"),
        ("NOT a", "index ia 1"),
        ("z = 1", "scan"),
        ("true", "scan"),
    ]);
}

#[test]
fn several_fields() {
    paths(&[
        ("a = 1 OR b = 2", "union(index ia 1, index ib 1)"),
        ("a = 1 OR z = 2", "scan"),
        ("a = 1 OR _id = '3'", "union(index ia 1, ids 1)"),
        ("a = 1 AND b = 2", "intersect(index ia 1, index ib 1)"),
        ("a = 1 AND lower(b) = 'x'", "index ia 1"),
        ("a = 1 AND b > 2", "index ia 1"),
        ("z = 1 AND (a = 1 OR b = 2)", "union(index ia 1, index ib 1)"),
        ("(a = 1 AND b = 2) OR s = 'b'", "union(index isx 1, intersect(index ia 1, index ib 1))"),
        ("NOT (a != 1 AND b != 2)", "union(index ia 1, index ib 1)"),
        ("status = 'open'", "index ist 1"),
        ("status = 'open' AND ts > 1", "index ist 1"),
        ("status IN ('open', 'shut') AND ts IN (1, 2)", "index ist 4"),
        ("ts = 1", "scan"),
        ("(a = 1 XOR b = 2)", "scan"),
    ]);
}

#[test]
fn order_of_an_index() {
    let db = orders();
    for (tail, want, visited) in [
        ("WHERE status = 'open' ORDER BY ts DESC LIMIT 2", "index ist 1", 2),
        ("WHERE status = 'open' ORDER BY ts LIMIT 2", "index ist 1 reverse", 2),
        ("WHERE status = 'open' ORDER BY status, ts DESC LIMIT 1 OFFSET 1", "index ist 1", 2),
        ("WHERE status = 'open' AND ts > 1 ORDER BY ts DESC LIMIT 1", "index ist 1", 1),
        ("WHERE status IN ('open', 'shut') ORDER BY status, ts DESC LIMIT 4", "index ist 2", 4),
        // Not the order of the index.
        ("WHERE status IN ('open', 'shut') ORDER BY ts DESC LIMIT 1", "index ist 2", 5),
        ("WHERE status = 'open' ORDER BY a LIMIT 1", "index ist 1", 3),
        ("WHERE status = 'open' ORDER BY ts + 1 LIMIT 1", "index ist 1", 3),
        // No condition: an order for a few rows.
        ("ORDER BY status, ts DESC LIMIT 3", "index ist 1", 3),
        ("ORDER BY status DESC, ts LIMIT 3", "index ist 1 reverse", 3),
        ("ORDER BY status, ts LIMIT 3", "scan", 5),
        ("ORDER BY b LIMIT 2", "index ib 1", 2),
        ("ORDER BY b", "scan", 5),
        ("LIMIT 2", "scan", 2),
        ("LIMIT 0", "scan", 0),
    ] {
        let text = format!("SELECT _id, status, ts, a, b, s FROM c {tail}");
        assert_eq!(db.path(&text, ARGS), want, "{tail}");
        db.visited.set(0);
        let with = db.select(&text, ARGS);
        assert_eq!(db.visited.get(), visited, "{tail}");
        let without = db.select(&text.replace("FROM c", "FROM c USE INDEX ''"), ARGS);
        assert_eq!(with, without, "{tail}");
    }
}

#[test]
fn covering_scans() {
    let db = orders();
    for (text, want) in [
        ("SELECT _id, ts FROM c WHERE status = 'open'", "index ist 1 covering"),
        (
            "SELECT status, COUNT(*), SUM(ts) FROM c WHERE status > 'a' GROUP BY status",
            "index ist 1 covering",
        ),
        ("SELECT ts AS t FROM c WHERE status = 'open' ORDER BY t", "index ist 1 reverse covering"),
        ("SELECT ts, a FROM c WHERE status = 'open'", "index ist 1"),
        ("SELECT * FROM c WHERE status = 'open'", "index ist 1"),
        ("SELECT c FROM c WHERE status = 'open'", "index ist 1"),
        ("SELECT _id FROM c WHERE a = 1 AND ts = 1", "index ia 1"),
        ("SELECT o.k FROM c WHERE o.k = 1", "index iok 1 covering"),
        ("SELECT o FROM c WHERE o.k = 1", "index iok 1"),
    ] {
        assert_eq!(db.path(text, ARGS), want, "{text}");
        let without = text.replace("FROM c", "FROM c USE INDEX ''");
        let set = |text: &str| {
            let mut rows: Vec<String> =
                db.try_select(text, ARGS).unwrap().iter().map(json::to_string).collect();
            rows.sort();
            rows
        };
        assert_eq!(set(text), set(&without), "{text}");
    }
    // Numbers keep their kind.
    assert_eq!(
        db.select("SELECT ts FROM c WHERE status = 'shut' ORDER BY ts", "{}"),
        r#"[{"ts":4},{"ts":5.0}]"#
    );
}

#[test]
fn counting() {
    let db = orders();
    assert_eq!(db.select("SELECT COUNT(*) FROM c", "{}"), r#"[{"($1)":5}]"#);
    assert_eq!(
        db.select("SELECT COUNT(*) + 1 AS n FROM c WHERE true HAVING COUNT(*) > 4", "{}"),
        r#"[{"n":6}]"#
    );
    assert_eq!((db.visited.get(), db.counted.get()), (0, 2));
    assert_eq!(db.select("SELECT COUNT(*) AS n FROM nothing", "{}"), r#"[{"n":0}]"#);
    for text in [
        "SELECT COUNT(a) AS n FROM c",
        "SELECT COUNT(*) AS n FROM c WHERE b = 2",
        "SELECT COUNT(*) AS n FROM c USE IDS '1'",
        "SELECT COUNT(*) AS n, MAX(b) FROM c",
        "SELECT COUNT(*) AS n FROM c GROUP BY status",
    ] {
        db.counted.set(0);
        db.select(text, "{}");
        assert_eq!(db.counted.get(), 0, "{text}");
    }
}

#[test]
fn directives() {
    let db = orders();
    for (text, want) in [
        ("SELECT * FROM c USE INDEX 'ib' WHERE a = 1 AND b = 2", "index ib 1"),
        // Names that are unknown, or of no use for the condition, are ignored.
        ("SELECT * FROM c USE INDEX 'nothing' WHERE a = 1", "index ia 1"),
        ("SELECT * FROM c USE INDEX 'ib' WHERE a = 1", "index ia 1"),
        (
            r##"SELECT * FROM c USE DIRECTIVES '{"#index":["nothing","ib"]}' WHERE a = 1 AND b = 2"##,
            "index ib 1",
        ),
        ("SELECT * FROM c USE INDEX '' WHERE a = 1", "scan"),
        ("SELECT * FROM c USE INDEX \"\" WHERE a = 1", "scan"),
        ("SELECT * FROM c USE INDEX '' WHERE _id = '1'", "ids 1"),
        (r##"SELECT * FROM c USE DIRECTIVES '{"#index":"ib"}' WHERE a = 1 AND b = 2"##, "index ib 1"),
        (r##"SELECT * FROM c USE DIRECTIVES '{"#index":["ia","ib"]}' WHERE a = 1"##, "index ia 1"),
        (r##"SELECT * FROM c USE DIRECTIVES '{"#index":null}' WHERE a = 1"##, "scan"),
        (r##"SELECT /*+ {"#disable_index_scan":true} */ * FROM c WHERE a = 1"##, "scan"),
        (r##"/*+ {"#disable_index_scan":true} */ SELECT * FROM c WHERE a = 1"##, "scan"),
        (r##"SELECT * FROM c /*+ {"#disable_index_scan":true} */ WHERE a = 1"##, "scan"),
        (r##"SELECT /*+ {"c":{"#index":"ib"}} */ * FROM c WHERE a = 1 AND b = 2"##, "index ib 1"),
        (r##"SELECT /*+ {"x":{"#index":"ib"}} */ * FROM c x WHERE a = 1 AND b = 2"##, "index ib 1"),
        (r##"SELECT /*+ {"#intersects":1} */ * FROM c WHERE a = 1 AND b = 2"##, "index ia 1"),
        (r##"SELECT /*+ {"#max_scans":1} */ * FROM c WHERE a = 1 OR b = 2"##, "scan"),
        (r##"SELECT /*+ {"#max_inlist":2} */ * FROM c WHERE a IN (1, 2, 3)"##, "scan"),
        (r##"SELECT /*+ {"#max_inlist":3} */ * FROM c WHERE a IN (1, 2, 3)"##, "index ia 3"),
        (r##"SELECT /*+ {"#prefer_order":true} */ * FROM c WHERE a = 1 ORDER BY b"##, "index ib 1"),
        (r##"SELECT * FROM c USE DIRECTIVES '{"#prefer_order":true}' WHERE a = 1 ORDER BY b"##, "index ib 1"),
        // Not a directive: it is a comment.
        (r##"SELECT /*+ no json */ * FROM c WHERE a = 1"##, "index ia 1"),
        (r##"SELECT /*+ {"#unknown":1,"#max_scans":"x"} */ * FROM c WHERE a = 1"##, "index ia 1"),
    ] {
        assert_eq!(db.path(text, ARGS), want, "{text}");
    }
    let error = db.bind("SELECT * FROM c USE DIRECTIVES 'x'", "{}").unwrap_err();
    assert_eq!((error.kind().to_string().as_str(), error.position().unwrap().column), ("query/invalid", 32));
    // The defaults are overridden by the statement.
    let defaults =
        Directives::from_object(&harness::object(r##"{"#disable_index_scan":true,"c":{"#index":"ib"}}"##));
    let path = |text: &str| match db.bind_with(text, "{}", &defaults, false).unwrap() {
        Plan::Select(p) => format!("{:?}", p.access()),
        p => panic!("{p:?}"),
    };
    assert_eq!(path("SELECT * FROM c WHERE a = 1"), "Scan");
    for (field, index) in [("a", "ia"), ("b", "ib")] {
        let text = format!(r##"SELECT /*+ {{"#disable_index_scan":false}} */ * FROM c WHERE {field} = 1"##);
        assert!(path(&text).contains(&format!("name: {index:?}")), "{text}");
    }
    let with_own = r##"SELECT /*+ {"#disable_index_scan":false} */ * FROM c USE INDEX 'ia' WHERE a = 1"##;
    assert!(path(with_own).starts_with("Index"));
}

/// Strict mode and declarations may read fields otherwise than they are indexed.
#[test]
fn indexes_that_do_not_apply() {
    let db = orders();
    let strict = |text: &str| match db.bind_with(text, "{}", &Directives::default(), true) {
        Ok(Plan::Select(plan)) => !matches!(plan.access(), ditto_dql::Access::Scan),
        other => panic!("{other:?}"),
    };
    assert!(strict("SELECT * FROM c WHERE a = 1"), "a is always a register");
    assert!(!strict("SELECT * FROM c WHERE o.k = 1"), "o is a map");
    assert!(strict("SELECT * FROM COLLECTION c (o MAP) WHERE o.k = 1"));
    assert_eq!(db.path("SELECT * FROM COLLECTION c (a COUNTER) WHERE a = 1", "{}"), "scan");
    assert_eq!(db.path("SELECT * FROM COLLECTION c (a COUNTER) WHERE b = 1", "{}"), "index ib 1");
    assert_eq!(db.path("SELECT * FROM COLLECTION c (o MAP(k COUNTER)) WHERE o.k = 1", "{}"), "scan");
    // An index without entries for missing values.
    let db = Memory::default()
        .with("c", r#"[{"_id":"1","a":1},{"_id":"2","b":1},{"_id":"3","a":1,"b":2}]"#)
        .index("c", "ab", &["a", "b!"]);
    assert_eq!(db.path("SELECT * FROM c WHERE a = 1", "{}"), "scan");
    assert_eq!(db.path("SELECT * FROM c WHERE a = 1 AND b IS MISSING", "{}"), "scan");
    assert_eq!(db.path("SELECT * FROM c WHERE a = 1 AND b > 1", "{}"), "index ab 1");
    assert_eq!(db.path("SELECT * FROM c ORDER BY a LIMIT 1", "{}"), "scan");
    assert_eq!(db.select("SELECT _id FROM c WHERE a = 1 AND b IS NOT MISSING", "{}"), r#"[{"_id":"3"}]"#);
}

/// Binding must not cost anything next to running: the condition was taken apart when the text was prepared.
#[test]
fn a_statement_is_bound_many_times() {
    let db = orders();
    let prepared = prepare("SELECT * FROM c WHERE status = :s ORDER BY ts DESC LIMIT :n").unwrap();
    let cx = BindContext { catalog: &db, ..BindContext::bare() };
    for (s, n, want) in [("open", 2, 2), ("open", 9, 3), ("shut", 1, 1), ("none", 5, 0)] {
        let args = [("s".into(), Value::from(s)), ("n".into(), Value::Int(n))].into();
        let Plan::Select(plan) = prepared.bind(&args, &cx).unwrap() else { panic!() };
        db.visited.set(0);
        assert_eq!(plan.run(&db, &RunContext::default()).unwrap().len(), want);
        assert_eq!(db.visited.get(), want);
    }
}

/// A run that is given up ends at once, and a long one soon.
#[test]
fn runs_can_be_interrupted() {
    use std::sync::atomic::{AtomicU32, Ordering};
    /// Gives up at the n-th question.
    struct After(AtomicU32);
    impl ditto_dql::Interrupt for After {
        fn poll(&self) -> Result<(), ditto_dql::DqlError> {
            if self.0.fetch_sub(1, Ordering::Relaxed) > 1 {
                return Ok(());
            }
            Err(ditto_dql::DqlError::new(ditto_types::ErrorKind::QueryCancelled, "given up"))
        }
    }
    let docs = (0..1000).map(|i| format!(r#"{{"_id":"{i}"}}"#)).collect::<Vec<_>>().join(",");
    let db = Memory::default().with("c", &format!("[{docs}]")).with("d", &format!("[{docs}]"));
    for (text, questions, most) in [
        ("SELECT * FROM c", 1, 1),
        ("SELECT COUNT(*) FROM c", 1, 0),
        ("SELECT * FROM c WHERE false", 3, 513),
        ("SELECT * FROM c JOIN d USE INDEX '' ON false", 3, 513),
    ] {
        let Plan::Select(plan) = db.bind(text, "{}").unwrap() else { panic!() };
        let after = After(AtomicU32::new(questions));
        db.visited.set(0);
        let error =
            plan.run(&db, &RunContext { interrupt: Some(&after), ..RunContext::default() }).unwrap_err();
        assert_eq!(error.message(), "given up", "{text}");
        assert!(db.visited.get() <= most, "{text}: {}", db.visited.get());
    }
    let Plan::Delete(plan) = db.bind("DELETE FROM c", "{}").unwrap() else { panic!() };
    let after = After(AtomicU32::new(1));
    let cx = RunContext { interrupt: Some(&after), ..RunContext::default() };
    assert!(plan.targets(&db, &cx, |_| Ok(())).is_err());
}
