//! EXPLAIN, PROFILE and ADVISE.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/harness.rs"]
mod harness;
#[path = "support/memory.rs"]
mod memory;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use ditto_dql::{Directives, Plan, Profiler, Row, RunContext, RunStats};
use ditto_types::{Value, json};
use harness::value;
use memory::Memory;

fn orders() -> Memory {
    Memory::default()
        .with(
            "orders",
            r#"[{"_id":"1","status":"open","ts":1,"c":"x"},{"_id":"2","status":"open","ts":2},{"_id":"3","status":"shut","ts":3}]"#,
        )
        .with("customers", r#"[{"_id":"x"}]"#)
        .index("orders", "ist", &["status", "-ts"])
        .index("orders", "ic", &["c"])
}

fn explained(text: &str, args: &str) -> Value {
    match orders().bind(text, args).unwrap_or_else(|e| panic!("{text}: {e}")) {
        Plan::Explain(p) => p.row,
        p => panic!("{p:?}"),
    }
}

/// The operators from the top down, with the members that are asked for.
fn operators(plan: &Value) -> Vec<String> {
    let children = plan.get("children").and_then(Value::as_array).unwrap_or_default();
    assert_eq!(plan.get("#operator"), Some(&Value::from("sequence")));
    children.iter().map(|c| c.get("#operator").and_then(Value::as_str).unwrap().to_owned()).collect()
}

fn operator<'v>(plan: &'v Value, name: &str) -> &'v Value {
    let children = plan.get("children").and_then(Value::as_array).unwrap();
    children
        .iter()
        .find(|c| c.get("#operator") == Some(&Value::from(name)))
        .unwrap_or_else(|| panic!("{name}: {plan:?}"))
}

#[test]
fn the_simplest_plan() {
    let want = value(
        r##"{"plan":{"#operator":"sequence","children":[
            {"#operator":"scan","alias":"test","collection":"test","datasource":"default","descriptor":{"path":{"full_scan":{}}}},
            {"#operator":"projection","projections":[{"expression":"`test`","wildcard":true}]}]}}"##,
    );
    assert_eq!(explained("EXPLAIN SELECT test.* FROM test;", "{}"), want);
}

#[test]
fn shapes_of_plans() {
    for (text, want) in [
        ("SELECT COUNT(*) FROM orders", "countScan group projection"),
        ("SELECT * FROM orders WHERE _id = '1'", "idScan fetch filter projection"),
        ("SELECT * FROM orders WHERE status = 'open'", "indexScan fetch filter projection"),
        ("SELECT ts FROM orders WHERE status = 'open'", "indexScan filter projection"),
        (
            "SELECT * FROM orders WHERE status = 'open' ORDER BY ts DESC LIMIT 2",
            "indexScan fetch filter projection limit",
        ),
        (
            "SELECT * FROM orders WHERE status = 'open' ORDER BY c LIMIT 2 OFFSET 1",
            "indexScan fetch filter projection sort offset limit",
        ),
        ("SELECT * FROM orders WHERE status = 'a' OR c = 'b'", "unionScan fetch filter projection"),
        ("SELECT * FROM orders WHERE status = 'a' AND c = 'b'", "intersectScan fetch filter projection"),
        ("SELECT DISTINCT z FROM orders", "scan projection distinct"),
        (
            "SELECT status, COUNT(*) FROM orders GROUP BY status HAVING COUNT(*) > 1",
            "scan group filter projection",
        ),
        (
            "SELECT * FROM orders o JOIN customers x ON x._id = o.c WHERE o.ts > 1",
            "scan nlJoin filter projection",
        ),
        ("UPDATE orders SET z = 1 WHERE status = 'open'", "indexScan fetch filter update"),
        ("DELETE FROM orders WHERE z = 1 LIMIT 3", "scan filter limit delete"),
        ("EVICT FROM orders", "scan evict"),
        ("INSERT INTO orders DOCUMENTS ({})", "insert"),
        ("INSERT INTO o2 SELECT * FROM orders WHERE c = 'x'", "indexScan fetch filter projection insert"),
        ("CREATE INDEX i ON orders (a.b DESC)", "createIndex"),
        ("DROP INDEX IF EXISTS i ON orders", "dropIndex"),
        ("ADVISE SELECT * FROM orders", "advise"),
    ] {
        let row = explained(&format!("EXPLAIN {text}"), "{}");
        assert_eq!(operators(row.get("plan").unwrap()).join(" "), want, "{text}");
    }
}

#[test]
fn conditions_and_spans() {
    let row = explained(
        "EXPLAIN SELECT ts AS t FROM orders o WHERE status = :s AND ts > 5 ORDER BY t",
        r#"{"s":"open"}"#,
    );
    let plan = row.get("plan").unwrap();
    assert_eq!(
        operator(plan, "filter").get("condition"),
        Some(&Value::from("((`o`.`status` = :s) AND (`o`.`ts` > 5))"))
    );
    assert_eq!(
        *operator(plan, "indexScan").get("desc").unwrap(),
        value(
            r#"{"index":"ist","covering":true,"reverse":true,"spans":[[
            {"index_key":{"direction":"asc","include_missing":true,"key":["status"]},
             "range":{"low":{"expr":"\"open\"","included":true},"high":{"expr":"\"open\"","included":true}}},
            {"index_key":{"direction":"desc","include_missing":true,"key":["ts"]},
             "range":{"low":{"expr":"5","included":false}}}]]}"#
        )
    );
    assert_eq!(
        operator(plan, "projection").get("projections"),
        Some(&value(r#"[{"expression":"`o`.`ts`","alias":"t"}]"#))
    );
    let row = explained("EXPLAIN SELECT * FROM orders WHERE status = \"open\"", "{}");
    let condition = operator(row.get("plan").unwrap(), "filter").get("condition").unwrap();
    assert_eq!(*condition, Value::from("(`orders`.`status` = \"open\")"));
    let span = |condition: &str| {
        let row = explained(&format!("EXPLAIN SELECT * FROM orders WHERE {condition}"), "{}");
        let desc = operator(row.get("plan").unwrap(), "indexScan").get("desc").unwrap().clone();
        let spans = desc.get("spans").and_then(Value::as_array).unwrap().to_vec();
        spans
            .iter()
            .map(|s| json::to_string(s.as_array().unwrap()[0].get("range").unwrap()))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        span("c != 'x'"),
        [r#"{"high":{"expr":"\"x\"","included":false}}"#, r#"{"low":{"expr":"\"x\"","included":false}}"#]
    );
    assert_eq!(
        span("c LIKE 'ab%'"),
        [r#"{"high":{"expr":"\"ac\"","included":false},"low":{"expr":"\"ab\"","included":true}}"#]
    );
    assert_eq!(
        span("c IS MISSING"),
        [r#"{"high":{"expr":"MISSING","included":true},"low":{"expr":"MISSING","included":true}}"#]
    );
}

#[test]
fn the_inner_side_of_a_join() {
    let row = explained("EXPLAIN SELECT * FROM customers x LEFT JOIN orders o ON o.c = x._id", "{}");
    let join = operator(row.get("plan").unwrap(), "nlJoin");
    assert_eq!(join.get("type"), Some(&Value::from("left")));
    assert_eq!(join.get("condition"), Some(&Value::from("(`o`.`c` = `x`.`_id`)")));
    let scan = operator(join.get("child").unwrap(), "indexScan");
    let range = r#"{"low":{"expr":"`x`.`_id`","included":true},"high":{"expr":"`x`.`_id`","included":true}}"#;
    let spans = scan.get("desc").unwrap().get("spans").and_then(Value::as_array).unwrap().to_vec();
    assert_eq!(spans[0].as_array().unwrap()[0].get("range"), Some(&value(range)));
}

/// Takes what a run did; a clock that goes on by `step` at each look.
struct Recorder {
    step: u64,
    nanos: AtomicU64,
    stats: Mutex<Option<RunStats>>,
}

impl Recorder {
    fn new(step: u64) -> Self {
        Self { step, nanos: AtomicU64::new(0), stats: Mutex::default() }
    }

    fn context(&self) -> RunContext<'_> {
        RunContext { profiler: Some(self), ..RunContext::default() }
    }

    fn profile(&self, plan: &Plan) -> Value {
        let stats = self.stats.lock().unwrap().take();
        plan.profile(&stats.expect("statistics").written_in(7 * self.step))
    }
}

impl Profiler for Recorder {
    fn nanos(&self) -> u64 {
        self.nanos.fetch_add(self.step, Ordering::Relaxed)
    }

    fn report(&self, stats: RunStats) {
        assert!(self.stats.lock().unwrap().replace(stats).is_none(), "two reports");
    }
}

fn stats(profile: &Value, name: &str, member: &str) -> Option<Value> {
    operator(profile, name).get("#stats").and_then(|s| s.get(member)).cloned()
}

#[test]
fn profile_of_a_mutation() {
    let db = orders();
    let keep = |row: &dyn Row| Ok(row.id().clone());
    for (text, name, source) in [
        ("UPDATE orders SET x = 1 WHERE status = 'open' AND ts > 1", "update", "indexScan"),
        ("UPDATE orders SET x = 1 WHERE x IS MISSING ORDER BY ts LIMIT 1", "update", "scan"),
        ("DELETE FROM orders WHERE x IS MISSING LIMIT 1", "delete", "scan"),
        ("EVICT FROM orders WHERE status = 'open' AND ts > 1", "evict", "indexScan"),
    ] {
        let plan = db.bind(text, "{}").unwrap();
        let recorder = Recorder::new(1);
        let cx = recorder.context();
        let chosen = match &plan {
            Plan::Update(p) => p.targets(&db, &cx, keep),
            Plan::Delete(p) | Plan::Evict(p) => p.targets(&db, &cx, keep),
            p => panic!("{p:?}"),
        };
        assert_eq!(chosen.unwrap().len(), 1, "{text}");
        let profile = recorder.profile(&plan);
        assert!(stats(&profile, source, "documentsOut").is_some(), "{text}: {profile:?}");
        assert!(stats(&profile, "filter", "documentsOut").is_some(), "{text}");
        assert_eq!(stats(&profile, name, "documentsIn"), Some(Value::Int(1)), "{text}");
        let exec = stats(&profile, name, "phaseTimes").and_then(|t| t.get("exec").cloned());
        assert_eq!(exec, Some(Value::Int(7)), "{text}");
    }
    for (text, rows) in [
        ("INSERT INTO o2 SELECT * FROM orders", db.select("SELECT COUNT(*) AS n FROM orders", "{}")),
        ("INSERT INTO o2 DOCUMENTS ({'a': 1}), ({'a': 2})", r#"[{"n":2}]"#.to_owned()),
    ] {
        let Plan::Insert(plan) = db.bind(text, "{}").unwrap() else { panic!("{text}") };
        let recorder = Recorder::new(1);
        plan.documents(&db, &recorder.context()).unwrap();
        let profile = recorder.profile(&Plan::Insert(plan));
        let inserted = stats(&profile, "insert", "documentsIn").unwrap();
        assert_eq!(format!(r#"[{{"n":{}}}]"#, inserted.as_i64().unwrap()), rows, "{text}");
        assert_eq!(text.contains("SELECT"), json::to_string(&profile).contains("scan"), "{text}");
    }
}

#[test]
fn profile() {
    let db = orders();
    let bound =
        db.bind("PROFILE SELECT * FROM orders WHERE status = 'open' AND ts > 1 ORDER BY c", "{}").unwrap();
    let Plan::Profile(plan) = bound else { panic!("{bound:?}") };
    let Plan::Select(plan) = *plan else { panic!("{plan:?}") };
    let recorder = Recorder::new(1);
    let rows = plan.run(&db, &recorder.context()).unwrap();
    assert_eq!(rows.len(), 1);
    let profile = recorder.profile(&Plan::Select(plan.clone()));
    assert_eq!(stats(&profile, "indexScan", "documentsOut"), Some(Value::Int(1)));
    assert_eq!(stats(&profile, "filter", "documentsIn"), Some(Value::Int(1)));
    assert_eq!(stats(&profile, "filter", "documentsOut"), Some(Value::Int(1)));
    assert_eq!(stats(&profile, "sort", "documentsOut"), Some(Value::Int(1)));
    let exec = stats(&profile, "indexScan", "phaseTimes").and_then(|t| t.get("exec").cloned());
    assert!(matches!(exec, Some(Value::Int(n)) if n > 0), "{exec:?}");
    // Without a clock there are no times.
    let recorder = Recorder::new(0);
    plan.run(&db, &recorder.context()).unwrap();
    assert!(!json::to_string(&recorder.profile(&Plan::Select(plan))).contains("phaseTimes"));
    assert!(matches!(db.bind("PROFILE DELETE FROM orders", "{}"), Ok(Plan::Profile(_))));
}

#[test]
fn advice() {
    let db = Memory::default().with("orders", "[]").index("orders", "have", &["a", "-b"]);
    let advice = |text: &str| match db.bind(text, "{}").unwrap_or_else(|e| panic!("{text}: {e}")) {
        Plan::Advise(p) => (p.row.get("advice").unwrap().clone(), p.create),
        p => panic!("{p:?}"),
    };
    let (row, create) = advice(
        "ADVISE SELECT * FROM orders WHERE status = 'open' AND isDeleted = false ORDER BY createdAt DESC;",
    );
    assert_eq!(
        row,
        value(
            r#"{"statement":"SELECT * FROM orders WHERE status = 'open' AND isDeleted = false ORDER BY createdAt DESC",
            "suggestedIndexes":[{"collection":"orders",
            "reason":"equality predicates on `isDeleted`, `status`; order by on `createdAt`",
            "statement":"CREATE INDEX IF NOT EXISTS adv_orders_isDeleted_status_createdAt ON default:`orders` (`isDeleted` ASC, `status` ASC, `createdAt` DESC)"}]}"#
        )
    );
    assert!(create.is_empty());
    let (_, create) = advice("ADVISE AND PROVISION DELETE FROM orders WHERE z > 1 AND `x y`.k = 2");
    assert_eq!(create.len(), 1);
    assert_eq!(create[0].name, "adv_orders_x y_k_z");
    assert!(create[0].if_absent);
    let keys: Vec<String> = create[0].keys.iter().map(|k| k.path.to_string()).collect();
    assert_eq!(keys, ["x y.k", "z"]);
    let reason = |text: &str| {
        let (row, _) = advice(text);
        let suggested = row.get("suggestedIndexes").and_then(Value::as_array).unwrap().to_vec();
        suggested
            .iter()
            .map(|s| s.get("reason").and_then(Value::as_str).unwrap().to_owned())
            .collect::<Vec<_>>()
            .join(" + ")
    };
    for (text, want) in [
        (
            "ADVISE SELECT * FROM orders WHERE c > 1 AND b = 1 AND a IN (1, 2) ORDER BY d",
            "equality predicates on `a`, `b`; range predicates on `c`; order by on `d`",
        ),
        (
            "ADVISE SELECT * FROM orders WHERE x = 1 OR y = 2",
            "equality predicates on `x` + equality predicates on `y`",
        ),
        // A join that cannot be run yet.
        ("ADVISE SELECT * FROM orders o JOIN customers c ON c.key = o.k", "equality predicates on `key`"),
        ("ADVISE UPDATE orders SET z = 1 WHERE s LIKE 'a%'", "range predicates on `s`"),
        ("ADVISE INSERT INTO o2 SELECT * FROM orders WHERE q = 1", "equality predicates on `q`"),
    ] {
        assert_eq!(reason(text), want, "{text}");
    }
    let outcome = |text: &str| advice(text).0.get("outcome").and_then(|v| v.as_str().map(str::to_owned));
    for (text, want) in [
        ("ADVISE SELECT * FROM orders WHERE a = 1 ORDER BY b DESC", Some("optimal indexes already exist")),
        ("ADVISE SELECT * FROM orders WHERE a = 1", Some("optimal indexes already exist")),
        ("ADVISE SELECT * FROM orders WHERE lower(a) = 'x'", Some("no keys to advise on")),
        ("ADVISE SELECT * FROM orders", Some("no keys to advise on")),
        ("ADVISE SELECT * FROM orders WHERE _id = 'x'", Some("no keys to advise on")),
        ("ADVISE INSERT INTO orders DOCUMENTS ({})", Some("no advice available for statement")),
        ("ADVISE SELECT * FROM orders WHERE b = 1", None),
    ] {
        assert_eq!(outcome(text).as_deref(), want, "{text}");
    }
    let existing = advice("ADVISE SELECT * FROM orders WHERE a = 1").0;
    let want = r#"[{"collection":"orders","statement":"CREATE INDEX IF NOT EXISTS have ON default:`orders` (`a` ASC, `b` DESC)"}]"#;
    assert_eq!(existing.get("existingIndexes"), Some(&value(want)));
    // Strict mode uses indexes too.
    let strict = db.bind_with("ADVISE SELECT * FROM orders WHERE q = 1", "{}", &Directives::default(), true);
    let Ok(Plan::Advise(p)) = strict else { panic!() };
    assert!(json::to_string(&p.row).contains("adv_orders_q"));
}
