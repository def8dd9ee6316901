//! INSERT, UPDATE, DELETE, EVICT: what they ask the store to do.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/harness.rs"]
mod harness;

use ditto_dql::{ConflictPolicy, FieldKind, FieldOp, InsertPlan, Plan, RunContext, StatementKind, prepare};
use ditto_types::{Path, SmolStr, Value, json};
use harness::{Doc, Docs, bind, describe, docs, error, object, targets};

fn insert(text: &str, args: &str) -> InsertPlan {
    match bind(text, args).unwrap_or_else(|e| panic!("{text}: {e}")) {
        Plan::Insert(p) => p,
        p => panic!("{p:?}"),
    }
}

fn documents(text: &str, args: &str) -> String {
    match insert(text, args).documents(&Docs(&[]), &RunContext::default()) {
        Ok(mut d) => {
            let objects = d.next_batch().unwrap().unwrap_or_default();
            let objects = objects.into_iter().map(|d| Value::Object(d.fields.into_owned()));
            json::to_string(&Value::Array(objects.collect()))
        }
        Err(e) => describe(&e),
    }
}

#[test]
fn insert_documents() {
    let args = r#"{"d":{"_id":"1","v":1},"ds":[{"_id":"2"},{"_id":"3"}],"s":"{\"_id\":9}","n":5,"id":{"a":1,"b":2}}"#;
    for (text, want) in [
        ("INSERT INTO c DOCUMENTS (:d)", r#"[{"_id":"1","v":1}]"#),
        ("INSERT INTO c VALUES (:d), ({'_id': 'x'})", r#"[{"_id":"1","v":1},{"_id":"x"}]"#),
        ("INSERT INTO c DOCUMENTS (:ds)", r#"[{"_id":"2"},{"_id":"3"}]"#),
        ("INSERT INTO c DOCUMENTS (:d), (:ds);", r#"[{"_id":"1","v":1},{"_id":"2"},{"_id":"3"}]"#),
        ("INSERT INTO c DOCUMENTS ([{'a': 1}, {'a': 2}])", r#"[{"a":1},{"a":2}]"#),
        ("INSERT INTO c DOCUMENTS ({'a': :n + 1, 'b': lower('X'), 'c': MISSING})", r#"[{"a":6,"b":"x"}]"#),
        ("INSERT INTO c DOCUMENTS (deserialize_json(:s))", r#"[{"_id":9}]"#),
        ("INSERT INTO c DOCUMENTS {'a': 1}", r#"[{"a":1}]"#),
        ("INSERT INTO c DOCUMENTS ({'_id': :id})", r#"[{"_id":{"a":1,"b":2}}]"#),
        (
            "INSERT INTO c INITIAL DOCUMENTS ({'_id': 1}), ({'_id': true}), ({'_id': [1]})",
            r#"[{"_id":1},{"_id":true},{"_id":[1]}]"#,
        ),
        // Faults of the documents.
        (
            "INSERT INTO c DOCUMENTS (:n)",
            "validation/not-an-object | expected a document or an array of documents, found 5 @1:26",
        ),
        (
            "INSERT INTO c DOCUMENTS ([1])",
            "validation/not-an-object | expected a document or an array of documents, found 1 @1:26",
        ),
        (
            "INSERT INTO c DOCUMENTS (MISSING)",
            "validation/not-an-object | expected a document or an array of documents, found missing @1:26",
        ),
        (
            "INSERT INTO c DOCUMENTS ({'_id': 1.5})",
            "store/document-id | Floats are not supported in document IDs @1:26",
        ),
        (
            "INSERT INTO c DOCUMENTS ({'_id': {'a': 1.5}})",
            "store/document-id | Floats are not supported in document IDs @1:26",
        ),
        ("INSERT INTO c DOCUMENTS ({'_id': null})", "store/document-id | Null document ID not allowed @1:26"),
        (
            "INSERT INTO c DOCUMENTS (:d), (:d)",
            "query/execution | Expected unique document identifiers @1:32",
        ),
        (
            "INSERT INTO c DOCUMENTS ({'_id': {'a':1,'b':2}}), ({'_id': {'b':2,'a':1}})",
            "query/execution | Expected unique document identifiers @1:52",
        ),
    ] {
        assert_eq!(documents(text, args), want, "{text}");
    }
}

#[test]
fn insert_policies() {
    for (tail, policy) in [
        ("", ConflictPolicy::Fail),
        ("ON ID CONFLICT FAIL", ConflictPolicy::Fail),
        ("ON ID CONFLICT DO FAIL", ConflictPolicy::Fail),
        ("ON ID CONFLICT DO NOTHING", ConflictPolicy::DoNothing),
        ("on id conflict do update", ConflictPolicy::DoUpdate),
        ("ON ID CONFLICT DO UPDATE_LOCAL_DIFF", ConflictPolicy::DoUpdateLocalDiff),
    ] {
        let p = insert(&format!("INSERT INTO c DOCUMENTS ({{'a': 1}}) {tail}"), "{}");
        assert_eq!(p.policy(), policy, "{tail}");
        assert!(!p.is_initial());
    }
    assert!(insert("INSERT INTO c INITIAL VALUES ({})", "{}").is_initial());
}

#[test]
fn insert_declared() {
    let text =
        "INSERT INTO COLLECTION c (n COUNTER, m MAP(k COUNTER, r REGISTER), p PN_COUNTER) DOCUMENTS (:d)";
    let p = insert(text, r#"{"d":{"n":5,"m":{"k":1}}}"#);
    let kind = |path: &[&str]| p.declared().kind_of(&path.iter().map(SmolStr::new).collect::<Vec<_>>());
    assert_eq!(kind(&["n"]), FieldKind::Counter);
    assert_eq!(kind(&["m"]), FieldKind::Map);
    assert_eq!(kind(&["m", "k"]), FieldKind::Counter);
    assert_eq!(kind(&["m", "r"]), FieldKind::Register);
    assert_eq!(kind(&["p"]), FieldKind::PnCounter);
    assert_eq!(kind(&["z"]), FieldKind::Inferred);
    for (d, want) in [
        (r#"{"n":5,"m":{"k":1,"r":{}},"p":1.5}"#, r#"[{"m":{"k":1,"r":{}},"n":5,"p":1.5}]"#),
        (r#"{"n":1.5}"#, "query/evaluation | Expected 1.5 to be an integer value @1:93"),
        (r#"{"n":"x"}"#, "query/evaluation | Expected string to be an integer value @1:93"),
        (r#"{"m":{"k":null}}"#, "query/evaluation | Expected null to be an integer value @1:93"),
        (r#"{"m":3}"#, "query/evaluation | Expected 3 to be an object @1:93"),
        (r#"{"p":"x"}"#, "query/evaluation | Expected string to be a number @1:93"),
    ] {
        assert_eq!(documents(text, &format!(r#"{{"d":{d}}}"#)), want, "{d}");
    }
}

#[test]
fn documents_are_not_too_deep() {
    let deep = |n: usize| "{\"a\":".repeat(n - 1) + "1" + &"}".repeat(n - 1);
    let at_limit = format!("{{\"d\":{}}}", deep(63));
    assert!(documents("INSERT INTO c DOCUMENTS (:d)", &at_limit).starts_with("[{"));
    // Built by the statement, one level at a time beyond what a document can be.
    let text = format!("INSERT INTO c DOCUMENTS ({}:d{})", "{'x': ".repeat(4), "}".repeat(4));
    assert_eq!(
        documents(&text, &at_limit),
        "validation/depth-limit-exceeded | document is nested deeper than 64 levels @1:26"
    );
}

fn ops(text: &str, args: &str, doc: &str) -> Result<Vec<FieldOp>, String> {
    match bind(text, args).map_err(|e| describe(&e))? {
        Plan::Update(p) => p.ops(&Doc::new(object(doc))).map_err(|e| describe(&e)),
        p => panic!("{p:?}"),
    }
}

fn path(text: &str) -> Path {
    Path::new(text.split('.'))
}

fn set(p: &str, value: &str) -> FieldOp {
    FieldOp::Set { path: path(p), value: harness::value(value) }
}

#[test]
fn update_ops() {
    let doc = r#"{"_id":"1","n":5,"o":{"a":1},"s":"x"}"#;
    let got = ops(
        "UPDATE c APPLY k INCREMENT BY 2, l RESTART, m RESTART WITH :p, pn PN_INCREMENT BY 1.5 \
         SET a = :p, o.b = n + 1, c.q.`x y`.z = {'k': s} UNSET o.a, t WHERE _id = '1'",
        r#"{"p":7}"#,
        doc,
    )
    .unwrap();
    let want = vec![
        FieldOp::Increment { path: path("k"), by: 2 },
        FieldOp::Restart { path: path("l"), to: 0 },
        FieldOp::Restart { path: path("m"), to: 7 },
        FieldOp::PnIncrement { path: path("pn"), by: 1.5 },
        set("a", "7"),
        set("o.b", "6"),
        set("q.x y.z", r#"{"k":"x"}"#),
        FieldOp::Unset { path: path("o.a") },
        FieldOp::Unset { path: path("t") },
    ];
    assert_eq!(got, want);
    // All right-hand sides see the state before the statement.
    assert_eq!(ops("UPDATE c SET n = n - 1, m = n", "{}", doc).unwrap(), [set("n", "4"), set("m", "5")]);
    // MISSING is no value to assign; NULL is.
    assert_eq!(ops("UPDATE c SET a = nothing, b = null", "{}", doc).unwrap(), [set("b", "null")]);
    assert_eq!(
        ops("UPDATE c APPLY k INCREMENT BY -3", "{}", doc).unwrap(),
        [FieldOp::Increment { path: path("k"), by: -3 }]
    );
    assert_eq!(
        ops("UPDATE c APPLY k INCREMENT BY n", "{}", doc).unwrap(),
        [FieldOp::Increment { path: path("k"), by: 5 }]
    );
    assert_eq!(
        ops("UPDATE c APPLY k PN_INCREMENT BY 4", "{}", doc).unwrap(),
        [FieldOp::PnIncrement { path: path("k"), by: 4.0 }]
    );
    // Declared kinds.
    assert_eq!(
        ops(
            "UPDATE COLLECTION c (o REGISTER, m MAP(k COUNTER)) SET o = {'c': 3}, m.k = 4, m.z = 1",
            "{}",
            doc
        )
        .unwrap(),
        [set("o", r#"{"c":3}"#), set("m.k", "4"), set("m.z", "1"),]
    );
    assert_eq!(
        ops(
            "UPDATE COLLECTION c (m MAP, r REGISTER) \
             SET m -> default(), r -> default(), u -> default(), o -> (a = n, b -> (c = 1), d -> tombstone())",
            "{}",
            doc
        )
        .unwrap(),
        [
            set("m", "{}"),
            set("r", "null"),
            set("u", "null"),
            set("o.a", "5"),
            set("o.b.c", "1"),
            FieldOp::Unset { path: path("o.d") }
        ]
    );
    // Neighbours are no conflict.
    assert_eq!(
        ops("UPDATE c SET a.b = 1, a.bb = 2, ab = 3, a.c.d = 4, a.c.e = 5", "{}", doc).unwrap().len(),
        5
    );
}

#[test]
fn update_faults() {
    let doc = r#"{"_id":"1","n":5,"s":"x"}"#;
    for (text, want) in [
        ("UPDATE c APPLY k INCREMENT BY 1.5", "query/evaluation | Expected 1.5 to be an integer value @1:31"),
        (
            "UPDATE c APPLY k INCREMENT BY s",
            "query/evaluation | Expected string to be an integer value @1:31",
        ),
        (
            "UPDATE c APPLY k INCREMENT BY zz",
            "query/evaluation | Expected missing to be an integer value @1:31",
        ),
        (
            "UPDATE c APPLY k INCREMENT BY 18446744073709551615",
            "query/evaluation | Expected 18446744073709551615 to be an integer value @1:31",
        ),
        (
            "UPDATE c APPLY k RESTART WITH null",
            "query/evaluation | Expected null to be an integer value @1:31",
        ),
        ("UPDATE c APPLY k PN_INCREMENT BY 'a'", "query/evaluation | Expected string to be a number @1:34"),
        ("UPDATE c SET _id = 'x'", "query/invalid | The document id `_id` cannot be modified @1:14"),
        ("UPDATE c SET c._id.a = 'x'", "query/invalid | The document id `_id` cannot be modified @1:14"),
        ("UPDATE c UNSET _id", "query/invalid | The document id `_id` cannot be modified @1:16"),
        ("UPDATE c APPLY _id RESTART", "query/invalid | The document id `_id` cannot be modified @1:16"),
        (
            "UPDATE c SET a = 1, a = 2",
            "query/invalid | More than one modification specified for the path a @1:21",
        ),
        (
            "UPDATE c SET a.b = 1 UNSET c.a.b",
            "query/invalid | More than one modification specified for the path a.b @1:28",
        ),
        (
            "UPDATE c APPLY a RESTART SET a = 1",
            "query/invalid | More than one modification specified for the path a @1:30",
        ),
        ("UPDATE c WHERE a = 1", "query/invalid | Missing SET and/or UNSET clause @1:10"),
        (
            "UPDATE products (f COUNTER) APPLY f RESTART",
            "query/invalid | Missing SET and/or UNSET clause @1:17",
        ),
        (
            "UPDATE COLLECTION c (f REGISTER) SET f.x = 1",
            "query/invalid | Unsupported DML operation on REGISTER field \"f\" @1:38",
        ),
        (
            "UPDATE COLLECTION c (m MAP(f REGISTER)) SET m.f.x.y = 1",
            "query/invalid | Unsupported DML operation on REGISTER field \"m.f\" @1:45",
        ),
        (
            "UPDATE COLLECTION c (f REGISTER) UNSET f.x",
            "query/invalid | Unsupported DML operation on REGISTER field \"f\" @1:40",
        ),
        (
            "UPDATE COLLECTION c (f COUNTER) SET f.x = 1",
            "query/invalid | Unsupported DML operation on COUNTER field \"f\" @1:37",
        ),
        (
            "UPDATE COLLECTION c (f MAP) APPLY f INCREMENT BY 1",
            "query/invalid | Unsupported DML operation on MAP field \"f\" @1:35",
        ),
        (
            "UPDATE COLLECTION c (f COUNTER) APPLY f PN_INCREMENT BY 1",
            "query/invalid | Unsupported DML operation on COUNTER field \"f\" @1:39",
        ),
        (
            "UPDATE COLLECTION c (f COUNTER) SET f = 1.5",
            "query/evaluation | Expected 1.5 to be an integer value @1:41",
        ),
        (
            "UPDATE COLLECTION c (f MAP(g COUNTER)) SET f = {'g': 'x'}",
            "query/evaluation | Expected string to be an integer value @1:48",
        ),
        ("UPDATE c SET items[0] = 1", "query/invalid | expected '=', found '[' @1:19"),
        (
            "UPDATE c SET a = 1 APPLY b RESTART",
            "query/invalid | the order of the clauses is APPLY, SET, UNSET @1:20",
        ),
        // A path and one below it are two modifications of the path above.
        (
            "UPDATE c SET a = 1, a.b = 2",
            "query/invalid | More than one modification specified for the path a @1:21",
        ),
        (
            "UPDATE c APPLY x.a.b.d RESTART SET x.a.bb = 0, x.a.b = 1",
            "query/invalid | More than one modification specified for the path x.a.b @1:48",
        ),
        (
            "UPDATE c SET a -> (b = 1) UNSET a",
            "query/invalid | More than one modification specified for the path a @1:33",
        ),
        // The older notation.
        (
            "UPDATE COLLECTION c (f ATTACHMENT) SET f -> default()",
            "query/invalid | Unsupported DML operation on ATTACHMENT field \"f\" @1:40",
        ),
        (
            "UPDATE COLLECTION c (f PN_COUNTER) SET f -> default()",
            "query/invalid | Unsupported DML operation on PN_COUNTER field \"f\" @1:40",
        ),
        (
            "UPDATE COLLECTION c (f REGISTER) SET f -> (a = 1)",
            "query/invalid | Unsupported DML operation on REGISTER field \"f\" @1:38",
        ),
    ] {
        assert_eq!(ops(text, "{}", doc).unwrap_err(), want, "{text}");
    }
}

#[test]
fn choosing_documents() {
    let d = docs(r#"[{"_id":"a","n":3},{"_id":"b","n":1},{"_id":"c","n":2},{"_id":"d"}]"#);
    for head in ["DELETE FROM c", "EVICT FROM c", "UPDATE c SET x = 1"] {
        for (tail, want) in [
            ("", r#"["a","b","c","d"]"#),
            ("WHERE n > 1", r#"["a","c"]"#),
            ("WHERE c.n IS MISSING", r#"["d"]"#),
            ("ORDER BY n", r#"["b","c","a","d"]"#),
            ("ORDER BY n DESC LIMIT 2", r#"["d","a"]"#),
            ("WHERE n > 0 ORDER BY n LIMIT 1 OFFSET 1", r#"["c"]"#),
            ("WHERE n > 0 LIMIT :k OFFSET 1 ORDER BY n", r#"["c","a"]"#),
            ("LIMIT 0", "[]"),
            ("WHERE false", "[]"),
        ] {
            let text = format!("{head} {tail}");
            assert_eq!(targets(&text, r#"{"k":5}"#, &d), want, "{text}");
        }
    }
}

#[test]
fn statements_know_what_they_are() {
    for (text, kind, params) in [
        ("SELECT * FROM c WHERE a = :x OR b = :y OR c = :x", StatementKind::Select, vec!["x", "y"]),
        ("INSERT INTO c DOCUMENTS (:d)", StatementKind::Insert, vec!["d"]),
        ("UPDATE c SET a = :v LIMIT :n", StatementKind::Update, vec!["n", "v"]),
        ("DELETE FROM c", StatementKind::Delete, vec![]),
        ("EVICT FROM c", StatementKind::Evict, vec![]),
    ] {
        let p = prepare(text).unwrap();
        assert_eq!((p.kind(), p.text(), p.collection()), (kind, text, "c"));
        assert_eq!(p.is_mutation(), kind != StatementKind::Select);
        assert!(p.parameters().iter().eq(params.iter()));
    }
    assert_eq!(error("DELETE FROM c WHERE a = :x"), "query/arguments-invalid | Parameter x was not provided");
}
